"""Which task next, in which order its responses are shown, and what counts as an answer."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import UserError
from labeling_ui.campaigns.assignment import (
    LONGEST_TEXT,
    OpenTask,
    at_random,
    check,
    check_task,
    mixed_in,
    names_its_model,
    next_task,
    order,
    repeat,
)
from labeling_ui.campaigns.campaign import Campaign
from labeling_ui.records import Answer, Judgement, Task

TASKS = [Task("p", (f"x{number}", f"y{number}")) for number in range(2000)]
PAIRS = Campaign()
RANKING = Campaign(kind="ranking")
RATING = Campaign(kind="rating", aspects=("helpful", "honest"), scale=5)


# --- orders ---


def test_sides_are_fair_for_each_annotator_and_independent_between_them() -> None:
    ann = [order(task, "ann") == task.candidates for task in TASKS]
    bob = [order(task, "bob") == task.candidates for task in TASKS]
    # Four standard deviations of a fair coin thrown 2,000 times are 90.
    assert abs(sum(ann) - 1000) < 90
    assert abs(sum(bob) - 1000) < 90
    assert abs(sum(a == b for a, b in zip(ann, bob, strict=True)) - 1000) < 90


def test_every_order_of_three_is_as_likely() -> None:
    seen = Counter(
        tuple("abc".index(each[0]) for each in order(Task("p", (f"a{n}", f"b{n}", f"c{n}")), "ann"))
        for n in range(3000)
    )
    # 500 expected of each of the six; four standard deviations are 82.
    assert len(seen) == 6
    assert all(abs(number - 500) < 82 for number in seen.values())


def test_orders_do_not_change_between_processes() -> None:
    assert [order(task, "ann")[0] for task in TASKS[:6]] == ["x0", "y1", "x2", "y3", "y4", "y5"]


# --- the next task ---


@given(st.dictionaries(st.text(min_size=1, max_size=4), st.integers(0, 3), max_size=12), st.text(max_size=3))
def test_the_least_taken_task_comes_first_whatever_the_order_of_rows(taken: dict[str, int], annotator: str) -> None:
    rows = [OpenTask(task_id, number) for task_id, number in taken.items()]
    chosen = next_task(rows, annotator)
    assert chosen == next_task(reversed(rows), annotator)
    if chosen is None:
        assert not rows
    else:
        assert taken[chosen] == min(taken.values())


def test_priority_comes_before_how_often_a_task_was_taken_except_in_the_random_slice() -> None:
    rows = [OpenTask("urgent", taken=2, priority=1.0), OpenTask("fresh", taken=0, priority=0.5)]
    assert next_task(rows, "ann") == "urgent"
    assert next_task(rows, "ann", by_priority=False) == "fresh"


def test_annotators_do_not_march_in_step() -> None:
    rows = [OpenTask(task.id, 0) for task in TASKS[:100]]
    chosen = [next_task(rows, f"annotator {number}") for number in range(20)]
    assert len(set(chosen)) >= 15


def test_what_is_mixed_in_comes_at_the_campaigns_rates() -> None:
    campaign = Campaign(gold_share=0.1, repeat_share=0.2, random_share=0.3)
    drawn = Counter(mixed_in(campaign, "ann", turn) for turn in range(4000))
    # Four standard deviations: 76, 101 and 116.
    assert abs(drawn["gold"] - 400) < 76
    assert abs(drawn["repeat"] - 800) < 101
    assert abs(sum(at_random(campaign, "ann", turn) for turn in range(4000)) - 1200) < 116
    assert [mixed_in(campaign, "ann", turn) for turn in range(30)] != [
        mixed_in(campaign, "bo", turn) for turn in range(30)
    ]
    never = Campaign(gold_share=0, repeat_share=0, random_share=0)
    assert not any(mixed_in(never, "ann", turn) or at_random(never, "ann", turn) for turn in range(100))


def test_a_repeat_keeps_its_distance_and_comes_once() -> None:
    judged = [f"task {number}" for number in range(8)]  # the newest first
    assert repeat(judged[:5], set(), "ann") is None
    assert repeat(judged[:6], set(), "ann") == "task 5"
    assert repeat(judged, {"task 5", "task 7"}, "ann") == "task 6"
    assert repeat(judged, set(judged), "ann") is None


# --- what counts as an answer ---

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
]


@pytest.mark.parametrize(("campaign", "candidates", "answer"), GOOD)
def test_possible_answers_pass(campaign: Campaign, candidates: tuple[str, ...], answer: Answer) -> None:
    task = Task("p", candidates, campaign.name)
    check(Judgement(task.id, "ann", candidates, answer, 1.5), task, campaign, candidates)
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
    (PAIRS, {"verdict": "skip", "reason": "x" * (LONGEST_TEXT + 1)}, "letters"),
    (RANKING, {"verdict": "tie"}, "expected one of ranked, skip"),
    (RANKING, {"verdict": "ranked"}, "a ranking of 0"),
    (RANKING, {"verdict": "ranked", "ranking": (("a",), ("a", "b"))}, "twice"),
    (RANKING, {"verdict": "ranked", "ranking": (("a",), ("z",))}, "did not show"),
    (RANKING, {"verdict": "ranked", "ranking": (("a", "b"), ())}, "empty place"),
    (RANKING, {"verdict": "ranked", "ranking": (("a",),)}, "single response"),
    (RATING, {"verdict": "preferred", "winner": "a"}, "expected one of rated, skip"),
    (RATING, {"verdict": "rated"}, "rates 0 aspects"),
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
        check(Judgement(task.id, "ann", candidates, Answer(**said)), task, campaign)


def test_what_was_shown_and_how_long_it_took_must_be_possible() -> None:
    task = Task("p", ("a", "b"))
    tie = Judgement(task.id, "ann", ("b", "a"), Answer("tie"))
    check(tie, task, PAIRS, ("b", "a"))
    with pytest.raises(UserError, match="another order"):
        check(tie, task, PAIRS, ("a", "b"))
    for shown in (("a",), ("a", "a"), ("a", "c"), ("a", "b", "a")):
        with pytest.raises(UserError, match="each once"):
            check(replace(tie, shown=shown), task, PAIRS)
    for seconds in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="from 0 on"):
            check(replace(tie, seconds=seconds), task, PAIRS)


def test_a_required_rationale_is_asked_of_annotators_and_not_of_imports() -> None:
    campaign, task = Campaign(rationale="required"), Task("p", ("a", "b"))
    tie = Judgement(task.id, "ann", ("a", "b"), Answer("tie"))
    check(tie, task, campaign)
    with pytest.raises(UserError, match="asks for one"):
        check(tie, task, campaign, ("a", "b"))
    check(replace(tie, answer=Answer("tie", rationale="the same")), task, campaign, ("a", "b"))
    check(replace(tie, answer=Answer("skip")), task, campaign, ("a", "b"))


@pytest.mark.parametrize(
    ("campaign", "number"), [(PAIRS, 1), (PAIRS, 3), (RANKING, 1), (RANKING, 10), (RATING, 2), (RATING, 0)]
)
def test_a_task_must_be_one_that_its_campaign_can_show(campaign: Campaign, number: int) -> None:
    with pytest.raises(UserError, match="shows"):
        check_task(Task("p", tuple(f"c{n}" for n in range(number)), campaign.name), campaign)


def test_a_gold_answer_must_be_possible() -> None:
    with pytest.raises(UserError, match="not one of its candidates"):
        check_task(Task("p", ("a", "b"), gold=Answer("preferred", winner="z")), PAIRS)


@pytest.mark.parametrize(
    ("response", "says"),
    [
        ("Hello! I'm ChatGPT, how can I help?", "I'm ChatGPT"),
        ("I am a language model trained by OpenAI.", "trained by OpenAI"),
        ("My name is\nClaude.", "My name is Claude"),
        ("我是通义千问，由阿里云开发。", "我是通义千问"),
        ("As an AI language model, I cannot feel.", None),
        ("Monet's first name was Claude, and llamas are animals.", None),
        ("The book was created by a friend.", None),
    ],
)
def test_responses_that_name_their_model_are_flagged(response: str, says: str | None) -> None:
    assert names_its_model(response) == says
