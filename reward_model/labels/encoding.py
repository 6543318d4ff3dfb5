"""Labels as numbers: which score head an aspect has, which number a rater has, what a label says of responses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reward_model.labels.records import OVERALL, Label, Pair, Ranking

Rater = tuple[str, int, str]  # aspect, scale, annotator
PAIR, RANKING, RATING = "pair", "ranking", "rating"


@dataclass(frozen=True)
class LabelEncoding:
    """The order of aspects among the score heads, the overall one first, and of raters among their parameters."""

    aspects: tuple[str, ...]
    raters: tuple[Rater, ...]

    @classmethod
    def of(cls, labels: Sequence[Label]) -> "LabelEncoding":
        """The aspects and raters that the labels name."""
        aspects = sorted({label.aspect for label in labels} - {OVERALL})
        ratings = [label for label in labels if not isinstance(label, Pair | Ranking)]
        return cls((OVERALL, *aspects), tuple(sorted({(r.aspect, r.scale, r.annotator) for r in ratings})))

    def encoded(self, label: Label, places: Sequence[int]) -> dict[str, Any]:
        """The label of the responses at these places of its sequence, as numbers."""
        kind, values = RATING, [0.0]
        if isinstance(label, Pair):
            kind, values = PAIR, [label.p_chosen, label.p_tie, label.margin]
        elif isinstance(label, Ranking):
            kind, values = RANKING, [float(rank) for rank in label.ranks]
        else:
            rater = self.raters.index((label.aspect, label.scale, label.annotator))
            values = [float(label.score), float(rater)]
        head = self.aspects.index(label.aspect)
        return {"kind": kind, "of": list(places), "head": head, "weight": label.weight, "values": values}
