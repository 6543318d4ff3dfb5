"""The folder of a run: rounds follow one another, and what is no run is refused."""

from pathlib import Path

import pytest

from foundation.errors import UserError
from pipeline.runs.folder import Run
from tests.pipeline.runs.outputs import write_pairs


def test_rounds_follow_one_another(run: Run) -> None:
    assert run.round == run.latest_round() == 0
    assert run.new_round().round == 0
    run.stage("label", "pairs.jsonl", [], {}, write_pairs)
    second = run.new_round()
    assert second.folder == run.path / "round-001"
    second.stage("label", "pairs.jsonl", [], {}, write_pairs)
    assert Run(run.path).round == 1
    assert run.rounds() == [0, 1]


def test_a_run_that_is_a_file_is_refused(prompts: Path) -> None:
    with pytest.raises(UserError, match="is a file"):
        Run(prompts)


def test_a_damaged_manifest_is_explained(run: Run) -> None:
    run.stage("label", "pairs.jsonl", [], {}, write_pairs)
    run.manifest_path.write_text('{"stages": {"label": ')
    with pytest.raises(UserError, match="manifest cannot be read"):
        run.stage("label", "pairs.jsonl", [], {}, write_pairs)
