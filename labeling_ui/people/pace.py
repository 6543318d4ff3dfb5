"""How fast one person may ask for something: a burst, then so many a second. People do not notice; programs do.

Counted in the memory of one server process. Left out on purpose: whose turn it is at the model (`web/live_prompts.py`).
"""

import math
import threading
import time
from collections.abc import Callable

from foundation.errors import UserError

_MOST_KEPT = 10_000


class TooFast(UserError):
    """Too much at once; `seconds` is how long to wait. Nothing was done."""

    def __init__(self, seconds: float) -> None:
        self.seconds = math.ceil(seconds)
        super().__init__(f"This is more than one person does. Try again in {self.seconds} seconds.")


class Pace:
    """A bucket of `burst` for each person, in which `per_second` come back."""

    def __init__(self, burst: int, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._per_second, self._clock = burst, per_second, clock
        self._left: dict[str, tuple[float, float]] = {}  # what was left, and when
        self._lock = threading.Lock()

    def take(self, person_id: str) -> None:
        """Take one; `TooFast` if there is none."""
        now = self._clock()
        with self._lock:
            left = self._now(person_id, now)
            if left < 1:
                raise TooFast((1 - left) / self._per_second)
            self._left[person_id] = left - 1, now
            if len(self._left) > _MOST_KEPT:
                self._left = {who: kept for who, kept in self._left.items() if self._now(who, now) < self._burst}

    def _now(self, person_id: str, now: float) -> float:
        left, then = self._left.get(person_id, (float(self._burst), now))
        return min(self._burst, left + (now - then) * self._per_second)
