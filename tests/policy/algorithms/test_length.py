import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.algorithms.length import LengthBand


def test_a_length_inside_the_band_costs_and_earns_nothing() -> None:
    band = LengthBand(base=40.0, unit=0.02)
    for length in (40.0, 42.0, 39.0, 44.0):
        band = band.after(length, 32)
        assert band.price == 0.0


def test_the_price_by_hand() -> None:
    band = LengthBand(base=40.0, unit=0.02).after(52.0, 10**6)  # so many that nothing is left of what was
    above = math.log(1.3 / 1.25)
    assert band.price == pytest.approx(0.02 * 2), "6 above + 20 log 1.3 + 0.2 above is more than two units"
    still = band.after(52.0, 10**6)
    assert still.price == pytest.approx(0.02 * (6 * above + 0.4 * above))
    short = LengthBand(base=40.0, unit=0.02).after(31.0, 10**6).after(31.0, 10**6)
    assert short.price == pytest.approx(-0.02 * 6.4 * math.log(0.8 * 40 / 31))
    nearing = LengthBand(base=40.0, unit=0.02).after(46.0, 10**6).after(47.0, 10**6)
    assert nearing.price == pytest.approx(0.02 * (6 * math.log(47 / 50) + 20 * math.log(47 / 46)))


def test_a_price_falls_back_to_nothing_when_lengths_are_back() -> None:
    band = LengthBand(base=40.0, unit=0.02).after(80.0, 10**6)
    for _ in range(10):
        band = band.after(40.0, 10**6)
    assert band.price == 0.0


@given(lengths=st.lists(st.floats(1, 1e6), max_size=30), n=st.integers(1, 4096))
def test_the_price_is_always_finite(lengths: list[float], n: int) -> None:
    band = LengthBand(base=40.0, unit=0.02)
    for length in lengths:
        band = band.after(length, n)
        assert math.isfinite(band.price)


@pytest.mark.parametrize("slope", [-1.0, 1.0])
@pytest.mark.parametrize("speed", [0.02, 0.05])
def test_the_mean_length_stays_in_the_band_whatever_the_reward_pays(slope: float, speed: float) -> None:
    # The log of the mean length moves with what a token earns, with the inertia of Adam's momentum.
    band, log_ratio, momentum, draw, seen = LengthBand(40.0, 1.0), 0.0, 0.0, np.random.default_rng(0), []
    for _ in range(80):
        momentum = 0.9 * momentum + 0.1 * float(np.clip(slope - band.price, -1, 1))
        log_ratio += speed * momentum
        seen.append(math.exp(log_ratio))
        band = band.after(40 * seen[-1] * draw.normal(1, 0.1), 32)
    assert min(seen) > 0.6
    assert max(seen) < (1.6 if speed < 0.05 else 1.75)
    assert np.mean(seen[-30:]) == pytest.approx(0.8 if slope < 0 else 1.25, abs=0.15)


def test_lengths_that_differ_by_their_prompts_alone_are_hardly_priced() -> None:
    # The mean over a step's eight prompts varies by a sixth although the policy stands still. A price of one `unit`
    # makes length weigh as much as the score does.
    draw, prices = np.random.default_rng(1), []
    for _ in range(20):
        band = LengthBand(40.0, 1.0)
        for _ in range(40):
            band = band.after(40 * draw.normal(1, 0.15), 32)
            prices.append(abs(band.price))
    assert np.mean(prices) < 0.1
