"""Tests begin with the long ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.suite.order import LONG, TESTS, long_ones_first


@dataclass(frozen=True)
class Listed:
    path: Path
    number: int = 0


def test_long_files_come_first_and_the_others_keep_their_order() -> None:
    others = [Listed(TESTS / "b.py", 1), Listed(TESTS / "b.py", 2), Listed(TESTS / "a.py")]
    long = [Listed(TESTS / name, number) for name in LONG[:2] for number in range(2)]
    assert long_ones_first([*others[:1], *long[2:], *others[1:], *long[:2]]) == [*long, *others]


def test_every_file_that_is_listed_is_there() -> None:
    assert [name for name in LONG if not (TESTS / name).is_file()] == []


def test_pytest_runs_them_in_this_order(request: pytest.FixtureRequest) -> None:
    collected: Sequence[pytest.Item] = request.session.items
    assert list(collected) == long_ones_first(collected)
