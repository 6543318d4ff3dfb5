"""The KL from the reference: its estimators, its term in the loss, its adaptive coefficient, and that of best-of-n.

How the KL enters the reward is in `token_rewards.py`.
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


@dataclass(frozen=True)
class AdaptiveKL:
    """A KL coefficient that rises while the KL is above `target` (nats per response) and falls while it is below.

    Ziegler et al. 2019, section 2.2, has a factor of 1 + e n/horizon after n responses, where e is the relative error,
    clipped to +-0.2. That factor is 0 or less for n >= 5 horizon. Here it is exp(e n/horizon), which it approximates
    for small n: always positive, and the same for n responses whether they are of one step or of several.
    """

    coefficient: float
    target: float
    horizon: float

    def after(self, kl: float, n: int) -> AdaptiveKL:
        """The controller after `n` responses with this mean KL; a KL that is not a number changes nothing."""
        error = kl / self.target - 1
        if math.isnan(error):
            return self
        exponent = min(max(error, -0.2), 0.2) * n / self.horizon
        factor = math.exp(min(max(exponent, -700.0), 700.0))  # beyond, exp is not finite
        return replace(self, coefficient=min(max(self.coefficient * factor, _LEAST), _MOST))


def best_of_n_kl(n: int) -> float:
    """KL of best-of-n from the policy that it samples: log n - (n - 1)/n nats, exact without ties.

    Nakano et al. 2021, appendix I; Gao et al. 2022, section 2.
    """
    return math.log(n) - (n - 1) / n
