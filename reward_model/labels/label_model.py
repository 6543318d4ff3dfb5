"""The loss of a batch of labels, and the parameters of annotators that are learned beside the adapter.

These are no part of the reward: how common ties are, each annotator's thresholds and slope in rating, and what length
alone does to a preference. The likelihood of each kind of label is in `likelihood.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reward_model.labels import likelihood
from reward_model.labels.encoding import LabelEncoding, Rater
from reward_model.labels.records import OVERALL, Label, Pair, Rating

# Adam moves every parameter by about the learning rate per step, which suits an adapter's weights; these few have to go
# as far as 1 within a run. Stored divided by this, they move that much faster.
_FASTER = 50.0
_SLOPE_SD, _THRESHOLD_SD = (
    0.5,
    1.0,
)  # of an annotator around the others: without, slopes and scores share a scale freely
_POOLED = 4.0  # ratings by which an annotator's first thresholds are drawn to everybody's


class LabelModel(nn.Module):
    """The likelihood of labels, given scores (responses, aspects).

    `aspects` holds the score heads of all aspects but the overall one, whose head is the model's own. To each score,
    `length_effect` is added for each unit of log length: what length explains, the score itself need not (a product of
    experts, Clark et al. 2019, "Don't take the easy way out").
    """

    def __init__(
        self, encoding: LabelEncoding, labels: Sequence[Label], hidden: int, length_effect: float = 0.0
    ) -> None:
        super().__init__()
        self.encoding, self.length_effect = encoding, length_effect
        pairs = [label for label in labels if isinstance(label, Pair)]
        ratings = [label for label in labels if isinstance(label, Rating)]
        self.ties = any(pair.p_tie for pair in pairs)
        self.ratings = len(ratings)
        self.aspects = nn.Linear(hidden, len(encoding.aspects) - 1, bias=False) if len(encoding.aspects) > 1 else None
        if self.aspects is not None:
            nn.init.zeros_(self.aspects.weight)
        if self.ties:
            share = sum(pair.weight * pair.p_tie for pair in pairs) / sum(pair.weight for pair in pairs)
            share = min(max(share, 1e-3), 1 - 1e-3)
            self.register_buffer("log_tie", torch.tensor(2 * share / (1 - share)).log())  # at equal scores
            self.tie = nn.Parameter(torch.zeros(()))
        if ratings:
            self.register_buffer("start", _first_thresholds(encoding.raters, ratings))
            self.first = nn.Parameter(torch.zeros(len(encoding.raters), 1))
            self.gaps = nn.Parameter(torch.zeros(len(encoding.raters), self.get_buffer("start").shape[1] - 1))
            self.slope = nn.Parameter(torch.zeros(len(encoding.raters)))

    def scores(self, states: Tensor, head: nn.Linear) -> Tensor:
        """Scores (responses, aspects) of final states (responses, hidden), the overall one first, in float32."""
        weights = [head.weight] if self.aspects is None else [head.weight, self.aspects.weight]
        with torch.autocast(states.device.type, enabled=False):
            return nn.functional.linear(states.float(), torch.cat([weight.float() for weight in weights]))

    def forward(self, scores: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Weighted negative log-likelihood of the batch's labels, summed, over its number of sequences: one number."""
        sequences = batch["group"].max() + 1
        explained = scores + self.length_effect * batch["log_length"][:, None]
        total = scores.sum() * 0
        if "pairs" in batch:
            first, second = (explained[one, batch["pair_heads"]] for one in batch["pairs"].unbind(1))
            p_chosen, p_tie, margins = batch["pair_values"].unbind(1)
            if self.ties:
                log_tie = self.get_buffer("log_tie") + _FASTER * self.tie
                each = likelihood.davidson(first - second, p_chosen, p_tie, log_tie, margins)
            else:
                each = likelihood.bradley_terry(first - second, p_chosen, margins)
            total = total + (batch["pair_weights"] * each).sum()
        if "rankings" in batch:
            each = likelihood.plackett_luce(
                explained[batch["rankings"], batch["ranking_heads"][:, None]], batch["ranks"]
            )
            total = total + (batch["ranking_weights"] * each).sum()
        if "rated" in batch:
            thresholds, slopes = self.thresholds()
            each = likelihood.ordinal(
                explained[batch["rated"], batch["rating_heads"]],
                thresholds[batch["raters"]], slopes[batch["raters"]], batch["ratings"],
            )  # fmt: skip
            share = batch["rating_weights"].sum() / self.ratings  # of the prior, which counts once in all ratings
            total = total + (batch["rating_weights"] * each).sum() + share * self._improbability()
        return total / sequences

    def thresholds(self) -> tuple[Tensor, Tensor]:
        """By rater, thresholds (raters, levels - 1) in score units, rising, and slopes (raters,), above 0."""
        start = self.get_buffer("start")
        gaps = start.diff(dim=1) * torch.exp(_FASTER * self.gaps)
        first = start[:, :1] + _FASTER * self.first
        return torch.cat([first, first + gaps.cumsum(1)], dim=1), torch.exp(_FASTER * self.slope)

    def _improbability(self) -> Tensor:
        """-log of the Gaussian prior of raters around one another, up to a constant."""
        moved = (_FASTER * torch.cat([self.first, self.gaps], dim=1)) / _THRESHOLD_SD
        return (moved.square().sum() + (_FASTER * self.slope / _SLOPE_SD).square().sum()) / 2

    def heads(self, overall: Tensor) -> dict[str, Tensor]:
        """Score heads by aspect, each (hidden,). The overall one is the others' mean if no label was about it."""
        if self.aspects is None:
            return {OVERALL: overall}
        others = self.aspects.weight.detach().float().cpu()
        named = dict(zip(self.encoding.aspects[1:], others, strict=True))
        return {OVERALL: overall if overall.any() else others.mean(0), **named}


def _first_thresholds(raters: Sequence[Rater], ratings: Sequence[Rating]) -> Tensor:
    """Where each rater's thresholds would be if all scores were zero: (raters, most levels - 1).

    A rater of few ratings is taken to use the scale as all raters of it do. A shorter scale's further thresholds are
    out of reach.
    """
    most = max(scale for _, scale, _ in raters)
    counts = torch.zeros(len(raters), most, dtype=torch.float64)
    place = {rater: number for number, rater in enumerate(raters)}
    for rating in ratings:
        counts[place[rating.aspect, rating.scale, rating.annotator], rating.score - 1] += 1
    start = torch.empty(len(raters), most - 1, dtype=torch.float64)
    for number, (aspect, scale, _) in enumerate(raters):
        alike = [row for row, (other, levels, _) in enumerate(raters) if (other, levels) == (aspect, scale)]
        pooled = counts[alike, :scale].sum(0) + 0.5
        smoothed = counts[number, :scale] + _POOLED * pooled / pooled.sum()
        below = (smoothed.cumsum(0) / smoothed.sum())[:-1]
        start[number, : scale - 1] = torch.logit(below)
        start[number, scale - 1 :] = 100 + torch.arange(most - scale)
    return start.float()
