"""A mistyped run is named with those that are near, and nothing is made; a report needs no run to itself."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.commands import app
from pipeline.cli.known_runs import with_run
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
    assert f"`rlhf loop --run {tmp_path / 'runs' / 'mine'}`" in result.stderr
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


def test_label_begins_no_run_and_leaves_nothing_behind_where_there_is_nothing_to_label(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "mine"
    result = CliRunner().invoke(app, ["label", "--run", str(run)])
    assert result.exit_code == 2, (result.output, result.exception)
    assert f"`rlhf collect --run {run}` and `rlhf import --format FORMAT FILE --run {run}` do." in result.stderr
    assert "rlhf label" not in result.stderr
    assert not (tmp_path / "runs").exists()
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("seed: 0\n")
    result = CliRunner().invoke(app, ["label", "--run", str(run)])
    assert result.exit_code == 2, (result.output, result.exception)
    assert "has no label store yet" in result.stderr
    assert [each.name for each in run.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize(
    ("message", "typed"),
    [
        ("run `rlhf policy` first", "run `rlhf policy --run 'my runs/a'` first"),
        ("`rlhf collect --set a=b`, or", "`rlhf collect --set a=b --run 'my runs/a'`, or"),
        ("see `rlhf users list`.", "see `rlhf users list --run 'my runs/a'`."),
        ("`rlhf reward --run x` and `rlhf merge`", "`rlhf reward --run x` and `rlhf merge`"),
        ("`rlhf users`, `rlhf import --help`", "`rlhf users`, `rlhf import --help`"),
    ],
)
def test_commands_in_messages_name_the_run(message: str, typed: str) -> None:
    assert with_run(message, Path("my runs/a")) == typed


def test_a_refusal_from_where_no_run_is_known_names_it_all_the_same(runs: Path) -> None:
    made = CliRunner().invoke(
        app, ["users", "add", "Ann", "--password-stdin", "--run", str(runs / "mine")], "long words"
    )
    assert made.exit_code == 0, made.output
    for command, named in (
        (["users", "role", "Ben", "admin"], "rlhf users list"),
        (["label"], "rlhf collect"),
        (["samples"], "rlhf policy"),
    ):
        result = CliRunner().invoke(app, [*command, "--run", str(runs / "mine")])
        assert result.exit_code == 2, (result.output, result.exception)
        assert f"`{named} --run {runs / 'mine'}`" in result.stderr


def test_status_names_commands_that_work_on_the_run(runs: Path) -> None:
    said = CliRunner().invoke(app, ["status", "--json", "--run", str(runs / "mine")]).stdout
    assert f"`rlhf import --format FORMAT FILE --run {runs / 'mine'}`" in said
