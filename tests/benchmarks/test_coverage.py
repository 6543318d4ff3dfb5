"""The simulation of coverage: intervals that are too narrow are found out."""

import pytest

from benchmarks.coverage import DRAWN, covered, share


def test_a_share_is_weighed_over_all_outcomes() -> None:
    # Of eight fair coins, Clopper and Pearson's interval misses one half at 0 and 8 heads alone.
    assert share(8, 0.5) == pytest.approx(1 - 2 / 2**8)


@pytest.mark.parametrize("name", DRAWN)
def test_every_interval_covers_what_it_promises(name: str) -> None:
    assert covered(DRAWN[name], 16, 0.8, 60) >= 0.88, "95% of 60 is 57; fewer than 53 has a chance of 1%"


def test_an_interval_of_no_width_covers_nothing() -> None:
    assert covered(lambda generator, n, p: bool(generator.binomial(n, p) / n == p + 1e-9), 16, 0.8, 20) == 0
