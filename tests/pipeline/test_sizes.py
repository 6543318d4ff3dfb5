"""Commands on a small GPU: what the user sets for it holds in every stage, and the manifest keeps it."""

from pathlib import Path

import pytest

from backbone.loading import devices
from foundation import sizes
from pipeline.runs.folder import Run
from tests.pipeline.test_few_prompts import command


@pytest.mark.parametrize("asked", [None, 3])
def test_a_command_keeps_the_sizes_that_its_stage_was_made_with(
    tiny_settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: int | None
) -> None:
    # There is no GPU where the tests run: only what it says of its memory is made up.
    monkeypatch.setattr(devices, "gpu_memory", lambda device: (3 << 30, 3 << 30))
    monkeypatch.setattr(sizes, "_found", {})
    command("collect", tmp_path / "run", [*tiny_settings, *([f"sizes.sample_rows={asked}"] if asked else [])])
    record = Run(tmp_path / "run").record("collect")
    assert record is not None
    assert record.sizes is not None
    assert record.sizes.sample_rows == (asked or 512)
    assert record.sizes.sample_tokens == (None if asked else (1 << 30) // (2 * 2 * 2 * 8 * 4))
    monkeypatch.setattr(devices, "gpu_memory", lambda device: None)
    assert "already done" in command("collect", tmp_path / "run", ["sizes.score_tokens=7"])
