"""How likely each kind of label is, given scores: the negative log-likelihood of every label, as pure functions.

A label depends on differences of the responses' scores; only ratings compare a score with an annotator's own
thresholds. Parameters that are learned beside the scores, weights, and sums over a batch are in `label_model.py`.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_FAR = 1e4  # a threshold that no score reaches, as a number so that gradients are numbers

_NOWHERE = -1e30


def bradley_terry(differences: Tensor, p_chosen: Tensor | float = 1.0, margins: Tensor | float = 0.0) -> Tensor:
    """-[p log sigmoid(d - m) + (1 - p) log sigmoid(m - d)], in nats: (n,).

    `differences` d (n,) are scores, chosen less rejected; `p_chosen` p is the share that preferred the chosen one;
    `margins` m say by how much the scores should differ at least. Bradley and Terry 1952; the margin of Touvron et al.
    2023, eq. 2.
    """
    shifted = differences - margins
    wanted = torch.as_tensor(p_chosen).to(shifted).expand_as(shifted)
    return F.binary_cross_entropy_with_logits(shifted, wanted, reduction="none")


def davidson(
    differences: Tensor, p_chosen: Tensor, p_tie: Tensor, log_tie: Tensor, margins: Tensor | float = 0.0
) -> Tensor:
    """As `bradley_terry`, with a third outcome: of those asked, a share `p_tie` found the two equal, in nats: (n,).

    `p_chosen` counts a tie as one half. The three outcomes have odds e^(d/2) : nu : e^(-d/2), with nu = e^`log_tie`;
    among those that are not ties, this is Bradley-Terry. Davidson 1970, "On extending the Bradley-Terry model to
    accommodate ties in paired comparison experiments".
    """
    half = (differences - margins) / 2
    outcomes = torch.stack([half, log_tie.expand_as(half), -half], dim=-1).log_softmax(dim=-1)
    won, lost = p_chosen - p_tie / 2, 1 - p_chosen - p_tie / 2
    return -(torch.stack([won, p_tie, lost], dim=-1) * outcomes).sum(-1)


def plackett_luce(scores: Tensor, ranks: Tensor) -> Tensor:
    """The best is chosen among all, the next among the rest, and so on, in nats: (n,).

    `scores` (n, k); `ranks` (n, k), whole numbers, 1 the best, equal ones a tie, 0 where a row has no such response.
    Each of several tied responses is chosen among them and those below (Breslow 1974); the last place leaves no choice.
    Luce 1959; Plackett 1975. With two responses it is Bradley-Terry.
    """
    present = ranks > 0
    available = present[:, None, :] & (ranks[:, None, :] >= ranks[:, :, None])  # [i, j]: j was there when i was chosen
    among = scores[:, None, :].masked_fill(~available, _NOWHERE).logsumexp(-1)
    chosen = present & (ranks < ranks.amax(1, keepdim=True))
    return torch.where(chosen, among - scores, 0.0).sum(1)


def ordinal(scores: Tensor, thresholds: Tensor, slopes: Tensor, ratings: Tensor) -> Tensor:
    """-log P(rating), where P(rating > c) = sigmoid(a (s - b_c)), in nats: (n,).

    `scores` s (n,); `thresholds` b (n, levels - 1), rising; `slopes` a (n,), above 0: how much scores matter to the
    annotator; `ratings` (n,), whole numbers from 1 to `levels`. The graded response model: Samejima 1969, with
    McCullagh 1980 for a = 1.
    """
    edge = thresholds.new_full((len(thresholds), 1), _FAR)
    edges = torch.cat([-edge, thresholds, edge], dim=1)
    over = slopes * (scores - edges.gather(1, ratings[:, None] - 1).squeeze(1))
    under = slopes * (scores - edges.gather(1, ratings[:, None]).squeeze(1))
    # sigmoid(x) - sigmoid(y) = sigmoid(x) sigmoid(-y) (1 - e^(y - x)), which loses no digits in the tails
    return -(F.logsigmoid(over) + F.logsigmoid(-under) + torch.log(-torch.expm1(under - over)))
