"""Unit tests passed by code in a response.

It runs code that a model wrote, and therefore is off unless the spec says `enabled: true`.
"""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

from pydantic import Field, model_validator

from reward_model.rewards.interface import Given, Kind, Reward, column
from reward_model.rewards.sandbox.runner import Limits, run_tests
from reward_model.rewards.texts import Text, text_of

_BLOCK = re.compile(
    r"^(?P<fence>`{3,})[ \t]*(?P<label>[^\s`]*)[^`\n]*\n(?P<code>.*?)^(?P=fence)`*[ \t\r]*$", re.DOTALL | re.MULTILINE
)
_PYTHON = frozenset({"python", "python3", "py"})


class PassedTests(Kind):
    """The share of tests that pass, each a piece of Python that raises if it fails (`assert double(2) == 4`)."""

    enabled: bool = Field(False, description="must be true: the model's code is run on this machine, in a sandbox")
    tests: tuple[str, ...] = Field((), description="the tests; none: each row's own, in its column `tests`")
    seconds: float = Field(5.0, gt=0, le=600, description="time limit for one response and its tests")
    memory_mb: int = Field(512, ge=64, description="memory limit, in MB")
    file_mb: int = Field(1, ge=1, description="size limit of a file, and of what is printed, in MB")
    processes: int = Field(1, ge=1, description="most processes and threads at once")
    workers: int = Field(2, ge=1, description="responses that are run side by side")

    @model_validator(mode="after")
    def _enabled(self) -> Self:
        if not self.enabled:
            raise ValueError("it runs code that a model wrote. If that is meant, say `enabled: true`")
        return self

    def columns(self) -> Sequence[str]:
        """See `Kind`."""
        return () if self.tests else ("tests",)

    def make(self, given: Given) -> Reward:
        """See `Kind`."""
        limits = Limits(self.seconds, self.memory_mb, self.file_mb, self.processes)

        def share(code: str, tests: Sequence[str]) -> float:
            passed = run_tests(code, tests, limits).passed
            return sum(passed) / len(passed)

        def reward(prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float]:
            tests: Sequence[Any] = [self.tests] * len(completions)
            if not self.tests:
                remedy = "Give each row a list of them, or the reward `tests` for all rows."
                tests = column("tests", len(completions), columns, "tests_passed", remedy)
            tests = [[row] if isinstance(row, str) else row for row in tests]
            with ThreadPoolExecutor(self.workers) as pool:
                return list(pool.map(share, [code_of(text_of(each)) for each in completions], tests))

        return reward


def code_of(text: str) -> str:
    """The fenced blocks of a response that are labelled as Python, one after the other.

    Without any, those without a label, which are often what a program prints; without these, all of it.
    """
    blocks = [(found["label"].lower(), found["code"]) for found in _BLOCK.finditer(text)]
    labelled = [code for label, code in blocks if label in _PYTHON]
    return "\n".join(labelled or [code for label, code in blocks if not label]) or text
