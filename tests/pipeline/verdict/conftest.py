"""A run whose policy is tuned and evaluated, with enough held-out prompts for a verdict; made once."""

import shutil
from pathlib import Path

import pytest

from foundation.files import write_jsonl
from pipeline import stages
from tests.pipeline import tiny

TRAINING = 8


def prompts_file(path: Path, held_out: int) -> Path:
    rows = [
        {"prompt": tiny.ask(f"tell me of the {topic}"), "split": "train" if number < TRAINING else "held_out"}
        for number, topic in enumerate(tiny.TOPICS[: TRAINING + held_out])
    ]
    write_jsonl(path, rows)
    return path


@pytest.fixture(scope="session")
def verdict_settings(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides of a run that takes seconds, with sixteen held-out prompts."""
    prompts = prompts_file(tmp_path_factory.mktemp("prompts") / "prompts.jsonl", held_out=16)
    return [*tiny.settings(tiny_model, prompts), "policy.steps=2", "policy.learning_rate=0.1"]


@pytest.fixture(scope="session")
def _tuned(verdict_settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "tuned"
    stages.loop(*tiny.opened(path, [*verdict_settings, "verdict.enabled=false"]), simulated=True)
    return path


@pytest.fixture
def tuned(_tuned: Path, tmp_path: Path) -> Path:
    """A copy of a run that went through the loop without a verdict."""
    return Path(shutil.copytree(_tuned, tmp_path / "tuned"))
