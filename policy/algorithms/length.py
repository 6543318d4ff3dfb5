"""The length of responses, kept in a band around the base's by a price per token that adapts.

Most of what a reward model sees in a length is an accident of its labels, and a policy finds it first. How the price
enters the reward is in `token_rewards.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

_LOW, _HIGH = 0.8, 1.25  # the price starts here, so that the mean stays within 0.6 and 1.6
_PROPORTIONAL, _INTEGRAL, _DERIVATIVE = 6.0, 0.2, 20.0  # gains per step
_MOST = 2.0  # units that a token can cost: more is not needed to hold the fastest, and would drown what is scored
_SMOOTHED = 96  # responses over which a length is smoothed: the prompts of a step alone move its mean by a sixth


@dataclass(frozen=True)
class LengthBand:
    """What a token costs, so that the mean length stays within a band of `base`, the mean of the base's responses.

    A multiplier for each end of the band, never below 0, follows how far the log of the ratio is beyond that end: the
    error, its change in a step and its sum, each with a gain (Stooke et al. 2020, section 4). Inside the band the
    multipliers fall back to nothing, so that no length there is paid for. `unit` is the reward that a token is worth
    when a multiplier is 1: the spread of the rewards over the spread of the lengths, both among a prompt's responses.
    """

    base: float
    unit: float
    ratio: float = 1.0  # of the mean length to the base's, smoothed
    change: float = 0.0  # of the log of it, in a step
    short: float = 0.0  # the sum of the error below the band
    long: float = 0.0  # and above

    @property
    def price(self) -> float:
        """What is taken off the reward for a token in the next step; negative if responses are too short."""
        below, above = self._errors()
        short = _PROPORTIONAL * below - _DERIVATIVE * self.change * (below > -_NEAR) + self.short
        long = _PROPORTIONAL * above + _DERIVATIVE * self.change * (above > -_NEAR) + self.long
        return self.unit * min(max(max(0.0, long) - max(0.0, short), -_MOST), _MOST)

    def after(self, length: float, n: int) -> LengthBand:
        """The band after a step of `n` responses with this mean length in tokens."""
        share = 1 - math.exp(-n / _SMOOTHED)
        ratio = self.ratio + share * (length / self.base - self.ratio)
        now = replace(self, ratio=ratio, change=math.log(ratio / self.ratio))
        below, above = now._errors()
        return replace(
            now, short=max(0.0, self.short + _INTEGRAL * below), long=max(0.0, self.long + _INTEGRAL * above)
        )

    def _errors(self) -> tuple[float, float]:
        """How far the log of the ratio is below the band and above it; negative inside."""
        return math.log(_LOW / self.ratio), math.log(self.ratio / _HIGH)


_NEAR = 0.1  # of the log of the ratio: farther inside the band, a change of length is nobody's concern
