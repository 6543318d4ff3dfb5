"""Who signs in from where, and with which password; a clock that tests move by hand."""

import pytest

from labeling_ui.people.accounts import Accounts, WrongPassword

PASSWORD = "correct horse"
HERE = "192.0.2.1"


class Clock:
    """Seconds since 1970, as the test says."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def fail(people: Accounts, times: int, name: str = "Ann", address: str = HERE) -> None:
    for _ in range(times):
        with pytest.raises(WrongPassword):
            people.sign_in(name, "wrong password", address)
