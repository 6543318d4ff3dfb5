"""What length alone does to a preference, so that the score need not learn it (`reward.length_debias`)."""

import torch
from torch import Tensor

from backbone.tokens import Renderer
from reward_model.config import RewardConfig
from reward_model.labels.selection import Selection


def debiased_length_effect(config: RewardConfig, labels: Selection, renderer: Renderer) -> float:
    """What a unit of log length adds to the log-odds of a preference, or the share of it that the settings ask for."""
    if not config.length_debias:
        return 0.0
    longer = torch.tensor([[float(len(renderer.response_ids(t))) for t in p.responses] for p in labels.pairs]).log()
    shares = torch.tensor([pair.p_chosen for pair in labels.pairs])
    weights = torch.tensor([pair.weight for pair in labels.pairs])
    return config.length_debias * length_effect(longer[:, 0] - longer[:, 1], shares, weights / weights.mean())


def length_effect(differences: Tensor, p_chosen: Tensor, weights: Tensor, steps: int = 25) -> float:
    """How strongly length alone predicts preference: b in P(chosen) = sigmoid(b x), by Newton's method, per unit of x.

    `differences` x (n,): a measure of length, chosen less rejected; `p_chosen` and `weights` (n,). A weak prior,
    N(0, 10^2), keeps b finite where length decides every pair.
    """
    x, p, w = differences.double(), p_chosen.double(), weights.double()
    b = 0.0
    for _ in range(steps):
        q = torch.sigmoid(b * x)
        slope = float((w * (p - q) * x).sum()) - b / 100
        curvature = float((w * q * (1 - q) * x.square()).sum()) + 1 / 100
        b += max(-1.0, min(1.0, slope / curvature))
    return b
