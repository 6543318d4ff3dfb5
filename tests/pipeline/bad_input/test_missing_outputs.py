"""A stage that lacks what it needs, or finds it changed, names it and leaves the run as it was."""

import shutil
from pathlib import Path

import pytest

from tests.pipeline.bad_input.refusing import ADAPTER, hashes, refused


@pytest.mark.parametrize(
    ("gone", "command", "told"),
    [
        ("reward", "policy", "run `rlhf reward"),
        ("policy", "evaluate", "run `rlhf policy"),
    ],
)
def test_what_a_stage_needs_and_lacks_is_named(
    run: Path, tiny_settings: list[str], gone: str, command: str, told: str
) -> None:
    lost = run / "round-000" / gone
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    before = hashes(run)
    message = refused(command, "--run", run, overrides=tiny_settings)
    assert str(lost) in message
    assert told in message
    assert hashes(run) == before


def test_an_adapter_that_was_put_in_the_place_of_the_runs_own(run: Path, tiny_settings: list[str]) -> None:
    shutil.copy(run / "round-000" / "reward" / ADAPTER, run / "round-000" / "policy" / ADAPTER)
    before = hashes(run)
    message = refused("evaluate", "--run", run, overrides=tiny_settings)
    assert "round-000/policy is not what the stage policy made" in message
    assert hashes(run) == before
