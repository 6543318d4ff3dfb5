"""Rows out of judgements: what each export says, and what it leaves out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foundation.errors import UserError
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Judgement, Task
from labeling_ui.exchange import weighted_votes
from labeling_ui.exchange.exports.hub import push_to_hub
from labeling_ui.exchange.exports.preferences import PreferenceSet, beyond_preferences, preferences
from labeling_ui.exchange.exports.registry import KINDS, export
from labeling_ui.quality.assessment import vote_weights
from labeling_ui.quality.label_reader import Labels
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import fill, fill_with

RANKING = Campaign(name="ranked", kind="ranking", gold_share=0, repeat_share=0)
RATING = Campaign(name="rated", kind="rating", gold_share=0, repeat_share=0)
Said = tuple[str, int | None]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "labels.db")
    yield store
    store.close()


@pytest.fixture(autouse=True)
def weighted(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Weights by annotator's name, in place of those that are estimated; 1 for who is not named."""
    weights: dict[str, float] = {}

    def given_weights(labels: Labels) -> dict[str, float]:
        return {each.id: weights[each.name] for each in labels.annotators if each.name in weights}

    monkeypatch.setattr(weighted_votes, "vote_weights", given_weights)
    return weights


def say(store: Store, task: Task, name: str, answer: Answer, simulated: bool = False) -> None:
    store.record(Judgement(task.id, store.annotator(name, simulated).id, task.candidates, answer))


def vote(store: Store, task: Task, name: str, said: Said, simulated: bool = False) -> None:
    winner = {"a": task.candidates[0], "b": task.candidates[1]}.get(said[0])
    verdict: Any = "preferred" if winner else said[0]
    say(store, task, name, Answer(verdict, winner, said[1] if winner else None), simulated)


def result(tmp_path: Path, votes: list[Said]) -> PreferenceSet:
    store = Store(tmp_path / f"{len(list(tmp_path.iterdir()))}.db")
    (task,) = fill(store, 1, overlap=max(1, len(votes)))
    for number, said in enumerate(votes):
        vote(store, task, f"annotator {number}", said)
    found = preferences(store)
    store.close()
    return found


def only(store: Store) -> dict[str, Any]:
    (row,) = preferences(store).rows
    return row


# Pairs.


def test_a_pairs_votes_become_one_row(store: Store) -> None:
    (task,) = fill(store, 1, overlap=6)
    votes: list[Said] = [("b", 3), ("b", 1), ("a", 2), ("tie", None), ("both_bad", None), ("skip", None)]
    for number, said in enumerate(votes):
        vote(store, task, f"annotator {number}", said)
    row = only(store)
    texts = {candidate.id: candidate.response for candidate in store.candidates()}
    a, b = task.candidates
    assert row["prompt"] == [{"role": "user", "content": "question 0"}]
    assert row["chosen"] == [{"role": "assistant", "content": texts[b]}]
    assert row["rejected"] == [{"role": "assistant", "content": texts[a]}]
    assert row["ids"] == {"prompt": task.prompt_id, "chosen": b, "rejected": a}
    assert row["weight"] == 4, "two for, one against and a tie; both bad and a skip prefer nothing"
    assert row["p_chosen"] == 2.5 / 4
    assert row["margin"] == pytest.approx((3 + 1 - 2) / 9, abs=1e-4)
    assert len(row["annotators"]) == 4
    assert row["simulated"] is False
    assert row["origin"] == "pair"


def test_votes_count_their_annotators_weights(store: Store, weighted: dict[str, float]) -> None:
    weighted |= {"expert": 2.0, "hasty": 0.5, "careless": 0.25}
    (task,) = fill(store, 1, overlap=4)
    vote(store, task, "expert", ("a", 3))
    vote(store, task, "hasty", ("b", 1))
    vote(store, task, "careless", ("b", None))
    vote(store, task, "unknown", ("tie", None))
    row = only(store)
    assert row["ids"]["chosen"] == task.candidates[0], "two lighter votes do not outweigh one heavy vote"
    assert row["weight"] == 2 + 0.5 + 0.25 + 1
    assert row["p_chosen"] == pytest.approx((2 + 0.5) / 3.75)
    assert row["margin"] == pytest.approx((2 * 1 - 0.5 / 3) / 2.5, abs=1e-4)


