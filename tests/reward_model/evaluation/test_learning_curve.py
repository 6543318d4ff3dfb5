"""What more labels buy: found again where the truth is known, and no more promised than is known."""

import numpy as np
import pytest
from scipy.special import betaincinv, ndtr

from foundation.intervals import share_interval
from reward_model.evaluation.accuracy import credit
from reward_model.evaluation.gate import linear_head
from reward_model.evaluation.learning_curve import LearningCurve, half_labels


def labels(n: int, noise: float, seed: int, d: int = 40) -> np.ndarray:
    """Differences of responses that people order by a direction in d dimensions, with this much noise."""
    rng = np.random.default_rng(seed)
    towards = rng.normal(size=d) / np.sqrt(d)
    x = rng.normal(size=(n, d))
    return np.asarray(x * np.where(rng.random(n) < ndtr(x @ towards / noise), 1, -1)[:, None])


def held_out(accuracy: float, n: int) -> dict[str, float]:
    """What so many independent pairs say of a reward model."""
    low, high = share_interval(accuracy * n, n)
    return {"accuracy": accuracy, "accuracy_low": low, "accuracy_high": high, "n": n}


def test_the_accuracy_of_twice_and_eight_times_the_labels_is_within_its_interval() -> None:
    outside, misses = 0, []
    for seed in range(4):
        for noise in (0.5, 1.5):
            x = labels(4000, noise, seed)
            now = {n: float(credit(x[2000:] @ linear_head(x[:n])).mean()) for n in (200, 400, 1600)}
            found = half_labels(x[:200], [str(number // 2) for number in range(200)])
            curve = LearningCurve.of_model(found["half"], held_out(now[200], 100), 200)
            for n in (400, 1600):
                estimate, low, high = curve.accuracy(n)
                outside += not low <= now[n] <= high
                misses.append(estimate - now[n])
    assert outside <= 1  # of sixteen
    assert abs(np.mean(misses)) < 0.05
    assert max(map(abs, misses)) < 0.1


def test_labels_for_an_accuracy_give_that_accuracy_by_hand() -> None:
    curve = LearningCurve(np.full(101, 300.0), np.full(101, 1.0))
    assert curve.accuracy(100)[0] == pytest.approx(ndtr(0.5))  # 1 / sqrt(1 + 300 / 100)
    assert curve.labels(float(ndtr(0.5))) == pytest.approx((100, 100, 100))
    assert curve.ceiling()[0] == pytest.approx(0.8413, abs=1e-4)
    assert curve.labels(0.85)[0] == float("inf")


def test_a_model_stands_where_its_held_out_pairs_say() -> None:
    curve = LearningCurve.of_model([500.0] * 401, held_out(0.7, 80), 250)
    estimate, low, high = curve.accuracy(250)
    assert estimate == pytest.approx(0.7)
    assert 0.57 < low < 0.62
    assert 0.77 < high < 0.82


@pytest.mark.parametrize("right", [5, 8, 12])
def test_the_interval_of_today_is_that_of_the_held_out_pairs(right: int) -> None:
    _, low, high = LearningCurve.of_model([500.0] * 401, held_out(right / 16, 16), 49).accuracy(49)
    low_share, high_share = betaincinv(right + 1, 17 - right, [0.025, 0.975])  # no model is worse than a coin
    assert (low, high) == pytest.approx((max(0.5, low_share), high_share), abs=5e-3)


def test_pairs_that_share_prompts_say_no_more_of_the_future_than_of_today() -> None:
    known = held_out(0.7, 20) | {"n": 120}  # six pairs of each of twenty prompts, which agree
    _, low, high = LearningCurve.of_model([500.0] * 401, known, 250).accuracy(250)
    assert (low, high) == pytest.approx((known["accuracy_low"], known["accuracy_high"]), abs=0.05)


def test_coins_promise_nothing_and_too_few_pairs_say_nothing() -> None:
    rng = np.random.default_rng(0)
    found = half_labels(rng.normal(size=(120, 30)), [str(number) for number in range(120)])
    assert LearningCurve.of_model(found["half"], held_out(0.5, 30), 90).labels(0.6)[0] == float("inf")
    assert half_labels(rng.normal(size=(47, 3)), [str(number) for number in range(47)]) == {}
    assert half_labels(rng.normal(size=(90, 3)), ["one", "two", "three"] * 30) == {}
