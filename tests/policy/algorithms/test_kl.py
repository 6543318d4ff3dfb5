import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.bounds import adaptive, fixed, tune
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
    controller = AdaptiveKL(target=2.0, spread=0.5)
    assert controller.coefficient == pytest.approx(0.25 * math.exp(-1))  # 0.5 / sqrt(4), and nothing is spent yet
    first = controller.after(1.0, 32)  # an error of -0.5; -0.3 of it is added up
    assert first.coefficient == pytest.approx(0.25 * math.exp(-0.5 - 0.06))
    share = 1 - math.exp(-1 / 3)  # of 32 responses in what is smoothed over 96
    second = first.after(3.0, 32)
    error = (1 + share * 2.0) / 2 - 1
    assert second.coefficient == pytest.approx(
        0.25 * math.exp(error + 12 * (error + 0.5) + 0.2 * (max(error, -0.3) - 0.3))
    )
    assert second.after(math.nan, 32) == second


POSITIVE = st.floats(1e-12, 1e12)


@given(target=POSITIVE, spread=st.floats(0, 1e12), kls=st.lists(st.floats(), max_size=20), n=st.integers(1, 65_536))
def test_the_adaptive_coefficient_stays_positive_and_finite(
    target: float, spread: float, kls: list[float], n: int
) -> None:
    controller = AdaptiveKL(target, spread)
    for kl in kls:
        controller = controller.after(kl, n)
        assert 0 < controller.coefficient < math.inf
        assert math.isfinite(torch.tensor(controller.coefficient) * 1e6)


@given(spread=st.floats(1e-3, 1e3), kls=st.lists(st.floats(-1, 30), min_size=1, max_size=20))
def test_the_units_of_the_reward_do_not_matter(spread: float, kls: list[float]) -> None:
    one, other = AdaptiveKL(3.0, 1.0), AdaptiveKL(3.0, spread)
    for kl in kls:
        one, other = one.after(kl, 32), other.after(kl, 32)
    assert other.coefficient == pytest.approx(spread * one.coefficient, rel=1e-9)


@pytest.mark.parametrize(
    ("target", "spread", "rate"),
    [(3, 0.3, 0.06), (3, 1.0, 0.03), (3, 1.0, 0.06), (3, 1.0, 0.12), (3, 30.0, 0.06), (1.5, 1.0, 0.06), (6, 1.0, 0.06)],
)
def test_the_kl_is_held_from_the_first_half_of_forty_steps_on(target: float, spread: float, rate: float) -> None:
    # Without control, the KL of these policies ends at 3 to 20 nats.
    kls = np.mean([tune(adaptive(target, spread), spread, rate, seed)[20:] for seed in range(4)], axis=0)
    assert kls.mean() == pytest.approx(target, rel=0.2)
    assert kls.max() < 1.6 * target


def test_a_fixed_coefficient_would_not_hold_it() -> None:
    assert tune(fixed(3.0, 1.0), 1.0, 0.06, 0)[-1] > 8


def test_the_kl_of_the_best_of_n_by_hand() -> None:
    assert best_of_n_kl(1) == 0.0
    assert best_of_n_kl(2) == pytest.approx(LN2 - 0.5)
    assert best_of_n_kl(16) == pytest.approx(4 * LN2 - 0.9375)