def test_votes_count_what_the_quality_of_annotators_says(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weighted_votes, "vote_weights", vote_weights)
    tasks = fill(store, 40, overlap=3)
    for number, task in enumerate(tasks):
        vote(store, task, "ann", ("a", None))
        vote(store, task, "ben", ("a", None))
        vote(store, task, "coin", ("ab"[number % 2], None))
    shares = {row["p_chosen"] for row in export(store, "preferences")}
    assert max(shares) == 1.0
    assert 2 / 3 < min(shares) < 1, "who guesses counts less than who agrees with the others"


def test_equal_weights_against_each_other_give_no_row(store: Store, weighted: dict[str, float]) -> None:
    weighted |= {"one": 0.1, "two": 0.2, "three": 0.3}
    (task,) = fill(store, 1, overlap=3)
    vote(store, task, "one", ("a", None))
    vote(store, task, "two", ("a", None))
    vote(store, task, "three", ("b", None))
    assert preferences(store) == PreferenceSet([], ties=1, both_bad=0, skipped=0)


@pytest.mark.parametrize(
    ("votes", "where"),
    [
        ([("tie", None)], "ties"),
        ([("a", 1), ("b", 3)], "ties"),
        ([("tie", None), ("both_bad", None)], "ties"),
        ([("both_bad", None), ("skip", None)], "both_bad"),
        ([("both_bad", None), ("both_bad", None), ("tie", None)], "both_bad"),
        ([("skip", None)], "skipped"),
    ],
)
def test_pairs_without_a_majority_are_left_out_and_counted(tmp_path: Path, votes: list[Said], where: str) -> None:
    counted = {"ties": 0, "both_bad": 0, "skipped": 0, where: 1}
    assert result(tmp_path, votes) == PreferenceSet(rows=[], **counted)


def test_unjudged_pairs_are_not_counted(store: Store) -> None:
    fill(store, 3)
    assert preferences(store) == PreferenceSet(rows=[], ties=0, both_bad=0, skipped=0)


def test_without_strengths_there_is_no_margin(tmp_path: Path) -> None:
    assert "margin" not in result(tmp_path, [("a", None)]).rows[0]
    assert result(tmp_path, [("a", 3)]).rows[0]["margin"] == 1.0


def test_a_row_without_a_strength_has_margin_0_where_others_have_one(store: Store) -> None:
    first, second = fill(store, 2)
    vote(store, first, "ann", ("a", 3))
    vote(store, second, "ann", ("a", None))
    assert sorted(row["margin"] for row in preferences(store).rows) == [0.0, 1.0]


def test_one_simulated_vote_marks_the_row(store: Store) -> None:
    (task,) = fill(store, 1, overlap=2)
    vote(store, task, "ann", ("a", None))
    vote(store, task, "robot", ("a", None), simulated=True)
    assert only(store)["simulated"] is True


verdicts = st.one_of(
    st.tuples(st.sampled_from(["a", "b"]), st.sampled_from([None, 1, 2, 3])),
    st.tuples(st.sampled_from(["tie", "both_bad", "skip"]), st.none()),
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(verdicts, min_size=1, max_size=6))
def test_any_votes_give_one_sound_row_or_one_count(tmp_path: Path, votes: list[Said]) -> None:
    found = result(tmp_path, votes)
    assert len(found.rows) + found.ties + found.both_bad + found.skipped == 1
    for row in found.rows:
        assert row["chosen"] != row["rejected"]
        assert 0.5 < row["p_chosen"] <= 1
        assert 0 < row.get("margin", 1) <= 1
        assert row["weight"] > 0
        assert len(row["annotators"]) <= len(votes)


