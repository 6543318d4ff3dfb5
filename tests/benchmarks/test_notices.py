"""The simulation of notices, on few campaigns: honest ones are left alone, a guesser among the good is found."""

import pytest

from benchmarks.notices import power, simulate


@pytest.mark.parametrize("overlap", [2, 3])
def test_honest_campaigns_show_no_notice(overlap: int) -> None:
    assert simulate([0.75], overlap, 40)["false"] <= 0.125, "5% of 40 is 2; more than 5 has a chance of 1.4%"


def test_the_power_approaches_the_best() -> None:
    found, best = simulate([0.95], 3, 20)["found"], power(0.95, 3)
    assert best > 0.9
    assert found >= 0.7


def test_the_best_power_worked_by_hand() -> None:
    # Told the truth and 30 answers at 85%, the test may reject up to 18 right; of a guesser P(X <= 18) = .90.
    assert power(0.85, 2, truth=True) == pytest.approx(0.92, abs=0.03)
    assert power(0.5, 2) == pytest.approx(0.05 / 20)
