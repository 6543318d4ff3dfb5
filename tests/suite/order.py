"""Which tests begin first: those that take long, so that no worker is left with one of them when the others are done.

A test that is not listed takes less than about fifteen seconds of a processor.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar

TESTS = Path(__file__).parents[1]
LONG = [
    "test_documentation_shell.py",
    "pipeline/cli/test_launched_processes.py",
    "pipeline/cli/test_launched_reward.py",
    "benchmarks/test_reward_benchmarks.py",
    "policy/textbook/test_policy_gradient.py",
    "labeling_ui/web/test_blindness.py",
    "pipeline/verdict/test_deciding.py",
    "pipeline/test_stages.py",
    "labeling_ui/store/test_processes.py",
    "backbone/loading/test_demo_model.py",
    "pipeline/test_play.py",
    "policy/trl/test_processes.py",
    "benchmarks/test_coverage.py",
    "pipeline/exporting/test_full_disk.py",
    "benchmarks/test_contention.py",
    "pipeline/test_changed_runs.py",
    "pipeline/test_tuning.py",
    "clients/test_empty_environment.py",
    "labeling_ui/web/test_server.py",
    "labeling_ui/quality/test_skill.py",
    "policy/algorithms/test_registry.py",
]
"""Files, from the longest on."""


class InFile(Protocol):
    """A test, as pytest has collected it."""

    @property
    def path(self) -> Path:
        """Of its file."""


Test = TypeVar("Test", bound=InFile)


def long_ones_first(tests: Sequence[Test]) -> list[Test]:
    """The tests of a file stay together, and in their order."""
    places = {TESTS / name: place for place, name in enumerate(LONG)}
    return sorted(tests, key=lambda test: places.get(test.path, len(LONG)))
