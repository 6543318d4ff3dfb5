"""The verdict's statistics: on numbers worked by hand, by enumeration, and beside another implementation."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.verdict import betting
from pipeline.verdict.betting import can_decide, decide, interval, log_capital, prompts_needed
from pipeline.verdict.forecast import expected_after, expected_at

VOTES = st.lists(st.sampled_from([0.0, 1 / 3, 0.5, 2 / 3, 1.0]), min_size=1, max_size=40).map(np.array)


def drawn(number: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).choice([0.0, 0.5, 1.0], p=[0.25, 0.2, 0.55], size=number)


# --- the capital ---


def test_the_capital_is_what_the_stakes_make_of_the_votes() -> None:
    # A fifth of what can be lost: a win multiplies by 1.2, a tie by 1, a loss by 0.8.
    one = log_capital(np.array([1.0, 0.5, 0.0]), 0.5, np.array([0.2]))
    np.testing.assert_allclose(np.exp(one), [1.2, 1.2, 0.96])
    both = log_capital(np.array([1.0, 1.0]), 0.5, np.array([0.2, 0.6]))
    np.testing.assert_allclose(np.exp(both), [(1.2 + 1.6) / 2, (1.44 + 2.56) / 2])
    # Against "at most a quarter", a win brings three times what is staked.
    np.testing.assert_allclose(np.exp(log_capital(np.array([1.0, 0.0]), 0.25, np.array([0.5]))), [2.5, 1.25])


@pytest.mark.parametrize(("win", "tie"), [(0.5, 0.0), (0.4, 0.2), (0.3, 0.2), (0.1, 0.8)])
def test_it_is_not_expected_to_grow_for_a_candidate_that_is_no_better(win: float, tie: float) -> None:
    chance = {1.0: win, 0.5: tie, 0.0: 1 - win - tie}
    paths = list(product(chance, repeat=6))
    capital = np.exp([log_capital(np.array(path), 0.5)[-1] for path in paths])
    expected = sum(value * np.prod([chance[vote] for vote in path]) for value, path in zip(capital, paths, strict=True))
    assert expected <= 1 + 1e-9
    if win + tie / 2 == 0.5:
        assert expected == pytest.approx(1)


@given(VOTES, st.randoms())
def test_the_order_of_the_votes_changes_nothing_of_what_they_come_to(votes: np.ndarray, random: object) -> None:
    shuffled = np.array(sorted(votes, key=lambda _: random.random()))  # type: ignore[attr-defined]
    assert log_capital(shuffled, 0.5)[-1] == pytest.approx(log_capital(votes, 0.5)[-1])
    assert interval(shuffled) == pytest.approx(interval(votes))


def test_with_another_implementation_s_bets_the_capital_is_that_one_s() -> None:
    ville = pytest.importorskip("ville")
    votes, alpha = drawn(200, seed=1), 0.05
    # The predictable plug-in of Waudby-Smith and Ramdas 2024, from the variance before each vote.
    at = np.arange(1, len(votes) + 1)
    means = (0.5 + np.cumsum(votes)) / (at + 1)
    variances = (0.25 + np.cumsum((votes - means) ** 2)) / (at + 1)
    before = np.concatenate([[0.25], variances[:-1]])
    bets = np.sqrt(2 * np.log(2 / alpha) / (before * at * np.log1p(at)))
    for mean in (0.4, 0.5, 0.7):
        up, down = np.minimum(bets, 0.5 / mean) * mean, np.minimum(bets, 0.5 / (1 - mean)) * (1 - mean)
        greater = ville.BettingTest(mean, alternative="greater", alpha=alpha).fit(votes).log_e_values_
        less = ville.BettingTest(mean, alternative="less", alpha=alpha).fit(votes).log_e_values_
        np.testing.assert_allclose(log_capital(votes, mean, up[None]), greater)
        np.testing.assert_allclose(log_capital(1 - votes, 1 - mean, down[None]), less)


def test_a_fine_mixture_of_fractions_is_another_implementation_s_mixture_over_all_rates() -> None:
    ville = pytest.importorskip("ville")
    votes = (drawn(80, seed=2) > 0.25).astype(float)
    fractions = (np.arange(4000) + 0.5) / 4000  # a rate r from one half to 1 is bet on by the fraction 2r - 1
    up, down = log_capital(votes, 0.5, fractions), log_capital(1 - votes, 0.5, fractions)
    expected = ville.BernoulliTest(0.5, prior=(1, 1)).fit(votes).e_values_
    np.testing.assert_allclose((np.exp(up) + np.exp(down)) / 2, expected, rtol=1e-5)


# --- the interval ---


@given(VOTES)
def test_the_interval_holds_every_mean_that_is_not_refuted_and_no_other(votes: np.ndarray) -> None:
    low, high = interval(votes)
    for mean in np.linspace(0.005, 0.995, 100):
        most = max(log_capital(votes, mean)[-1], log_capital(1 - votes, 1 - mean)[-1])
        if abs(mean - low) > 1e-6 and abs(mean - high) > 1e-6:
            assert (low < mean < high) == (most < np.log(40))


def test_the_interval_is_about_as_wide_as_another_implementation_s() -> None:
    ville = pytest.importorskip("ville")
    votes = drawn(150, seed=3)
    low, high = interval(votes)
    other = ville.BettingCS(alpha=0.05, intersect=False).fit(votes).interval()
    assert abs(low - other[0]) < 0.02
    assert abs(high - other[1]) < 0.02


def test_no_votes_on_one_side_leave_that_end_open() -> None:
    assert interval(np.ones(5))[1] == 1.0
    assert interval(np.zeros(5))[0] == 0.0
    assert 0 < interval(np.ones(5))[0] < 0.5


# --- the decision ---


def test_seven_wins_in_a_row_are_the_fewest_that_decide() -> None:
    assert np.mean((1 + betting.FRACTIONS) ** 6) < 20 < np.mean((1 + betting.FRACTIONS) ** 7)
    assert prompts_needed(0.05) == 7
    assert decide(np.ones(6)).outcome == "open"
    assert decide(np.ones(7)).outcome == "better"
    assert decide(np.zeros(7)).outcome == "not_better"


@given(VOTES, VOTES)
def test_a_decision_is_not_changed_by_what_comes_after_it(votes: np.ndarray, later: np.ndarray) -> None:
    first = decide(np.concatenate([np.ones(9), votes]))
    assert first == decide(np.concatenate([np.ones(9), votes, later]))
    assert (first.outcome, first.bets) == ("better", 7)


def test_a_margin_ends_a_verdict_on_two_equal_policies() -> None:
    equal = np.tile([1.0, 0.0], 150)
    assert decide(equal, margin=0.5).outcome == "open"
    ended = decide(equal, margin=0.65)
    assert ended.outcome == "not_better"
    assert ended.e_futility >= 20 > ended.e_value


def test_whether_anything_can_still_be_won() -> None:
    assert can_decide(np.zeros(0), 7)
    assert not can_decide(np.zeros(0), 6)
    assert can_decide(np.full(10, 0.5), 7)
    assert not can_decide(np.zeros(3), 9)


# --- the forecast ---


@pytest.mark.parametrize(("rate", "low", "high"), [(0.7, 40, 48), (0.65, 70, 86), (0.6, 180, 213)])
def test_the_median_number_of_judgements_is_as_measured(rate: float, low: int, high: int) -> None:
    median = expected_at(rate, 800, judges=1, alpha=0.05, margin=0.5).median
    assert median is not None
    assert low <= median <= high


def test_one_judge_on_each_of_more_prompts_takes_fewer_judgements() -> None:
    one, three = (expected_at(0.7, 400, judges, 0.05, 0.5).judgements for judges in (1, 3))
    assert one < 0.8 * three


def test_what_was_said_is_reckoned_with() -> None:
    ahead = expected_after(np.ones(5), 100, 1, 0.05, 0.5, wins=5, losses=0, neither=0)
    level = expected_after(np.tile([1.0, 0.0], 10), 100, 1, 0.05, 0.5, wins=10, losses=10, neither=0)
    assert ahead.judgements < 20 < level.judgements <= 100
