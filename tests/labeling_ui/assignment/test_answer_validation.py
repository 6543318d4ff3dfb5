"""Which answers are valid."""

from dataclasses import replace
from typing import Any

import pytest

from foundation.errors import UserError
from labeling_ui.assignment.answer_validation import LONGEST_TEXT, check_judgement, check_task
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Judgement, Task

PAIRS = Campaign()
RANKING = Campaign(kind="ranking")
RATING = Campaign(kind="rating", aspects=("helpful", "honest"), scale=5)
OPEN = RATING.model_copy(update={"not_applicable": True})

GOOD: list[tuple[Campaign, tuple[str, ...], Answer]] = [
    (PAIRS, ("a", "b"), Answer("preferred", winner="b", strength=3, rationale="why", rewrite="better")),
    (PAIRS, ("a", "b"), Answer("preferred", winner="a")),
    (PAIRS, ("a", "b"), Answer("tie")),
    (PAIRS, ("a", "b"), Answer("both_bad")),
    (PAIRS, ("a", "b"), Answer("skip", reason="no idea")),
    (RANKING, ("a", "b", "c"), Answer("ranked", ranking=(("b",), ("a", "c")))),
    (RANKING, ("a", "b", "c"), Answer("ranked", ranking=(("b",), ("a",)))),
    (RATING, ("a",), Answer("rated", ratings={"helpful": {"a": 5}, "honest": {"a": 1}})),
    (RATING, ("a",), Answer("rated", ratings={"helpful": {"a": 2}})),
    (OPEN, ("a",), Answer("rated", ratings={"helpful": {"a": 2}}, not_applicable=("honest",))),
    (OPEN, ("a",), Answer("rated", not_applicable=("honest", "helpful"))),
]


@pytest.mark.parametrize(("campaign", "candidates", "answer"), GOOD)
def test_possible_answers_pass(campaign: Campaign, candidates: tuple[str, ...], answer: Answer) -> None:
    task = Task("p", candidates, campaign.name)
    check_judgement(Judgement(task.id, "ann", candidates, answer, 1.5), task, campaign, candidates)
    check_task(replace(task, gold=answer), campaign)


BAD: list[tuple[Campaign, dict[str, Any], str]] = [
    (PAIRS, {"verdict": "up"}, "expected one of preferred, tie, both_bad, skip"),
    (PAIRS, {"verdict": "ranked", "ranking": (("a",), ("b",))}, "expected one of preferred"),
    (PAIRS, {"verdict": "preferred"}, "its winner is None"),
    (PAIRS, {"verdict": "preferred", "winner": "z"}, "not one of its candidates"),
    (PAIRS, {"verdict": "tie", "winner": "a"}, "its winner is a"),
    (PAIRS, {"verdict": "tie", "strength": 1}, "only a preference"),
    (PAIRS, {"verdict": "preferred", "winner": "a", "strength": 0}, "1, 2 or 3"),
    (PAIRS, {"verdict": "preferred", "winner": "a", "strength": 4}, "1, 2 or 3"),
    (PAIRS, {"verdict": "preferred", "winner": "a", "strength": True}, "1, 2 or 3"),
    (PAIRS, {"verdict": "tie", "ranking": (("a",), ("b",))}, "has a ranking"),
    (PAIRS, {"verdict": "tie", "rationale": "a\0b"}, "cannot be stored"),
    (PAIRS, {"verdict": "tie", "rationale": "a\ud800"}, "cannot be stored"),
    (PAIRS, {"verdict": "skip", "reason": "x" * (LONGEST_TEXT + 1)}, "characters"),
    (RANKING, {"verdict": "tie"}, "expected one of ranked, skip"),
    (RANKING, {"verdict": "ranked"}, "a ranking of 0"),
    (RANKING, {"verdict": "ranked", "ranking": (("a",), ("a", "b"))}, "twice"),
    (RANKING, {"verdict": "ranked", "ranking": (("a",), ("z",))}, "did not show"),
    (RANKING, {"verdict": "ranked", "ranking": (("a", "b"), ())}, "empty place"),
    (RANKING, {"verdict": "ranked", "ranking": (("a",),)}, "single response"),
    (RATING, {"verdict": "preferred", "winner": "a"}, "expected one of rated, skip"),
    (RATING, {"verdict": "rated"}, "rates 0 aspects"),
    (RATING, {"verdict": "rated", "not_applicable": ("honest",)}, "does not offer that"),
    (OPEN, {"verdict": "rated", "not_applicable": ("kind",)}, "is no aspect"),
    (OPEN, {"verdict": "rated", "not_applicable": ("honest", "honest")}, "named twice"),
    (OPEN, {"verdict": "rated", "not_applicable": ("honest",), "ratings": {"honest": {"a": 1}}}, "is rated"),
    (OPEN, {"verdict": "skip", "not_applicable": ("honest",)}, "rates 0 aspects"),
    (RATING, {"verdict": "rated", "ratings": {"kind": {"a": 1}}}, "the aspects are helpful, honest"),
    (RATING, {"verdict": "rated", "ratings": {"helpful": {"z": 1}}}, "did not show"),
    (RATING, {"verdict": "rated", "ratings": {"helpful": {}}}, "no response"),
    (RATING, {"verdict": "rated", "ratings": {"helpful": {"a": 6}}}, "expected 1 to 5"),
    (RATING, {"verdict": "rated", "ratings": {"helpful": {"a": True}}}, "expected 1 to 5"),
]


