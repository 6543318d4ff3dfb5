"""Mean and spread of all values seen so far, to normalise rewards whose scale drifts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class RunningMoments:
    """Mean, sum of squared distances from the mean, and count of all values so far."""

    mean: float = 0.0
    squares: float = 0.0
    count: int = 0

    def after(self, values: torch.Tensor | Sequence[float]) -> "RunningMoments":
        """The moments with these values (n,) counted in. Chan, Golub and LeVeque 1979, eq. 2.1."""
        n = len(values)
        if not n:
            return self
        # A list is summed in its order, a tensor by torch: the two may differ in the last bit, and checkpoints keep it.
        if isinstance(values, torch.Tensor):
            fresh = values.double()
            mean = float(fresh.mean())
            squares = float((fresh - mean).square().sum())
        else:
            mean = sum(values) / n
            squares = sum((value - mean) ** 2 for value in values)
        count, shift = self.count + n, mean - self.mean
        squares = self.squares + squares + shift**2 * self.count * n / count
        return RunningMoments(self.mean + shift * n / count, squares, count)

    @property
    def std(self) -> float:
        """The standard deviation of all values so far, 0 before the first."""
        return math.sqrt(self.squares / self.count) if self.count else 0.0

    def normalised(self, values: torch.Tensor) -> torch.Tensor:
        """The values less the mean, in standard deviations: (n,)."""
        return (values - self.mean) / (self.std + 1e-8)

    def z_score(self, value: float) -> float:
        """One value less the mean, in standard deviations; 0 while all values were the same."""
        return (value - self.mean) / self.std if self.std > 1e-12 * max(1.0, abs(self.mean)) else 0.0
