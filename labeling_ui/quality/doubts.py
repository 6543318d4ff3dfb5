"""What there is cause to ask of an annotator, with one chance of a false alarm for a whole campaign.

Each question is a test that holds on few answers too; all of them, of all annotators, are corrected together (Holm
1979). Where every annotator is honest and as good as the others, a campaign shows any notice with a chance of 5% at
most.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from scipy.special import bdtr, bdtrc

from labeling_ui.quality.intervals import Trend, holm

Doubt = Literal["side", "fast", "worse", "guessing"]
# How the chance of a false alarm is shared out: most to what is hardest to see.
_WEIGHTS: Mapping[Doubt, float] = {"side": 1, "fast": 1, "worse": 1, "guessing": 6}
_OFTEN = 0.1  # share of answers below the shortest time that anybody may have


def doubts_of(
    left: Sequence[bool], hasty: Sequence[bool], drift: Trend | None, guess: float | None
) -> dict[Doubt, float]:
    """One annotator's p values: left and right are alike; one answer in ten is too fast at most; the drift is chance;
    and `guess`, see `guessing.py`. A question without data is left out.
    """
    found: dict[Doubt, float] = {}
    if left:
        found["side"] = min(1.0, 2 * float(bdtr(min(sum(left), len(left) - sum(left)), len(left), 0.5)))
    if hasty:
        found["fast"] = float(bdtrc(sum(hasty) - 1, len(hasty), _OFTEN)) if any(hasty) else 1.0
    if drift is not None:
        found["worse"] = drift.p_value
    if guess is not None:
        found["guessing"] = guess
    return found


def corrected(doubts: Mapping[str, Mapping[Doubt, float]]) -> dict[str, dict[Doubt, float]]:
    """The p values of all annotators, by name, corrected for all that was asked."""
    asked = {(name, doubt): p_value for name, own in doubts.items() for doubt, p_value in own.items()}
    found = holm(asked, {(name, doubt): _WEIGHTS[doubt] for name, doubt in asked})
    return {name: {doubt: found[name, doubt] for doubt in own} for name, own in doubts.items()}