@pytest.mark.parametrize(("campaign", "said", "told"), BAD)
def test_impossible_answers_are_refused_with_the_reason(campaign: Campaign, said: dict[str, Any], told: str) -> None:
    candidates = {"pairwise": ("a", "b"), "ranking": ("a", "b", "c"), "rating": ("a",)}[campaign.kind]
    task = Task("p", candidates, campaign.name)
    with pytest.raises(UserError, match=told):
        check_judgement(Judgement(task.id, "ann", candidates, Answer(**said)), task, campaign)


def test_what_was_shown_and_how_long_it_took_must_be_possible() -> None:
    task = Task("p", ("a", "b"))
    tie = Judgement(task.id, "ann", ("b", "a"), Answer("tie"))
    check_judgement(tie, task, PAIRS, ("b", "a"))
    with pytest.raises(UserError, match="another order"):
        check_judgement(tie, task, PAIRS, ("a", "b"))
    for shown in (("a",), ("a", "a"), ("a", "c"), ("a", "b", "a")):
        with pytest.raises(UserError, match="each once"):
            check_judgement(replace(tie, shown=shown), task, PAIRS)
    for seconds in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="from 0 on"):
            check_judgement(replace(tie, seconds=seconds), task, PAIRS)


def test_a_required_rationale_is_asked_of_annotators_and_not_of_imports() -> None:
    campaign, task = Campaign(rationale="required"), Task("p", ("a", "b"))
    tie = Judgement(task.id, "ann", ("a", "b"), Answer("tie"))
    check_judgement(tie, task, campaign)
    with pytest.raises(UserError, match="asks for one"):
        check_judgement(tie, task, campaign, ("a", "b"))
    check_judgement(replace(tie, answer=Answer("tie", rationale="the same")), task, campaign, ("a", "b"))
    check_judgement(replace(tie, answer=Answer("skip")), task, campaign, ("a", "b"))


@pytest.mark.parametrize(
    ("campaign", "number"), [(PAIRS, 1), (PAIRS, 3), (RANKING, 1), (RANKING, 10), (RATING, 2), (RATING, 0)]
)
def test_a_task_must_be_one_that_its_campaign_can_show(campaign: Campaign, number: int) -> None:
    with pytest.raises(UserError, match="shows"):
        check_task(Task("p", tuple(f"c{n}" for n in range(number)), campaign.name), campaign)


def test_a_gold_answer_must_be_possible() -> None:
    with pytest.raises(UserError, match="not one of its candidates"):
        check_task(Task("p", ("a", "b"), gold=Answer("preferred", winner="z")), PAIRS)
