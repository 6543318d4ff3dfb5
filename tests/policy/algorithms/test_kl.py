import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from policy.algorithms.kl import AdaptiveKL, best_of_n_kl, kl_estimate, kl_loss

LN2 = 0.6931471805599453


def test_kl_estimators_by_hand() -> None:
    logprobs, ref_logprobs = torch.tensor([[-1.0, -2.0, 0.0]]), torch.tensor([[-1.0 - LN2, -2.0 + LN2, 0.0]])
    torch.testing.assert_close(kl_estimate(logprobs, ref_logprobs, "k1"), torch.tensor([[LN2, -LN2, 0.0]]))
    torch.testing.assert_close(kl_estimate(logprobs, ref_logprobs, "k2"), torch.tensor([[0.240227, 0.240227, 0.0]]))
    torch.testing.assert_close(
        kl_estimate(logprobs, ref_logprobs, "k3"), torch.tensor([[0.5 - 1 + LN2, 2 - 1 - LN2, 0.0]])
    )


def test_k1_and_k3_are_unbiased_and_k2_is_not() -> None:
    policy = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    reference = torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64)
    exact = (policy * (policy / reference).log()).sum()
    expected = {name: (policy * kl_estimate(policy.log(), reference.log(), name)).sum() for name in ("k1", "k2", "k3")}
    torch.testing.assert_close(expected["k1"], exact, atol=1e-12, rtol=0)
    torch.testing.assert_close(expected["k3"], exact, atol=1e-12, rtol=0)
    assert abs(expected["k2"] - exact) > 0.004
    assert (kl_estimate(policy.log(), reference.log(), "k3") >= 0).all()
    assert (kl_estimate(policy.log(), reference.log(), "k1") < 0).any()


def test_the_kl_loss_is_the_estimate_on_response_tokens_with_its_slope() -> None:
    logprobs, mask = torch.tensor([[-1.0, -2.0]], requires_grad=True), torch.tensor([[1.0, 0.0]])
    for estimator, value, slope in (("k2", LN2**2 / 2, LN2), ("k3", LN2 - 0.5, 0.5)):
        loss = kl_loss(logprobs, torch.tensor([[-1.0 - LN2, 5.0]]), mask, estimator)
        torch.testing.assert_close(loss, torch.tensor([[value, 0.0]]))
        torch.testing.assert_close(torch.autograd.grad(loss.sum(), logprobs)[0], torch.tensor([[slope, 0.0]]))


def test_the_adaptive_coefficient_by_hand() -> None:
    controller = AdaptiveKL(coefficient=0.1, target=4.0, horizon=100.0)
    assert controller.after(4.0, 50) == controller
    assert controller.after(4.4, 50).coefficient == pytest.approx(0.1 * math.exp(0.1 * 0.5))
    assert controller.after(40.0, 50).coefficient == pytest.approx(0.1 * math.exp(0.2 * 0.5))  # clipped
    assert controller.after(0.0, 50).coefficient == pytest.approx(0.1 * math.exp(-0.2 * 0.5))
    assert controller.after(-40.0, 100).after(4.0, 7).coefficient == pytest.approx(0.1 * math.exp(-0.2))
    assert controller.after(math.inf, 100).coefficient == pytest.approx(0.1 * math.exp(0.2))
    assert controller.after(math.nan, 100) == controller


POSITIVE = st.floats(1e-12, 1e12)


@given(
    coefficient=POSITIVE,
    target=POSITIVE,
    horizon=POSITIVE,
    kls=st.lists(st.floats(), min_size=1, max_size=20),
    n=st.integers(1, 65_536),
)
def test_the_adaptive_coefficient_stays_positive_and_finite(
    coefficient: float, target: float, horizon: float, kls: list[float], n: int
) -> None:
    controller = AdaptiveKL(coefficient, target, horizon)
    for kl in kls:
        after = controller.after(kl, n)
        assert math.isfinite(after.coefficient)
        assert after.coefficient > 0
        if kl > target:
            assert after.coefficient >= controller.coefficient
        if kl < target:
            assert after.coefficient <= controller.coefficient
        assert math.isfinite(torch.tensor(after.coefficient) * 1e6)
        controller = after


@given(kl=st.floats(-5, 30), steps=st.integers(1, 64), n=st.integers(1, 1024))
def test_the_horizon_is_in_responses_whatever_the_size_of_a_step(kl: float, steps: int, n: int) -> None:
    controller = at_once = AdaptiveKL(coefficient=0.05, target=6.0, horizon=320.0)
    for _ in range(steps):
        controller = controller.after(kl, n)
    assert controller.coefficient == pytest.approx(at_once.after(kl, steps * n).coefficient, rel=1e-9)


def test_the_adaptive_coefficient_brings_the_kl_to_its_target() -> None:
    # A policy whose KL is 1/beta: at a coefficient of 0.25 it is 4.
    controller = AdaptiveKL(coefficient=5.0, target=4.0, horizon=100.0)
    for _ in range(400):
        controller = controller.after(1 / controller.coefficient, 20)
    assert 1 / controller.coefficient == pytest.approx(4.0, rel=0.01)


def test_the_kl_of_the_best_of_n_by_hand() -> None:
    assert best_of_n_kl(1) == 0.0
    assert best_of_n_kl(2) == pytest.approx(LN2 - 0.5)
    assert best_of_n_kl(16) == pytest.approx(4 * LN2 - 0.9375)
