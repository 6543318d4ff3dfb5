"""A mistyped run is named with those that are near, and nothing is made; a report needs no run to itself."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.commands import app
from pipeline.reporting.cautions import of_evaluation
from pipeline.runs.folder import Run

READING = [
    ["reward"], ["policy"], ["evaluate"], ["promote"], ["rollback", "--reason", "why"], ["export"], ["report"],
    ["users", "list"], ["labels", "verify"], ["labels", "backup", "copy.db"], ["labels", "export", "rows.jsonl"],
]  # fmt: skip


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in ("mine", "other", "third"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.yaml").write_text("seed: 0\n")
    (tmp_path / "runs" / "notes").mkdir()
    (tmp_path / "runs" / "notes" / "todo.txt").write_text("no run")
    return tmp_path / "runs"


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_a_mistyped_run_is_refused_with_those_that_are_near(runs: Path, command: list[str]) -> None:
    for wrong in (runs / "mien", runs / "notes", runs):
        before = sorted(runs.rglob("*"))
        result = CliRunner().invoke(app, [*command, "--run", str(wrong)])
        assert result.exit_code == 2, (result.output, result.exception)
        message = " ".join(result.stderr.split())
        assert f"there is no run in {wrong}." in message
        assert all(str(runs / name) in message for name in ("mine", "other", "third"))
        assert "notes," not in message
        if wrong.name == "mien":
            assert f"Runs that are near: {runs / 'mine'}, " in message
        assert sorted(runs.rglob("*")) == before


def test_where_there_is_no_run_at_all_it_says_how_to_begin_one(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", "--run", str(tmp_path / "runs" / "mine")])
    assert "`rlhf loop`" in result.stderr
    assert not (tmp_path / "runs").exists()


def test_the_report_is_written_while_another_command_works_on_the_run(runs: Path) -> None:
    holder = (
        "import sys; from pathlib import Path; from pipeline.runs.folder import Run\n"
        "with Run(Path(sys.argv[1])).lock(): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", holder, str(runs / "mine")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        written = CliRunner().invoke(app, ["report", "--run", str(runs / "mine")])
        second = CliRunner().invoke(app, ["loop", "--run", str(runs / "mine")])
        process.kill()
    assert written.exit_code == 0, (written.output, written.exception)
    assert (runs / "mine" / "report.html").exists()
    assert second.exit_code == 2
    assert f'is in use by "rlhf {runs / "mine"}" (process {process.pid})' in " ".join(second.stderr.split())


def test_a_kl_below_zero_is_explained(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.reporting import cautions

    run = Run(finished)
    found = cautions.read_json(run.folder / "evaluation.json")
    for kl, told in ((-0.03, True), (0.03, False)):
        monkeypatch.setattr(cautions, "read_json", lambda _, kl=kl: found | {"mean_kl": kl})
        assert any("never below zero" in each for each in of_evaluation(run)) == told
