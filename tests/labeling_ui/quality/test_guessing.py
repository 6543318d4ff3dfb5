"""Who is asked about their answers: guessers, and not whoever is as good as the others."""

import random

from labeling_ui.quality.doubts import corrected, doubts_of
from labeling_ui.quality.guessing import guessing, margins
from labeling_ui.quality.skill import Choice


def crowd(accuracy: list[float], tasks: int, overlap: int, seed: int = 0) -> list[Choice]:
    draw = random.Random(seed)
    found = []
    for task in range(tasks):
        first = draw.random() < 0.5
        for who in draw.sample(range(len(accuracy)), overlap):
            found.append(Choice(str(who), (str(task),), first if draw.random() < accuracy[who] else not first))
    return found


def test_a_guesser_among_good_annotators_is_found() -> None:
    found = guessing(crowd([0.5] + [0.9] * 9, 400, 3), {})
    assert found["0"] < 0.001
    assert min(p for name, p in found.items() if name != "0") > 0.01


def test_p_values_of_equally_good_annotators_are_no_smaller_than_chance_makes_them() -> None:
    low = 0
    for seed in range(20):
        low += sum(p < 0.05 for p in guessing(crowd([0.8] * 10, 100, 2, seed), {}).values())
    assert low <= 20, "5% of 200 is 10; more than 20 has a chance of 0.1%"
    assert low > 0, "a test that never speaks is none"


def test_whoever_is_only_worse_than_very_good_others_does_not_guess() -> None:
    assert guessing(crowd([0.8] + [0.97] * 9, 2000, 3), {})["0"] == 1.0


def test_a_pool_that_guesses_accuses_nobody() -> None:
    assert min(guessing(crowd([0.5] * 20, 300, 2), {}).values()) > 0.001


def test_known_answers_find_whom_agreement_cannot() -> None:
    choices = [Choice(name, (str(task),), task % 2 == 0) for name in "ab" for task in range(30)]
    choices += [Choice("c", (str(task),), task % 4 < 2) for task in range(30)]
    known = {(str(task),): task % 2 == 0 for task in range(30)}
    assert guessing(choices, known)["c"] < 0.001
    assert guessing([choice for choice in choices if choice.annotator == "c"], {}) == {}


def test_margins_count_the_others_alone() -> None:
    choices = [
        Choice("a", ("t",), True),
        Choice("b", ("t",), True),
        Choice("c", ("t",), False),
        Choice("a", ("k",), True),
    ]
    assert margins(choices, {("k",): False}) == [0, 0, -2, -1]


def test_a_question_costs_the_others_of_their_chance() -> None:
    alone = corrected({"ann": doubts_of([True] * 10, [], None, None)})
    assert alone == {"ann": {"side": 2 / 2**10}}
    beside = corrected({name: doubts_of([True, False] * 5, [], None, 0.001) for name in ("ann", "bob")})
    assert beside["ann"]["guessing"] == 0.001 * 14 / 6, "of weights 6, 6, 1 and 1"
    assert beside["ann"]["side"] == 1.0


def test_one_answer_in_ten_may_be_fast() -> None:
    assert doubts_of([], [True] * 3 + [False] * 27, None, None)["fast"] > 0.5
    assert doubts_of([], [True] * 12 + [False] * 18, None, None)["fast"] < 0.001
