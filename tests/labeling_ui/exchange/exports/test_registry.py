"""What every export has in common: no gold, no repeats, and one campaign alone if asked for."""

import pytest

from foundation.errors import UserError
from labeling_ui.data_model import Answer, Judgement, Task
from labeling_ui.exchange.exports import prompts
from labeling_ui.exchange.exports.registry import KINDS, export
from labeling_ui.store.store import Store
from tests.labeling_ui.exchange.exports.voting import RANKING, RATING, only, say, vote
from tests.labeling_ui.filling import fill, fill_with


def test_gold_and_repeats_enter_no_export(store: Store) -> None:
    known, asked = fill(store, 2, gold=1)
    ann = store.annotator("ann")
    again = Task(asked.prompt_id, asked.candidates, repeat_of=asked.id, reserved_for=ann.id)
    store.add_tasks([again])
    vote(store, known, "ann", ("a", 3))
    vote(store, asked, "ann", ("a", 3))
    vote(store, again, "ann", ("b", 3))
    row = only(store)
    assert (row["ids"]["chosen"], row["weight"]) == (asked.candidates[0], 1)
    assert {row["ids"]["prompt"] for row in export(store, "unpaired")} == {asked.prompt_id}
    assert [row["id"] for row in export(store, "prompts")] == [asked.prompt_id]


def test_one_campaign_can_be_exported_alone(store: Store) -> None:
    (pair,) = fill(store, 1)
    (ranked,) = fill_with(store, RANKING, 1, 3)
    vote(store, pair, "ann", ("a", None))
    say(store, ranked, "ann", Answer("ranked", ranking=tuple((each,) for each in ranked.candidates)))
    assert len(export(store, "preferences")) == 4
    assert len(export(store, "preferences", "ranked")) == len(export(store, "rankings")) == 3
    assert len(export(store, "preferences", "main")) == 1
    with pytest.raises(UserError, match='no campaign "other" among the labels; there is: main, ranked'):
        export(store, "preferences", "other")
    with pytest.raises(UserError, match='no export "csv": expected one of preferences'):
        export(store, "csv")


def test_every_kind_of_export_of_an_empty_store_is_empty(store: Store) -> None:
    assert [export(store, kind) for kind in KINDS] == [[]] * len(KINDS)


def test_rows_carry_what_was_said_beside_them_in_the_order_of_their_annotators(store: Store) -> None:
    (pair,) = fill(store, 1)
    (rated,) = fill_with(store, RATING, 1, 1)
    for name, winner, rationale, seconds in (("ann", 0, "It is true.", 12.5), ("bob", 0, "", None)):
        answer = Answer("preferred", pair.candidates[winner], rationale=rationale)
        store.record(Judgement(pair.id, store.annotator(name).id, pair.candidates, answer, seconds))
    ratings = {
        "helpful": {rated.candidates[0]: 6},
        "honest": {rated.candidates[0]: 5},
        "harmless": {rated.candidates[0]: 7},
    }
    said = Answer("rated", ratings=ratings, rationale="Short and right.")
    store.record(Judgement(rated.id, store.annotator("ann").id, rated.candidates, said, 3.0))
    names = {store.annotator(name).id: name for name in ("ann", "bob")}
    (row,) = export(store, "preferences")
    beside = zip(row["annotators"], row["rationales"], row["seconds"], strict=True)
    by_name = {names[each]: said for each, *said in beside}
    assert by_name == {"ann": ["It is true.", 12.5], "bob": ["", None]}
    assert all(row["at"])
    of_pair = [each for each in export(store, "unpaired") if each["ids"]["completion"] in pair.candidates]
    assert sorted(map(tuple, (sorted(each["rationales"]) for each in of_pair))) == [("", "It is true.")] * 2
    assert {(each["rationale"], each["seconds"]) for each in export(store, "ratings")} == {("Short and right.", 3.0)}


def test_a_rewrite_carries_the_rationale_of_who_wrote_it(store: Store) -> None:
    (pair,) = fill(store, 1)
    answer = Answer("preferred", pair.candidates[0], rationale="Nearly.", rewrite="A better one.")
    store.record(Judgement(pair.id, store.annotator("ann").id, pair.candidates, answer, 40.0))
    rewritten = next(row for row in export(store, "preferences") if row["origin"] == "rewrite")
    assert (rewritten["rationales"], rewritten["seconds"]) == (["Nearly."], [40.0])


def test_prompts_are_gone_through_once_however_many_tasks_there_are(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 30)
    read: list[str] = []
    messages = prompts.prompt_messages
    monkeypatch.setattr(prompts, "prompt_messages", lambda labels, name: read.append(name) or messages(labels, name))
    assert len(export(store, "prompts")) == len(read) == 30
