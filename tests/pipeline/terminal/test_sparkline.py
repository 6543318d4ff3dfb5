"""Curves of bars, by hand."""

import math

import numpy as np

from pipeline.terminal.sparkline import binned, sparkline


def test_bars_reach_from_the_least_to_the_greatest() -> None:
    assert sparkline(np.array([-3.0, -2.0, -1.0, 4.0])) == "▁▂▃█"
    assert sparkline(np.array([2.0, 2.0])) == "▁▁"


def test_what_is_not_a_number_is_a_blank() -> None:
    assert sparkline(np.array([1.0, math.nan, 2.0])) == "▁ █"
    assert sparkline(np.array([math.nan, math.inf])) == "  "


def test_a_long_curve_is_averaged_over_stretches() -> None:
    assert binned([1, 3, 5, 7, 9], 2).tolist() == [3.0, 8.0]
    assert binned([4, 6], 60).tolist() == [4.0, 6.0]
    assert binned([1, math.nan, math.inf, 5], 2).tolist() == [1.0, 5.0]
    assert np.isnan(binned([], 60)).all()
