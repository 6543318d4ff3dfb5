"""One run of the whole loop on the tiny model, made once for the tests of this folder."""

from pathlib import Path

import pytest

from pipeline import stages
from tests.pipeline import tiny


@pytest.fixture(scope="session")
def tiny_settings(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The overrides of a run that takes seconds, on prompts of its own."""
    return tiny.settings(tiny_model, tiny.prompts_file(tmp_path_factory.mktemp("prompts") / "prompts.jsonl"))


@pytest.fixture(scope="session")
def finished(tiny_settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that went through the loop with simulated labels; tests that change it take a copy."""
    path = tmp_path_factory.mktemp("runs") / "finished"
    stages.loop(*tiny.opened(path, tiny_settings), simulated=True)
    return path
