"""The project's own layouts, and gold: answers come in as they were given, and known answers are no judgements."""

import math
from pathlib import Path
from typing import Any

import pytest

from labeling_ui.data_model import Answer
from labeling_ui.exchange.exports.preferences import preferences
from labeling_ui.exchange.exports.registry import export
from labeling_ui.store.store import Store
from tests.labeling_ui.exchange.importers.taking import RANKING, RATING, TWO, own, reasons, said, take


def test_own_answers_of_every_kind(store: Store) -> None:
    take(store, "answers", [own({"verdict": "preferred", "winner": 1, "strength": 3}, annotator="ann")])
    ranked = {"verdict": "ranked", "ranking": [[2], [0, 1]], "rationale": "because"}
    take(store, "answers", [own(ranked, "a", "b", "c", annotator="ben")], RANKING)
    take(store, "answers", [own({"verdict": "rated", "ratings": {"helpful": [5]}}, "a", annotator="carl")], RATING)
    assert said(store) == {
        "ann": Answer("preferred", winner="Sun.", strength=3),
        "ben": Answer("ranked", ranking=(("c",), ("a", "b")), rationale="because"),
        "carl": Answer("rated", ratings={"helpful": {"a": 5}}),
    }


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"verdict": "preferred", "winner": 2}, "names response 2, but there are 2, counted from 0"),
        ({"verdict": "preferred", "winner": True}, "names response True"),
        ({"verdict": "preferred", "winner": 0, "strength": 4}, "strength 4"),
        ({"verdict": "best"}, "'best' is none of"),
        ({"verdict": "ranked", "ranking": [0, 1]}, "not a list of groups"),
        ({"verdict": "rated", "ratings": {"helpful": [1]}}, "1 scores for 2 responses"),
        ({"verdict": "tie", "rationale": "x" * 30_000}, "text of 30000 characters"),
        ({"verdict": "tie", "rationale": "\ud83d"}, "half of a surrogate pair"),
    ],
)
def test_impossible_answers_are_refused(store: Store, answer: dict[str, Any], reason: str) -> None:
    ((line, found),) = reasons(take(store, "answers", [own(answer)]))
    assert (line, reason in found) == (1, True), found


def test_a_ranking_of_two_is_a_preference(store: Store) -> None:
    rows = [
        own({"verdict": "ranked", "ranking": [[1], [0]]}, annotator="ann"),
        own({"verdict": "ranked", "ranking": [[1, 0]]}, annotator="ben"),
    ]
    take(store, "answers", rows)
    assert said(store) == {"ann": Answer("preferred", winner="Sun."), "ben": Answer("tie")}


def test_our_ratings_come_back_as_they_went(store: Store, tmp_path: Path) -> None:
    scores = {"helpful": [5], "rating": [2]}
    take(store, "answers", [own({"verdict": "rated", "ratings": scores}, "Rain.")], RATING)
    rows = export(store, "ratings")
    copy = Store(tmp_path / "copy.db")
    assert take(copy, "ratings", rows, RATING).taken == 1, "two aspects of one annotator are one judgement"
    kept = ("prompt", "response", "aspect", "score", "scale")
    back = [{name: row[name] for name in kept} for row in export(copy, "ratings")]
    assert sorted(back, key=str) == sorted(({name: row[name] for name in kept} for row in rows), key=str)
    copy.close()


@pytest.mark.parametrize("simulated", [True, "True", "true", 1, "1", 1.0])
def test_a_program_s_answer_is_never_a_person_s(store: Store, simulated: object) -> None:
    pair = {"prompt": "Why?", "chosen": "Rain.", "rejected": "Sun.", "simulated": simulated}
    take(store, "trl", [pair])
    take(store, "answers", [own({"verdict": "tie"}, "x", "y", annotator="robot", simulated=simulated)])
    rated = {"prompt": "Why?", "response": "Rain.", "score": 3, "scale": 5, "simulated": simulated}
    take(store, "ratings", [{**rated, "annotator": "critic"}], RATING)
    assert (store.counts().judgements, store.counts().simulated_judgements) == (3, 3)


@pytest.mark.parametrize("simulated", [None, "", False, "False", 0, math.nan])
def test_an_answer_is_a_person_s_unless_the_row_says_otherwise(store: Store, simulated: object) -> None:
    report = take(store, "answers", [own({"verdict": "tie"}, annotator="ann", simulated=simulated)])
    assert (report.taken, store.counts().simulated_judgements) == (1, 0)


def test_what_may_be_a_program_s_answer_is_refused(store: Store) -> None:
    report = take(store, "answers", [own({"verdict": "tie"}, simulated="perhaps")])
    assert reasons(report) == [(1, "simulated 'perhaps' is neither true nor false")]


def test_gold_items_are_tasks_with_a_known_answer(store: Store) -> None:
    rows = [
        own({"verdict": "preferred", "winner": 1, "strength": 2, "rationale": "obvious"}),
        own({"verdict": "both_bad"}, "x", "y"),
        own({"verdict": "skip"}, "x", "z"),
    ]
    report = take(store, "answers", rows, gold=True)
    assert report.taken == 2
    assert reasons(report) == [(3, "it has no known answer")]
    gold = {task.gold.verdict: task for task in store.tasks() if task.gold}
    sun = next(each.id for each in store.candidates() if each.response == "Sun.")
    assert gold["preferred"].gold == Answer("preferred", winner=sun, rationale="obvious")
    assert gold["both_bad"].gold == Answer("both_bad")
    assert store.counts().judgements == 0
    assert preferences(store).rows == []


def test_a_known_answer_may_come_again_with_another_reason(store: Store) -> None:
    rows = [own({"verdict": "both_bad", "rationale": reason}) for reason in ("obvious", "well known")]
    assert [take(store, "answers", [row], gold=True).taken for row in rows] == [1, 0]
    (task,) = store.tasks()
    assert task.gold == Answer("both_bad", rationale="obvious")


def test_any_format_can_bring_gold(store: Store) -> None:
    assert take(store, "trl", [{"prompt": "Why?", "chosen": "Sun.", "rejected": "Rain."}], gold=True).taken == 1
    votes = [
        {"value": value, "user_id": user, "status": "submitted"}
        for value, user in (("response-1", "a"), ("response-2", "b"))
    ]
    disputed = {"id": "1", "fields": {**TWO, "instruction": "Who?"}, "responses": {"p": votes}}
    agreed = {"id": "2", "fields": {**TWO, "instruction": "How?"}, "responses": {"p": votes[:1]}}
    report = take(store, "argilla", [disputed, agreed], gold=True)
    assert (report.taken, reasons(report)) == (1, [(1, "its annotators disagree: no answer is known")])


def test_a_gold_task_and_a_task_to_be_judged_are_never_the_same(store: Store) -> None:
    asked, known = own({"verdict": "preferred", "winner": 1}), own({"verdict": "tie"}, "x", "y")
    assert take(store, "answers", [asked]).taken == 1
    assert take(store, "answers", [known], gold=True).taken == 1
    assert "are a task to be judged in the store already" in reasons(take(store, "answers", [asked], gold=True))[0][1]
    assert "are a gold task in the store already" in reasons(take(store, "answers", [known]))[0][1]
    other = own({"verdict": "preferred", "winner": 0}, "x", "y")
    assert "gold task with another answer" in reasons(take(store, "answers", [other], gold=True))[0][1]
