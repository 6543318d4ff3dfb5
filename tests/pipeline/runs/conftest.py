"""A run in an empty folder, what it says, and a file of prompts."""

from pathlib import Path

import pytest

from pipeline.runs.folder import Run


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def run(tmp_path: Path, said: list[str]) -> Run:
    return Run(tmp_path / "runs" / "mine", seed=7, say=said.append)


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    path.write_text("a prompt")
    return path
