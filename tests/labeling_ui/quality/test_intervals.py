"""Shares with their intervals, trends and corrected p values, on numbers worked by hand."""

import numpy as np
import pytest

from labeling_ui.quality.intervals import Share, holm, share, trend


def test_a_share_has_wilsons_interval() -> None:
    # 10 of 10: n / (n + z²) = 10 / 13.8415.
    assert share([1.0] * 10) == Share(10, 1.0, pytest.approx(10 / 13.8415, abs=1e-4), pytest.approx(1.0))
    assert share([]) == Share(0)
    half = share([0.5, 0.5])
    assert (half.n, half.value) == (2, 0.5), "cases that count in part are still two cases"


def test_a_trend_is_seen_and_noise_is_not() -> None:
    draw = np.random.default_rng(1)
    falling = trend([float(draw.random() < p) for p in np.linspace(1, 0.4, 200)])
    assert falling is not None
    assert falling.early > falling.late
    assert falling.p_value < 1e-3
    level = [trend([float(draw.random() < 0.8) for _ in range(60)]) for _ in range(200)]
    alarms = sum(each is not None and each.p_value < 0.05 for each in level)
    assert alarms <= 18, "5% of 200 is 10; more than 18 has a chance of 0.6%"


@pytest.mark.parametrize("values", [[], [1.0] * 30, [0.0, 1.0] * 4])
def test_there_is_no_trend_in_few_or_equal_values(values: list[float]) -> None:
    assert trend(values) is None


def test_holm_multiplies_by_what_is_left_and_keeps_the_order() -> None:
    # Sorted .01, .02, .04: times 3, 2, 1, and never below the one before.
    assert holm([0.04, None, 0.01, 0.02]) == [pytest.approx(0.04), None, pytest.approx(0.03), pytest.approx(0.04)]
    assert holm([]) == []
    assert holm([None]) == [None]
