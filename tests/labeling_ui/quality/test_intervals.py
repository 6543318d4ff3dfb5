"""Shares with their intervals, trends and corrected p values, on numbers worked by hand."""

import numpy as np
import pytest

from labeling_ui.quality.intervals import Share, holm, share, trend


def test_a_share_has_an_exact_interval() -> None:
    # 10 of 10: Clopper and Pearson's lower end is the tenth root of 2.5%.
    assert share([1.0] * 10) == Share(10, 1.0, pytest.approx(0.025**0.1), 1.0)
    assert share([]) == Share(0)
    half = share([0.5, 0.5])
    assert (half.n, half.value) == (2, 0.5), "cases that count in part are still two cases"


def test_a_trend_is_seen_and_noise_is_not() -> None:
    draw = np.random.default_rng(1)
    falling = trend([bool(draw.random() < p) for p in np.linspace(1, 0.4, 200)])
    assert falling is not None
    assert falling.early > falling.late
    assert falling.p_value < 1e-3
    level = [trend([bool(draw.random() < 0.8) for _ in range(60)]) for _ in range(200)]
    alarms = sum(each is not None and each.p_value < 0.05 for each in level)
    assert 0 < alarms <= 18, "5% of 200 is 10; more than 18 has a chance of 0.6%"


def test_a_trend_worked_by_hand() -> None:
    # One miss of ten, the last: a tenth of all orders. Rising is no alarm.
    falling, rising = trend([True] * 9 + [False]), trend([False] + [True] * 9)
    assert falling is not None
    assert rising is not None
    assert falling.p_value == pytest.approx(0.1)
    assert rising.p_value == pytest.approx(1.0)


@pytest.mark.parametrize("values", [[], [True] * 30, [False, True] * 4])
def test_there_is_no_trend_in_few_or_equal_values(values: list[bool]) -> None:
    assert trend(values) is None


def test_holm_multiplies_by_what_is_left_and_keeps_the_order() -> None:
    # Sorted .01, .02, .04: times 3, 2, 1, and never below the one before.
    equal = dict.fromkeys("abc", 1.0)
    assert holm({"a": 0.04, "b": 0.01, "c": 0.02}, equal) == pytest.approx({"a": 0.04, "b": 0.03, "c": 0.04})
    assert holm({}, {}) == {}


def test_a_weight_buys_more_of_the_chance() -> None:
    # a is first, .03 / 2 against .02: .03 * 3 / 2, then .02 is not raised by its own 1 / 1, but by what came before.
    assert holm({"a": 0.03, "b": 0.02}, {"a": 2, "b": 1}) == pytest.approx({"a": 0.045, "b": 0.045})
