"""What one person asks for too fast is refused, and nobody else notices."""

import pytest

from labeling_ui.people.pace import Pace, TooFast
from tests.labeling_ui.people.signing_in import Clock


def test_after_a_burst_so_many_a_second() -> None:
    clock = Clock()
    pace = Pace(burst=3, per_second=0.5, clock=lambda: clock.now)
    for _ in range(3):
        pace.take("Ann")
    with pytest.raises(TooFast) as caught:
        pace.take("Ann")
    assert caught.value.seconds == 2
    pace.take("Bob")
    clock.now += 2
    pace.take("Ann")
    with pytest.raises(TooFast):
        pace.take("Ann")


def test_what_was_not_taken_does_not_pile_up() -> None:
    clock = Clock()
    pace = Pace(burst=2, per_second=1, clock=lambda: clock.now)
    pace.take("Ann")
    clock.now += 1000
    pace.take("Ann")
    pace.take("Ann")
    with pytest.raises(TooFast):
        pace.take("Ann")
