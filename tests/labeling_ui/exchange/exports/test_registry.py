"""What every export has in common: no gold, no repeats, and one campaign alone if asked for."""

import pytest

from foundation.errors import UserError
from labeling_ui.data_model import Answer, Task
from labeling_ui.exchange.exports.registry import KINDS, export
from labeling_ui.store.store import Store
from tests.labeling_ui.exchange.exports.voting import RANKING, only, say, vote
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