def test_a_rewrite_is_preferred_to_what_it_rewrites(store: Store, weighted: dict[str, float]) -> None:
    weighted["editor"] = 1.5
    first, second = fill(store, 2)
    winner = first.candidates[1]
    say(store, first, "editor", Answer("preferred", winner, 2, rewrite="a better answer"))
    same = next(each.response for each in store.candidates() if each.id == second.candidates[0])
    say(store, second, "editor", Answer("preferred", second.candidates[0], rewrite=f" {same} "))
    rewrites = [row for row in preferences(store).rows if row["origin"] == "rewrite"]
    assert len(rewrites) == 1, "a rewrite that changes nothing is none"
    (row,) = rewrites
    assert row["chosen"] == [{"role": "assistant", "content": "a better answer"}]
    assert row["ids"]["rejected"] == winner
    assert (row["weight"], row["p_chosen"], row["margin"]) == (1.5, 1.0, 0.0)


# Rankings.


def test_a_ranking_becomes_pairs_that_share_its_weight(store: Store) -> None:
    (task,) = fill_with(store, RANKING, 1, 5)
    a, b, c, d, e = task.candidates
    say(store, task, "ann", Answer("ranked", ranking=((b,), (a, c), (d,))))
    rows = export(store, "rankings")
    won = {(row["ids"]["chosen"], row["ids"]["rejected"]) for row in rows}
    assert won == {(b, a), (b, c), (b, d), (a, d), (c, d)}, "a and c are equals, and e was not ranked"
    assert {row["weight"] for row in rows} == {round(1 / 6, 6)}, "four were named: six pairs share one vote"
    assert {row["origin"] for row in rows} == {"ranking"}
    assert preferences(store).ties == 1
    assert not any(e in row["ids"].values() for row in rows)


def test_rankings_of_several_annotators_are_weighed_pair_by_pair(store: Store, weighted: dict[str, float]) -> None:
    weighted |= {"ann": 1.0, "ben": 3.0}
    (task,) = fill_with(store, RANKING, 1, 3, overlap=2)
    a, b, c = task.candidates
    say(store, task, "ann", Answer("ranked", ranking=((a,), (b,), (c,))))
    say(store, task, "ben", Answer("ranked", ranking=((b,), (a,))))
    rows = {(row["ids"]["chosen"], row["ids"]["rejected"]): row for row in export(store, "rankings")}
    assert rows.keys() == {(b, a), (a, c), (b, c)}
    assert rows[b, a]["weight"] == pytest.approx(1 / 3 + 3, abs=1e-6)
    assert rows[b, a]["p_chosen"] == pytest.approx(3 / (1 / 3 + 3))
    assert rows[a, c]["weight"] == pytest.approx(1 / 3, abs=1e-6)


# What preference rows cannot say.


def test_ties_are_rows_where_neither_is_preferred(store: Store) -> None:
    tied, split, decided, ranked = *fill(store, 3, overlap=2), fill_with(store, RANKING, 1, 3)[0]
    for task, said in ((tied, "tt"), (split, "ab"), (decided, "at")):
        for name, winner in zip(("ann", "ben"), said, strict=True):
            vote(store, task, name, ("tie", None) if winner == "t" else (winner, 2))
    a, b, c = ranked.candidates
    say(store, ranked, "ann", Answer("ranked", ranking=((b,), (a, c))))
    rows = {row["ids"]["prompt"]: row for row in export(store, "ties")}
    assert rows.keys() == {tied.prompt_id, split.prompt_id, ranked.prompt_id}
    assert {row["p_chosen"] for row in rows.values()} == {0.5}
    assert (rows[tied.prompt_id]["p_tie"], rows[split.prompt_id]["p_tie"]) == (1.0, 0.0)
    assert "margin" not in rows[split.prompt_id]
    assert {row["ids"]["prompt"]: row["p_tie"] for row in export(store, "preferences", "main")} == {
        decided.prompt_id: 0.5
    }


