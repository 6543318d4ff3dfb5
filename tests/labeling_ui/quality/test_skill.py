"""Skill without known answers, and the weights that follow, on annotators with a planted accuracy."""

import json
import random
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from labeling_ui.assignment.answer_comparison import Unit
from labeling_ui.quality.skill import Choice, Skill, estimate, skill_weights

BLIMP = Path(__file__).parents[4] / "shared" / "data" / "blimp_human_choices" / "human_choices.jsonl"


def planted(accuracy: dict[str, float], tasks: int, seed: int = 0) -> tuple[list[Choice], dict[Unit, bool]]:
    """Everybody judges every task, right with a probability of their own."""
    draw = random.Random(seed)
    truth: dict[Unit, bool] = {(str(task),): draw.random() < 0.5 for task in range(tasks)}
    choices = [
        Choice(name, unit, first if draw.random() < right else not first)
        for unit, first in truth.items()
        for name, right in accuracy.items()
    ]
    return choices, truth


CROWD = {"ann": 0.95, "bob": 0.85, "cid": 0.85, "dee": 0.75, "guesser": 0.5, "liar": 0.1}


def test_planted_accuracies_are_found_without_known_answers() -> None:
    skills = estimate(planted(CROWD, 400)[0])
    for name, right in CROWD.items():
        assert skills[name].accuracy == pytest.approx(right, abs=0.06), name
        assert skills[name].low < skills[name].accuracy < skills[name].high
        assert skills[name].high - skills[name].low < 0.15
        assert skills[name].choices == 400


def test_intervals_cover_the_planted_accuracy() -> None:
    crowd = {"ann": 0.92, "bob": 0.85, "cid": 0.75, "dee": 0.8, "eve": 0.85}
    covered = 0
    for seed in range(10):
        skills = estimate(planted(crowd, 60, seed)[0])
        covered += sum(skills[name].low <= right <= skills[name].high for name, right in crowd.items())
    assert covered >= 43, "95% of 50, which depend on one another in fives"


def test_a_liar_counts_nothing_and_a_guesser_next_to_nothing() -> None:
    found = skill_weights(estimate(planted(CROWD, 400)[0]))
    assert found["liar"] == 0.0
    assert found["guesser"] < 0.15
    assert found["ann"] > found["bob"] > found["dee"] > 0.5
    assert sum(found.values()) / len(found) == pytest.approx(1.0), "all made equally many choices"


def test_a_weighted_majority_is_right_more_often() -> None:
    crowd = {"ann": 0.97, "bob": 0.6, "cid": 0.6, "dee": 0.6, "eve": 0.6}
    choices, truth = planted(crowd, 500)
    counted = skill_weights(estimate(choices))

    def right(weight: dict[str, float]) -> int:
        totals: dict[Unit, float] = defaultdict(float)
        for choice in choices:
            totals[choice.unit] += weight[choice.annotator] * (1 if choice.first == truth[choice.unit] else -1)
        return sum(total > 0 for total in totals.values())

    assert right(counted) > right(dict.fromkeys(crowd, 1.0)) + 50


def test_weights_do_not_depend_on_the_order_of_annotators() -> None:
    crowd = {f"annotator {number}": 0.55 + number / 50 for number in range(20)}
    skills = list(estimate(planted(crowd, 30)[0]).items())
    for seed in range(50):
        mixed = list(skills)
        random.Random(seed).shuffle(mixed)
        assert skill_weights(dict(mixed)) == skill_weights(dict(skills))


def test_few_choices_give_wide_intervals_and_weights_near_each_other() -> None:
    skills = estimate(planted(CROWD, 4)[0])
    found = skill_weights(skills)
    assert all(skill.high - skill.low > 0.2 for skill in skills.values())
    assert max(found.values()) < 2.5 * min(found.values())


def test_known_answers_show_what_agreement_cannot() -> None:
    # Three of five copy the same wrong opinion: without gold the majority is believed.
    draw = random.Random(0)
    choices, known = [], {}
    for task in range(60):
        unit, truth, opinion = (str(task),), draw.random() < 0.5, draw.random() < 0.5
        choices += [Choice(name, unit, truth) for name in ("ann", "bob")]
        choices += [Choice(name, unit, opinion) for name in ("cid", "dee", "eve")]
        known[unit] = truth
    blind, told = estimate(choices), estimate(choices, known)
    assert blind["cid"].accuracy > blind["ann"].accuracy
    assert told["ann"].accuracy > 0.9
    assert told["cid"].accuracy < 0.7


def test_one_annotators_choices_are_measured_by_known_answers_alone() -> None:
    choices = [Choice("ann", (str(task),), True) for task in range(30)]
    assert estimate(choices) == {}
    found = estimate(choices, {(str(task),): task != 0 for task in range(10)})
    assert found["ann"].choices == 10
    assert skill_weights(found) == {"ann": pytest.approx(1.0)}


