"""The KL from the reference: its estimators, its term in the loss, and the coefficient that holds it at a target.

Also the KL of best-of-n. How the KL enters the reward is in `token_rewards.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

KLEstimator = Literal["k1", "k2", "k3"]
KLPlace = Literal["reward", "loss"]


def kl_estimate(logprobs: torch.Tensor, ref_logprobs: torch.Tensor, estimator: KLEstimator) -> torch.Tensor:
    """KL(policy || reference) at each token, estimated from the sampled token: (n, T), nats.

    With d = logprobs - ref_logprobs: k1 = d (unbiased, signed), k2 = d^2/2 (biased, low variance),
    k3 = exp(-d) - 1 + d (unbiased, never negative). Schulman 2020, "Approximating KL Divergence". In the
    reward, only k1 gives the expected gradient of the KL itself.
    """
    difference = logprobs - ref_logprobs
    if estimator == "k1":
        return difference
    if estimator == "k2":
        return difference.square() / 2
    return (-difference).expm1() + difference


def kl_loss(
    logprobs: torch.Tensor, ref_logprobs: torch.Tensor, mask: torch.Tensor, estimator: KLEstimator
) -> torch.Tensor:
    """The KL at each token as a term of the loss, to be aggregated and weighted by beta: (n, T), nats, differentiable.

    The gradient is that of the estimate, not of its expectation, on tokens that the policy itself drew. In a given
    context, k2 has the expected gradient of KL(policy || reference); k3 (GRPO's, Shao et al. 2024, eq. 4) that of
    KL(reference || policy); k1 none, since the expectation of grad log pi is zero, so it is refused. None of them
    accounts for the effect of a token on the KL of later ones; k1 in the reward does.
    """
    if estimator == "k1":
        raise ValueError("k1 in the loss has zero expected gradient; use k2, or k1 in the reward")
    return kl_estimate(logprobs, ref_logprobs, estimator) * mask


_LEAST, _MOST = 1e-30, 1e30  # of an adaptive coefficient: far beyond any use, and their products with a KL fit fp32
_INTEGRAL, _DERIVATIVE = 0.2, 12.0  # gains per step; that of the error itself is 1
_ERROR, _FALL = 2.0, -0.3  # the largest relative error that counts, and the smallest that is added up
_SMOOTHED = 96  # responses over which a measured KL is smoothed


@dataclass(frozen=True)
class AdaptiveKL:
    """A KL coefficient that holds the KL of a response at `target` (nats), from the first steps on.

    It begins where theory has the KL at the target: the best policy under a coefficient b has density exp(score / b)
    over the base's, and if the scores of a prompt's responses are Gaussian with standard deviation `spread`, its KL is
    spread^2 / (2 b^2). So the units of the reward do not matter. From there a PID rule on log b corrects it: with the
    relative error e of the smoothed KL, b = spread / sqrt(2 target) exp(e + 12 (change of e) + 0.2 (sum of e)). The
    change acts before the target is passed, since the policy goes on moving; the sum counts no e below -0.3, since
    the first steps are below the target whatever the coefficient is. After Stooke et al. 2020, "Responsive safety in
    reinforcement learning by PID Lagrangian methods", section 4. Ziegler et al. 2019 change it by at most 2% a step.
    """

    target: float
    spread: float
    kl: float | None = None  # smoothed; None before the first step
    change: float = 0.0
    total: float = 0.0

    @property
    def error(self) -> float:
        """How far the smoothed KL is from the target, as a share of it: -1 to 2."""
        return -1.0 if self.kl is None else min(max(self.kl / self.target - 1, -1.0), _ERROR)

    @property
    def coefficient(self) -> float:
        """Beta of the next step."""
        optimum = math.log(max(self.spread, _LEAST)) - math.log(2 * self.target) / 2
        found = optimum + self.error + _DERIVATIVE * self.change + self.total
        return math.exp(min(max(found, math.log(_LEAST)), math.log(_MOST)))

    def after(self, kl: float, n: int) -> AdaptiveKL:
        """The controller after a step of `n` responses with this mean KL; a KL that is not a number changes nothing."""
        if math.isnan(kl):
            return self
        kl = min(max(kl, -_MOST), _MOST)
        share = 1 - math.exp(-n / _SMOOTHED)
        now = replace(self, kl=kl if self.kl is None else self.kl + share * (kl - self.kl))
        change = 0.0 if self.kl is None else now.error - self.error
        return replace(now, change=change, total=self.total + _INTEGRAL * max(now.error, _FALL))


def best_of_n_kl(n: int) -> float:
    """KL of best-of-n from the policy that it samples: log n - (n - 1)/n nats, exact without ties.

    Nakano et al. 2021, appendix I; Gao et al. 2022, section 2.
    """
    return math.log(n) - (n - 1) / n
