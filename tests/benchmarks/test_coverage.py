"""The simulation of coverage: intervals that are too narrow are found out."""

import pytest

from benchmarks.coverage import DRAWN, covered, share


def test_a_share_is_weighed_over_all_outcomes() -> None:
    # Of eight fair coins, Clopper and Pearson's interval misses one half at 0 and 8 heads alone.
    assert share(8, 0.5) == pytest.approx(1 - 2 / 2**8)


@pytest.mark.parametrize("name", DRAWN)
def test_every_interval_covers_what_it_promises(name: str) -> None:
    # Where 95% is true, fewer than 53 of 60 have a chance of 1%, and fewer than 17 of 20: a crowd takes seconds.
    draws, least = (20, 17) if "overlap" in name else (60, 53)
    assert covered(DRAWN[name], 16, 0.8, draws) >= least / draws


def test_an_interval_of_no_width_covers_nothing() -> None:
    assert covered(lambda generator, n, p: bool(generator.binomial(n, p) / n == p + 1e-9), 16, 0.8, 20) == 0
