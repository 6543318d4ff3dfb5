"""Votes on pairs become preference rows and ties: what each row says, and which pairs give none."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labeling_ui.data_model import Answer, Candidate, Task
from labeling_ui.exchange import weighted_votes
from labeling_ui.exchange.exports.preferences import PreferenceSet, preferences
from labeling_ui.exchange.exports.registry import export
from labeling_ui.quality.assessment import vote_weights
from labeling_ui.store.store import Store
from tests.labeling_ui.exchange.exports.voting import RANKING, Said, only, say, vote
from tests.labeling_ui.filling import fill, fill_with


def result(tmp_path: Path, votes: list[Said]) -> PreferenceSet:
    store = Store(tmp_path / f"{len(list(tmp_path.iterdir()))}.db")
    (task,) = fill(store, 1, overlap=max(1, len(votes)))
    for number, said in enumerate(votes):
        vote(store, task, f"annotator {number}", said)
    found = preferences(store)
    store.close()
    return found


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
    assert row["weight"] == 5, "two for, one against, a tie and both bad; a skip says nothing"
    assert (row["p_chosen"], row["p_tie"], row["p_both_bad"]) == (3 / 5, 1 / 5, 1 / 5)
    assert row["posterior"] == pytest.approx(16 / (16 + 4 + 4 + 4), abs=1e-6), "each vote is right four times in five"
    assert row["margin"] == pytest.approx((3 + 1 - 2) / 9, abs=1e-4)
    assert len(row["annotators"]) == 5
    assert row["simulated"] is False
    assert row["origin"] == "pair"


def test_votes_count_their_annotators_weights(store: Store, weighted: dict[str, float]) -> None:
    weighted |= {"expert": 2.0, "hasty": 0.5, "careless": 0.25}
    (task,) = fill(store, 1, overlap=4)
    vote(store, task, "expert", ("a", 3))
    vote(store, task, "hasty", ("b", 1))
    vote(store, task, "careless", ("b", None))
    vote(store, task, "unknown", ("tie", None))
    (row,) = export(store, "soft")
    assert row["ids"]["chosen"] == task.candidates[0], "two lighter votes do not outweigh one heavy vote"
    assert row["weight"] == 2 + 0.5 + 0.25 + 1
    assert row["p_chosen"] == pytest.approx((2 + 0.5) / 3.75)
    assert row["decided"] is False, "nor does one heavy vote decide against two people"
    assert not preferences(store).rows
    vote(store, task, "second", ("a", 1))
    vote(store, task, "third", ("a", None))
    row = only(store)
    assert row["margin"] == pytest.approx((2 * 1 - 0.5 / 3 + 1 / 3) / 3.5, abs=1e-4)


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


def test_equal_weights_against_each_other_decide_nothing(store: Store, weighted: dict[str, float]) -> None:
    weighted |= {"one": 0.1, "two": 0.2, "three": 0.3}
    (task,) = fill(store, 1, overlap=3)
    vote(store, task, "one", ("a", None))
    vote(store, task, "two", ("a", None))
    vote(store, task, "three", ("b", None))
    assert preferences(store) == PreferenceSet([], ties=0, both_bad=0, skipped=0, split=1)


@pytest.mark.parametrize(
    ("votes", "where"),
    [
        ([("tie", None)], "ties"),
        ([("a", 1), ("b", 3)], "split"),
        ([("tie", None), ("both_bad", None)], "split"),
        ([("a", 1), ("both_bad", None)], "split"),
        ([("a", 1), ("tie", None)], "split"),
        ([("a", 1), ("both_bad", None), ("both_bad", None)], "both_bad"),
        ([("a", 1), ("tie", None), ("tie", None)], "ties"),
        ([("both_bad", None), ("skip", None)], "both_bad"),
        ([("both_bad", None), ("both_bad", None), ("tie", None)], "both_bad"),
        ([("skip", None)], "skipped"),
    ],
)
def test_pairs_that_are_not_decided_for_one_are_left_out_and_counted(
    tmp_path: Path, votes: list[Said], where: str
) -> None:
    counted = {"ties": 0, "both_bad": 0, "skipped": 0, "split": 0, where: 1}
    assert result(tmp_path, votes) == PreferenceSet(rows=[], **counted)


def test_unjudged_pairs_are_not_counted(store: Store) -> None:
    fill(store, 3)
    assert preferences(store) == PreferenceSet(rows=[], ties=0, both_bad=0, skipped=0, split=0)


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
    assert len(found.rows) + found.ties + found.both_bad + found.skipped + found.split == 1
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
    windows = Candidate(second.prompt_id, "one line\r\nand another\r\n")
    store.add_candidates([windows])
    third = Task(second.prompt_id, (windows.id, second.candidates[0]))
    store.add_tasks([third])
    same = next(each.response for each in store.candidates() if each.id == second.candidates[0])
    say(store, second, "editor", Answer("preferred", second.candidates[0], rewrite=f" {same} "))
    say(store, third, "editor", Answer("preferred", windows.id, rewrite="one line\nand another"))
    other = next(each.response for each in store.candidates() if each.id == second.candidates[1])
    say(store, second, "hasty", Answer("preferred", second.candidates[0], rewrite=other))
    rewrites = [row for row in preferences(store).rows if row["origin"] == "rewrite"]
    assert len(rewrites) == 1, "a rewrite that changes nothing is none"
    (row,) = rewrites
    assert row["chosen"] == [{"role": "assistant", "content": "a better answer"}]
    assert row["ids"]["rejected"] == winner
    assert (row["weight"], row["p_chosen"], row["margin"]) == (1.5, 1.0, 0.0)


def test_ties_and_splits_are_rows_of_their_own(store: Store) -> None:
    tied, split, leaning, ranked = *fill(store, 3, overlap=2), fill_with(store, RANKING, 1, 3)[0]
    for task, said in ((tied, "tt"), (split, "ab"), (leaning, "at")):
        for name, winner in zip(("ann", "ben"), said, strict=True):
            vote(store, task, name, ("tie", None) if winner == "t" else (winner, 2))
    a, b, c = ranked.candidates
    say(store, ranked, "ann", Answer("ranked", ranking=((b,), (a, c))))
    ties = {row["ids"]["prompt"]: row for row in export(store, "ties")}
    assert ties.keys() == {tied.prompt_id, ranked.prompt_id}
    assert {(row["p_chosen"], row["p_tie"]) for row in ties.values()} == {(0.5, 1.0)}
    soft = {row["ids"]["prompt"]: row for row in export(store, "soft")}
    assert soft.keys() == {split.prompt_id, leaning.prompt_id}
    assert (soft[split.prompt_id]["p_chosen"], soft[split.prompt_id]["p_tie"]) == (0.5, 0.0)
    assert (soft[leaning.prompt_id]["p_chosen"], soft[leaning.prompt_id]["p_tie"]) == (0.75, 0.5)
    assert not any("margin" in row for row in (*ties.values(), *soft.values()))
    assert not export(store, "preferences", "main")


def test_a_split_vote_is_never_a_hard_row_however_the_weights_lie(store: Store, weighted: dict[str, float]) -> None:
    weighted |= {"ann": 3.0, "ben": 0.2}
    tasks = fill(store, 20, overlap=2)
    for number, task in enumerate(tasks):
        vote(store, task, "ann", ("a", 3))
        vote(store, task, "ben", (("b", "both_bad", "tie")[number % 3], None))
    assert not preferences(store).rows
    assert len(export(store, "soft")) == 20
    assert not [row for row in export(store, "unpaired") if row["ids"]["completion"] in {t.candidates[0] for t in tasks}
                and row["ids"]["prompt"] == tasks[0].prompt_id], "one person for it and one against"  # fmt: skip


def test_one_light_vote_alone_decides_nothing(store: Store, weighted: dict[str, float]) -> None:
    weighted |= {"guesser": 0.0, "hasty": 0.2, "usual": 0.9}
    tasks = fill(store, 3)
    for task, name in zip(tasks, weighted, strict=True):
        vote(store, task, name, ("a", 3))
    assert [row["ids"]["prompt"] for row in preferences(store).rows] == [tasks[2].prompt_id]
    assert [row["ids"]["prompt"] for row in export(store, "soft")] == [tasks[1].prompt_id], "a weight of 0 says nothing"


@pytest.mark.parametrize("kind", ["preferences", "ties", "soft"])
def test_strengths_of_people_who_count_nothing_are_no_margin(
    store: Store, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the two who say how strongly, neither counts: there is no mean to take, and none to divide by."""
    split, decided = fill(store, 2, overlap=5)
    counted: dict[str, float] = {}
    for task, others in ((split, ["tie", "both_bad"]), (decided, ["a", "a"])):
        said: list[Said] = [("a", 3), ("b", 1), *((each, None) for each in others)]
        for name, each in zip(("liar", "cheat", "ann", "bob"), said, strict=True):
            vote(store, task, name, each)
            counted[store.annotator(name).id] = float(name in ("ann", "bob"))
    monkeypatch.setattr(weighted_votes, "vote_weights", lambda _: counted)
    assert all("margin" not in row for row in export(store, kind))
