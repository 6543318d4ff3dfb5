"""Confidence on numbers worked by hand, and on forecasts that are honest or not by construction."""

import math

import numpy as np
import pytest

from foundation.errors import UserError
from reward_model.evaluation.calibration import (
    brier,
    calibration_error,
    coverage,
    cross_fitted,
    error_by_certainty,
    fit_temperature,
    probability,
    reliability,
)


def judged(logits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Differences, chosen less rejected, of pairs that were decided with these true log-odds."""
    return np.where(rng.random(len(logits)) < probability(logits), logits, -logits)


def test_the_temperature_undoes_a_scale():
    rng = np.random.default_rng(0)
    honest = judged(rng.normal(size=20_000), rng)
    assert fit_temperature(honest) == pytest.approx(1.0, rel=0.05)
    assert fit_temperature(7 * honest) == pytest.approx(7 * fit_temperature(honest), rel=1e-4)


def test_the_temperature_by_hand():
    # 3 of 4 right at the same distance 2: sigmoid(2 / T) must be the smoothed share (3 * 5/6 + 1 * 1/6) / 4 = 2/3.
    found = fit_temperature(np.array([2.0, 2.0, 2.0, -2.0]))
    assert found == pytest.approx(2 / math.log(2), rel=1e-4)


def test_the_temperature_is_finite_where_all_are_right_or_wrong_or_equal():
    assert 0.1 < fit_temperature(np.full(50, 3.0)) < 3
    assert fit_temperature(np.full(50, -3.0)) > 1000
    assert fit_temperature(np.zeros(5)) == 1.0


def test_calibrated_forecasts_are_judged_on_other_prompts_than_they_were_fitted_on():
    rng = np.random.default_rng(1)
    differences = rng.normal(size=40)
    prompts = [str(i // 2) for i in range(40)]
    before = cross_fitted(differences, prompts)
    changed = differences.copy()
    changed[:2] *= -5  # both pairs of one prompt
    after = cross_fitted(changed, prompts)
    temperatures = changed[:2] / after[:2], differences[:2] / before[:2]
    assert temperatures[0] == pytest.approx(temperatures[1])
    assert not np.allclose(before[2:], after[2:])
    assert np.array_equal(np.sign(before), np.sign(differences))


def test_one_prompt_is_left_as_it_is():
    assert cross_fitted(np.array([1.0, 2.0]), ["same", "same"]).tolist() == [1.0, 2.0]


def test_calibration_helps_an_overconfident_model_and_leaves_an_honest_one():
    rng = np.random.default_rng(2)
    honest = judged(rng.normal(scale=1.5, size=4000), rng)
    prompts = [str(i) for i in range(4000)]
    assert calibration_error(8 * honest) > 0.15
    assert calibration_error(cross_fitted(8 * honest, prompts)) < 0.03
    assert calibration_error(cross_fitted(honest, prompts)) < 0.03
    assert brier(cross_fitted(8 * honest, prompts)) < brier(8 * honest) - 0.03


def test_calibration_error_by_hand():
    # Two pairs at p = 0.85, one of them right: the forecast is 0.85 and the share 0.5; likewise in the bin of 0.15.
    logit = math.log(0.85 / 0.15)
    assert calibration_error(np.array([logit, -logit])) == pytest.approx(0.35)
    assert calibration_error(np.array([logit] * 17 + [-logit] * 3)) == pytest.approx(0.0, abs=1e-12)
    assert calibration_error(np.zeros(6)) == pytest.approx(0.0)
    assert calibration_error(np.array([-1e6])) == pytest.approx(1.0)


def test_brier_by_hand():
    assert brier(np.zeros(3)) == 0.25
    assert brier(np.array([math.log(4), -math.log(4)])) == pytest.approx((0.2**2 + 0.8**2) / 2)


def test_bins_of_confidence_by_hand():
    # Confidences 0.55 (right and wrong) and 0.9 (right): the first bin of five reaches to 0.6, the last begins at 0.9.
    low, high = math.log(0.55 / 0.45), math.log(0.92 / 0.08)
    assert reliability(np.array([low, -low, high])) == [
        (pytest.approx(0.55), 0.5, 2),
        (pytest.approx(0.92), 1.0, 1),
    ]


def test_errors_are_sorted_by_certainty():
    right = np.array([1.0, 0.0, 1.0, 0.5, 0.0, 1.0])
    certainty = np.array([5.0, 1.0, 6.0, 2.0, 0.0, 4.0])
    assert error_by_certainty(right, certainty, parts=3) == [1.0, 0.25, 0.0]
    with pytest.raises(UserError, match="3 pairs cannot be sorted into 5"):
        error_by_certainty(np.ones(3), np.ones(3))


def drawn_and_judged(pairs: int, true_spread: float, said_spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Differences of a model whose direction is off by `true_spread`, and draws that claim it to be `said_spread`."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(pairs, 2)) * 2
    head = np.array([1.0, 0.0])
    truth = head + true_spread * np.array([-0.6, 0.8])
    wins = rng.random(pairs) < probability(x @ truth)
    x = np.where(wins[:, None], x, -x)
    heads = head + said_spread * rng.normal(size=(600, 2))
    return x @ head, heads @ x.T


def test_an_honest_posterior_covers_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    assert coverage(*drawn_and_judged(4000, 0.0, 0.0), rng) == pytest.approx(0.9, abs=0.05)
    assert coverage(*drawn_and_judged(4000, 0.0, 0.0), rng, level=0.5) == pytest.approx(0.5, abs=0.12)


def test_a_posterior_that_is_too_sure_covers_less_and_a_wide_one_more():
    rng = np.random.default_rng(0)
    sure, honest = (coverage(*drawn_and_judged(8000, 0.9, said), rng, group=200) for said in (0.0, 0.9))
    assert sure < 0.7
    assert honest > 0.9


def test_few_pairs_cover_nothing():
    assert coverage(np.ones(30), np.ones((5, 30)), np.random.default_rng(0)) is None