def test_whole_rankings_keep_their_places(store: Store, weighted: dict[str, float]) -> None:
    weighted |= {"ann": 0.5, "ben": 1.5}
    (task,) = fill_with(store, RANKING, 1, 4, overlap=2)
    a, b, c, _ = task.candidates
    say(store, task, "ann", Answer("ranked", ranking=((b,), (a, c))))
    say(store, task, "ben", Answer("ranked", ranking=((a, b),)))
    (row,) = export(store, "orders")
    assert row["ids"]["responses"] == [b, a, c]
    assert (row["ranks"], row["weight"]) == ([1, 2, 2], 0.5), "who put all on one place has ordered nothing"
    assert [each["origin"] for each in export(store, "ties")] == ["ranking"]
    assert beyond_preferences(store) == [row], "ties within a ranking are in it already"


# Single responses, ratings, prompts.


def test_unpaired_rows_say_which_responses_are_good(store: Store) -> None:
    first, second, third = fill(store, 3)
    vote(store, first, "ann", ("a", None))
    vote(store, second, "ann", ("both_bad", None))
    vote(store, third, "ann", ("tie", None))
    labels = {row["ids"]["completion"]: row["label"] for row in export(store, "unpaired")}
    good, bad = first.candidates
    assert labels == {good: True, bad: False, second.candidates[0]: False, second.candidates[1]: False}
    row = export(store, "unpaired")[0]
    assert row["completion"][0]["role"] == "assistant"
    assert (row["weight"], row["p_label"]) == (1.0, 1.0)


def test_unpaired_rows_weigh_what_speaks_for_and_against(store: Store, weighted: dict[str, float]) -> None:
    weighted |= {"ann": 1.0, "ben": 3.0}
    (task,) = fill_with(store, RATING, 1, 1, overlap=3)
    (only_one,) = task.candidates
    for name, score in (("ann", 7), ("ben", 2), ("carl", 4)):
        say(store, task, name, Answer("rated", ratings={"helpful": {only_one: score}}))
    (row,) = export(store, "unpaired")
    assert (row["label"], row["weight"], row["p_label"]) == (False, 4.0, 0.75), "4 of 7 is the middle and says nothing"


def test_ratings_are_one_row_for_each_score(store: Store) -> None:
    (task,) = fill_with(store, RATING, 1, 1)
    (only_one,) = task.candidates
    say(store, task, "Anneliese", Answer("rated", ratings={"helpful": {only_one: 6}, "honest": {only_one: 3}}))
    rows = export(store, "ratings")
    assert [(row["aspect"], row["score"], row["scale"]) for row in rows] == [("helpful", 6, 7), ("honest", 3, 7)]
    assert rows[0]["prompt"] == [{"role": "user", "content": "question 0"}]
    assert rows[0]["response"] == "answer 0"
    assert rows[0]["annotator"] == store.annotators()[0].id
    assert "Anneliese" not in str(rows), "an export carries no names"


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


# The hub. Only its network is replaced: there is none where tests run.


def test_a_push_is_private_and_carries_the_rows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    pushed: dict[str, Any] = {}

    def push(dataset: Any, name: str, **options: Any) -> None:
        pushed.update(rows=dataset.to_list(), name=name, **options)

    monkeypatch.setattr(datasets.Dataset, "push_to_hub", push)
    (task,) = fill(store, 1)
    vote(store, task, "ann", ("a", 2))
    rows = export(store, "preferences")
    push_to_hub(rows, "someone/labels")
    assert pushed == {"rows": rows, "name": "someone/labels", "private": True}
    push_to_hub(rows, "someone/labels", private=False)
    assert pushed["private"] is False


@pytest.mark.parametrize("name", ["someone/labels", "not/a/name"])
def test_a_push_that_fails_says_what_is_needed(store: Store, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (task,) = fill(store, 1)
    vote(store, task, "ann", ("a", 2))
    with pytest.raises(UserError, match=rf"could not push to {name}: (.|\n)*HF_TOKEN"):
        push_to_hub(export(store, "preferences"), name)


def test_nothing_is_pushed_where_there_is_nothing() -> None:
    with pytest.raises(UserError, match="no rows of this kind"):
        push_to_hub([], "someone/labels")
