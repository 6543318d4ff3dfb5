"""Mixtures: R = sum of lambda_i z_i on numbers worked by hand; gates, normalisation and its state."""

import statistics
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbone.training.running_moments import RunningMoments
from foundation.errors import UserError
from reward_model.rewards.mixture import Composite, compose
from reward_model.rewards.registry import BuiltReward, read_spec

FINITE = st.floats(-1e3, 1e3)


def fixed(values: Sequence[float], **spec: Any) -> BuiltReward:
    """A reward that gives these values, whatever it is asked."""
    return BuiltReward(read_spec({"name": "learned", **spec}), lambda **columns: list(values))


def mixed(*rewards: BuiltReward) -> list[float]:
    return call(Composite(rewards), 2)


def call(composite: Composite, count: int) -> list[float]:
    return composite(prompts=["p"] * count, completions=["x"] * count)


def test_weights_add_up() -> None:
    assert mixed(fixed([1, 2], label="a", weight=2), fixed([10, 20], label="b", weight=-0.5)) == [-3, -6]


def test_bounds_become_nought_and_one_and_what_is_outside_is_cut() -> None:
    composite = Composite([fixed([-30, -15, 0, 5, -99], normalise="bounds", bounds=[-30, 0])])
    assert call(composite, 5) == [0, 0.5, 1, 1, 0]


def test_clipping_comes_after_normalisation_and_before_the_weight() -> None:
    assert mixed(fixed([1, 9], clip=[-2, 2], weight=10)) == [10, 20]
    # z-scores of 0, 0, 0, 4: mean 1, standard deviation sqrt(3).
    composite = Composite([fixed([0, 0, 0, 4], normalise="running", clip=[-1, 1], weight=2)])
    assert call(composite, 4) == pytest.approx([-2 / 3**0.5] * 3 + [2])


def test_a_running_normalisation_remembers_all_batches() -> None:
    batches = [[1.0, 2.0], [3.0, 10.0]]
    composite = Composite([BuiltReward(read_spec({"name": "learned", "normalise": "running"}), lambda **_: batches[0])])
    call(composite, 2)
    batches.pop(0)
    mean, std = statistics.fmean([1, 2, 3, 10]), statistics.pstdev([1, 2, 3, 10])
    assert call(composite, 2) == pytest.approx([(3 - mean) / std, (10 - mean) / std])


def test_equal_values_are_worth_nothing_until_they_differ() -> None:
    assert mixed(fixed([7.1, 7.1], normalise="running")) == [0, 0]


@given(st.lists(st.lists(FINITE, min_size=1, max_size=5), min_size=1, max_size=5))
def test_moments_of_batches_are_those_of_all_values(batches: list[list[float]]) -> None:
    moments = RunningMoments()
    for batch in batches:
        moments = moments.after(batch)
    values = [value for batch in batches for value in batch]
    assert moments.count == len(values)
    assert moments.mean == pytest.approx(statistics.fmean(values), abs=1e-9)
    assert moments.squares == pytest.approx(statistics.pvariance(values) * len(values), abs=1e-4)


@given(st.lists(FINITE, min_size=2, max_size=6), FINITE, st.floats(0.1, 100))
def test_a_shifted_and_scaled_reward_normalises_to_the_same(values: list[float], shift: float, scale: float) -> None:
    if statistics.pstdev(values) < 1e-3:
        return
    one = call(Composite([fixed(values, normalise="running")]), len(values))
    other = call(Composite([fixed([scale * v + shift for v in values], normalise="running")]), len(values))
    assert one == pytest.approx(other, abs=1e-4)


def test_a_saved_normalisation_goes_on_where_it_was() -> None:
    whole, first, second = (Composite([fixed([1, 5], normalise="running", label="a")]) for _ in range(3))
    call(whole, 2)
    call(first, 2)
    second.restore(first.state())
    assert call(second, 2) == call(whole, 2)
    assert second.state() == whole.state() == {"a": [4, 3.0, 16.0]}


def test_the_state_of_another_mixture_is_refused() -> None:
    composite = Composite([fixed([1], normalise="running", label="a")])
    with pytest.raises(UserError, match="the saved normalisation is of the rewards b, this mixture normalises a"):
        composite.restore({"b": [1, 2, 3]})


def test_processes_normalise_alike() -> None:
    def gather(values: list[float]) -> list[float]:
        return [*values, 3.0, 10.0]  # those of the other process

    composite = Composite([fixed([1, 2], normalise="running")], gather)
    mean, std = 4, statistics.pstdev([1, 2, 3, 10])
    assert call(composite, 2) == pytest.approx([(1 - mean) / std, (2 - mean) / std])


def test_a_gate_replaces_the_whole_sum() -> None:
    gate = fixed([1, 0], label="safe", weight=0, at_least=1, otherwise=-5)
    composite = Composite([fixed([2, 1000], label="a"), gate])
    assert call(composite, 2) == [2, -5]
    assert composite.last == {"a": [2, 1000], "safe": [1, 0], "gated": [0, 1]}


def test_a_gate_zeroes_unless_told_otherwise_and_the_strictest_wins() -> None:
    assert mixed(fixed([1, 0], label="a", at_least=1), fixed([3, 3], label="b")) == [4, 0]
    one, other = fixed([0, 0], label="a", at_least=1, otherwise=-1), fixed([0, 1], label="b", at_least=1, otherwise=-2)
    assert mixed(one, other) == [-2, -1]


def test_pessimism_is_logged_beside_its_standard_deviation() -> None:
    learned = BuiltReward(read_spec({"name": "learned", "pessimism": 2}), lambda **_: [(1.0, 0.25), (2.0, 1.0)])
    composite = Composite([learned])
    assert call(composite, 2) == [0.5, 0]
    assert composite.last == {"learned": [0.5, 0], "learned_std": [0.25, 1]}


def test_mixtures_that_cannot_be_told_apart_or_are_empty_are_refused() -> None:
    with pytest.raises(UserError, match='two rewards are called "length": give one of them a `label`'):
        compose([{"name": "length", "target": 1}, {"name": "length", "target": 2}])
    with pytest.raises(UserError, match="the list of rewards is empty"):
        compose([])


def test_a_mixture_by_name_is_itself_a_reward_function() -> None:
    composite = compose(
        [
            {"name": "bleu"},
            {"name": "grammar", "normalise": "bounds", "bounds": [-30, 0], "weight": 0.3},
            {"name": "format", "pattern": "[^!]*", "weight": 0, "at_least": 1},
        ]
    )
    values = composite(
        prompts=["p"] * 3,
        completions=["The cat sat on the mat.", "The the cat sat on mat.", "The cat sat on the mat!"],
        references=[["The cat sat on the mat."]] * 3,
    )
    assert values[0] == pytest.approx(1.3)
    assert 0 < values[1] < 0.9
    assert values[2] == 0
