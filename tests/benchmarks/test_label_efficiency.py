"""The label-efficiency benchmark on made-up pools whose answer is known."""

import numpy as np
import pytest

from benchmarks.label_efficiency import Pool, curve, needed, table


def linear_pool(prompts: int = 120, samples: int = 6, told: float = 1.0) -> Pool:
    """Worth is the first feature of the states, times `told`, and otherwise noise that no head can see."""
    random = np.random.default_rng(3)
    states = random.standard_normal((prompts, samples, 8))
    return Pool(states, told * states[..., 0] + (1 - told) * random.standard_normal((prompts, samples)))


@pytest.mark.parametrize(("way", "rounds"), [("random", 1), ("d_optimal", 3), ("thompson", None)])
def test_a_policy_wins_the_more_the_more_labels_it_has_though_every_fifth_is_wrong(
    way: str, rounds: int | None
) -> None:
    found = curve(linear_pool(), way, rounds, seed=0)

    assert found["480"] > 0.9 > found["20"] > 0.5


def test_labels_about_what_states_do_not_tell_win_nothing() -> None:
    found = [curve(linear_pool(told=0.0), "random", 1, seed)["240"] for seed in range(4)]

    assert np.mean(found) == pytest.approx(0.5, abs=0.06)


def test_the_same_seed_asks_the_same() -> None:
    assert curve(linear_pool(), "variance", 3, seed=1) == curve(linear_pool(), "variance", 3, seed=1)


def test_labels_needed_lie_between_the_sizes_on_either_side() -> None:
    assert needed({"20": [0.5, 0.6], "40": [0.6, 0.7]}) == pytest.approx(30)
    assert needed({"20": [0.7]}) == pytest.approx(10)
    assert needed({"20": [0.5], "40": [0.59]}) == float("inf")


def test_the_table_says_by_how_much_a_chooser_is_ahead() -> None:
    shown = table({"random": {"20": [0.5, 0.6]}, "d_optimal, three rounds": {"20": [0.6, 0.7]}})

    assert "| random | 55.0% ± 63.5 |" in shown
    assert "| d optimal, three rounds | +10.0 ± 0.0 |" in shown