def test_tasks_without_overlap_say_nothing() -> None:
    choices = [Choice(name, (f"{name} {task}",), True) for name in ("ann", "bob") for task in range(20)]
    assert estimate(choices) == {}
    assert estimate([]) == {}
    assert skill_weights({}) == {}


def test_two_annotators_cannot_be_told_apart() -> None:
    draw = random.Random(0)
    choices = []
    for task in range(50):
        choices += [Choice("ann", (str(task),), True), Choice("bob", (str(task),), draw.random() < 0.7)]
    found = skill_weights(estimate(choices))
    assert found["ann"] == pytest.approx(found["bob"])


@pytest.mark.parametrize("first", [True, False])
def test_the_same_answer_to_everything_is_agreement_too(first: bool) -> None:
    found = estimate([Choice(name, (str(task),), first) for name in ("ann", "bob", "cid") for task in range(50)])
    assert all(skill.accuracy > 0.95 for skill in found.values())
    assert list(skill_weights(found).values()) == pytest.approx([1.0] * 3)


def test_which_response_comes_first_makes_no_difference() -> None:
    choices, _ = planted(CROWD, 40)
    turned = [Choice(choice.annotator, choice.unit, not choice.first) for choice in choices]
    here, there = estimate(choices), estimate(turned)
    for name in CROWD:
        assert here[name].accuracy == pytest.approx(there[name].accuracy)


def test_where_nobody_counts_everybody_does() -> None:
    worse_than_chance = Skill(accuracy=0.4, low=0.3, high=0.5, choices=10)
    assert skill_weights({"ann": worse_than_chance, "bob": worse_than_chance}) == {"ann": 1.0, "bob": 1.0}


def test_choices_that_follow_from_one_answer_share_its_weight() -> None:
    answers, _ = planted(CROWD, 20)
    halves = [
        Choice(choice.annotator, (*choice.unit, part), choice.first, share=0.5) for choice in answers for part in "xy"
    ]
    whole, parts = estimate(answers), estimate(halves)
    for name in CROWD:
        assert parts[name].accuracy == pytest.approx(whole[name].accuracy)
        assert parts[name].low == pytest.approx(whole[name].low, abs=0.03), "by draws"


def test_intervals_allow_for_what_the_others_may_be() -> None:
    # Guessers agree now and then. Whoever takes what comes of it for the others' skills is too sure of one's own.
    covered = 0
    for seed in range(8):
        draw, crowd = random.Random(seed), "abcdefghij"
        pairs = [
            Choice(name, (str(task),), draw.random() < 0.5) for task in range(320) for name in draw.sample(crowd, 2)
        ]
        skills = estimate(pairs).values()
        covered += sum(skill.low <= 0.5 <= skill.high for skill in skills)
    assert covered >= 74, "95% of 80, which depend on one another in tens"


def test_intervals_do_not_depend_on_the_order_of_choices() -> None:
    choices, _ = planted(CROWD, 30)
    here, there = estimate(choices), estimate(choices[::-1])
    assert {name: (skill.low, skill.high) for name, skill in here.items()} == {
        name: (skill.low, skill.high) for name, skill in there.items()
    }


def test_weights_need_no_intervals() -> None:
    choices, _ = planted(CROWD, 30)
    known = {each.unit: True for each in choices[:12]}
    bare = estimate(choices, known, intervals=False)
    assert skill_weights(bare) == skill_weights(estimate(choices, known))
    assert {(skill.low, skill.high) for skill in bare.values()} == {(0.0, 1.0)}


def test_numpys_global_generator_and_the_warning_filters_are_left_alone() -> None:
    np.random.seed(7)
    before = np.random.get_state()
    filters = list(warnings.filters)
    estimate(planted(CROWD, 30)[0])
    after = np.random.get_state()
    assert before[0] == after[0]
    assert np.array_equal(before[1], after[1])
    assert before[2:] == after[2:]
    assert warnings.filters == filters


def test_the_same_choices_always_give_the_same_skills() -> None:
    choices, _ = planted(CROWD, 30)
    np.random.seed(1)
    first = estimate(choices)
    np.random.seed(2)
    assert estimate(choices) == first


@pytest.mark.skipif(not BLIMP.is_file(), reason=f"{BLIMP} is not there")
def test_skill_follows_accuracy_on_gold_answers_that_it_has_not_seen() -> None:
    rows = [json.loads(line) for line in BLIMP.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if not row["attention_check"]]
    skills = estimate([Choice(r["annotator"], (r["uid"], r["s1"], r["s2"]), r["choice"] == 1) for r in rows])
    right = defaultdict(list)
    for row in rows:
        right[row["annotator"]].append(row["choice"] == row["gold"])
    names = [name for name in sorted(right) if len(right[name]) >= 10]
    found = spearmanr([skills[name].accuracy for name in names], [np.mean(right[name]) for name in names]).statistic
    assert len(names) == 106
    assert found > 0.75
