"""Each interval covers what it promises, on few cases and near certainty too."""

import numpy as np
import pytest
from scipy.stats import binom

from foundation.intervals import cases_needed, cases_worth, clustered_share_interval, paired_interval, share_interval

SIZES, SHARES = (8, 16, 64, 256), (0.5, 0.8, 0.95)


def test_a_share_has_clopper_and_pearsons_interval() -> None:
    assert share_interval(10, 10) == pytest.approx((0.025**0.1, 1.0))
    assert share_interval(0, 4) == pytest.approx((0.0, 1 - 0.025**0.25))
    low, high = share_interval(81, 263)  # Agresti and Coull 1998
    assert (round(low, 3), round(high, 3)) == (0.253, 0.368)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("p", SHARES)
def test_of_95_percent_no_less_than_93_are_covered(n: int, p: float) -> None:
    covered = 0.0
    for wins in range(n + 1):
        low, high = clustered_share_interval(np.repeat([1.0, 0.0], [wins, n - wins]), range(n))
        covered += binom.pmf(wins, n, p) if low <= p <= high else 0.0
    assert covered >= 0.95, "exact: every outcome is weighed by its probability"


@pytest.mark.parametrize(("prompts", "p"), [(8, 0.8), (64, 0.95)])
def test_judgements_that_share_a_prompt_are_not_counted_twice(prompts: int, p: float) -> None:
    generator, covered = np.random.default_rng(0), 0
    clusters = np.repeat(np.arange(prompts), 4).tolist()
    for _ in range(200):
        of_prompt = generator.beta(p, 1 - p, size=prompts)
        right = (generator.random((prompts, 4)) < of_prompt[:, None]).astype(float).ravel()
        low, high = clustered_share_interval(right, clusters)
        covered += low <= p <= high
    assert covered >= 182, "95% of 200 is 190; fewer than 182 has a chance of 0.9%"


@pytest.mark.parametrize("n", [8, 64])
@pytest.mark.parametrize("p", SHARES)
def test_a_paired_difference_is_covered(n: int, p: float) -> None:
    generator, covered = np.random.default_rng(1), 0
    for _ in range(200):
        new = generator.random(n) < p
        old = np.where(generator.random(n) < 0.7, new, generator.random(n) < 0.6)
        low, high = paired_interval(new.astype(float) - old, range(n))
        covered += low <= 0.3 * (p - 0.6) <= high
    assert covered >= 182, "95% of 200 is 190; fewer than 182 has a chance of 0.9%"


def test_two_that_never_differ_may_differ_elsewhere() -> None:
    few, many = (paired_interval(np.zeros(n), range(n)) for n in (8, 256))
    assert few[0] == pytest.approx(-few[1])
    assert few[1] > 0.2 > 0.02 > many[1] > 0


@pytest.mark.parametrize("limit", [0.5, 0.2, 0.05])
def test_the_cases_needed_are_the_fewest_that_rule_a_difference_out(limit: float) -> None:
    needed = cases_needed(limit)
    assert paired_interval(np.zeros(needed), range(needed))[0] >= -limit
    assert paired_interval(np.zeros(needed - 1), range(needed - 1))[0] < -limit


def test_an_interval_says_how_many_cases_it_is_worth() -> None:
    assert cases_worth(0.7, share_interval(28, 40), 200) == pytest.approx(40, rel=1e-3)
    assert cases_worth(1.0, share_interval(6, 6), 30) == pytest.approx(6, rel=1e-3)
    assert cases_worth(0.7, share_interval(56, 80), 80) == pytest.approx(80)
    assert cases_worth(0.5, (0.0, 1.0), 12) < 1  # nothing is known: all pairs are of one prompt
