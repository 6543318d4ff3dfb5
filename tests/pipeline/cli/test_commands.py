import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from foundation.errors import UserError
from pipeline import stages, tools
from pipeline.cli.commands import app
from pipeline.importing import ImportOptions

STAGES = ["collect", "reward", "policy", "evaluate", "export", "loop", "report"]


def rlhf(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **more)


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Any, ...]]:
    """Every stage replaced by a note of what it was called with."""
    notes: dict[str, tuple[Any, ...]] = {}
    for name in [*STAGES, "label", "import_labels", "score", "evaluate_reward"]:

        def note(*positional: Any, _name: str = name, **named: Any) -> None:
            notes[_name] = (positional, named)

        monkeypatch.setattr(tools if hasattr(tools, name) else stages, name, note)
    return notes


def invoke(*arguments: str | Path, status: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == status, (result.output, result.exception)
    return result.output


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_gets_its_run_and_configuration(stage: str, called: dict[str, tuple[Any, ...]], tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    (tmp_path / "run").mkdir()
    mine.write_text("seed: 5\npolicy: {steps: 7}")
    invoke(stage, "--run", tmp_path / "run", "--config", mine, "--set", "policy.group=6", "--set", "reward.epochs=2")
    run, config, _ = called[stage][0]
    assert (run.path, run.seed) == (tmp_path / "run", 5)
    assert (config.seed, config.policy.steps, config.policy.group, config.reward.epochs) == (5, 7, 6, 2)


def test_the_configuration_of_a_run_is_recorded_and_taken_up_again(
    called: dict[str, tuple[Any, ...]], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    invoke("reward", "--run", run, "--set", "seed=5")
    assert yaml.safe_load((run / "config.yaml").read_text())["seed"] == 5
    invoke("policy", "--run", run, "--set", "policy.steps=3")
    config = called["policy"][0][1]
    assert (config.seed, config.policy.steps) == (5, 3)


def test_options_reach_their_stage(called: dict[str, tuple[Any, ...]], tmp_path: Path) -> None:
    run = tmp_path / "run"
    invoke("loop", "--run", run, "--simulate", "--rounds", "2")
    assert called["loop"][1] == {"simulated": True, "rounds": 2}
    (run / "labels.db").touch()  # there is something to label
    invoke("label", "--run", run, "--simulate", "--host", "::1", "--port", "8001")
    assert called["label"][1] == {"simulated": True}
    assert (called["label"][0][1].label.host, called["label"][0][1].label.port) == ("::1", 8001)
    invoke("import", "--run", run, "--format", "hh", "pairs.jsonl")
    assert called["import_labels"][0][3:] == ("pairs.jsonl", ImportOptions("hh"))
    said = ("--gold", "--report", "refused.jsonl", "--map", "prompt=a,b", "--map", "chosen=c", "--question", "better")
    flags = ("--scale", "5", "--submitted", "--simulated", "--dry-run")
    invoke("import", "--run", run, "--format", "trl", "hub:org/pairs", *said, *flags)
    assert called["import_labels"][0][3:] == (
        "hub:org/pairs",
        ImportOptions(
            "trl", {"prompt": ("a", "b"), "chosen": ("c",)}, "better", 5, submitted=True, gold=True, simulated=True,
            dry_run=True, report=Path("refused.jsonl"),
        ),
    )  # fmt: skip
    invoke("score", "rows.jsonl", "--reward", "reward", "--out", "scored.jsonl")
    assert called["score"][1] == {
        "reward_folder": Path("reward"),
        "file": Path("rows.jsonl"),
        "out": Path("scored.jsonl"),
    }
    invoke("evaluate-reward", "--reward", "reward", "--pairs", "pairs.jsonl", "--json", "figures.json")
    assert called["evaluate_reward"][1] == {
        "reward_folder": Path("reward"),
        "pairs": Path("pairs.jsonl"),
        "out": Path("figures.json"),
        "against": None,
    }


@pytest.mark.parametrize(
    ("raised", "status", "told"),
    [
        (UserError("the [bold]prompt[/bold] is empty"), 2, "error: the [bold]prompt[/bold] is empty"),
        (KeyboardInterrupt(), 130, "the same command goes on from here"),
    ],
)
def test_stopping_is_one_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, raised: BaseException, status: int, told: str
) -> None:
    def stop(*_: object) -> None:
        raise raised

    monkeypatch.setattr(stages, "reward", stop)
    result = CliRunner().invoke(app, ["reward", "--run", str(tmp_path)])
    assert result.exit_code == status
    assert told in result.stderr
    assert "Traceback" not in result.output


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(stages, "reward", fail)
    result = CliRunner().invoke(app, ["reward", "--run", str(tmp_path)])
    assert isinstance(result.exception, ZeroDivisionError)


def test_a_real_mistake_exits_with_status_2_and_no_traceback(tmp_path: Path) -> None:
    result = rlhf("reward", "--run", str(tmp_path / "run"), "--set", "reward.epoch=2")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == ('error: --set reward.epoch: unknown field "reward.epoch". Did you mean reward.epochs?\n')
    assert not (tmp_path / "run").exists()


def test_a_run_without_labels_is_told_how_to_get_some(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    message = invoke("reward", "--run", tmp_path / "run", status=2)
    assert "no judgements yet" in message
    assert "rlhf import" in message


def test_a_mistyped_command_suggests_the_nearest() -> None:
    assert "Did you mean 'loop'" in invoke("lop", status=2)


def test_help_lists_every_command_without_loading_torch() -> None:
    result = rlhf("--help", env=os.environ | {"COLUMNS": "120"})
    assert result.returncode == 0
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert all(f"\n  {name} " in result.stdout for name in commands)
    loaded = "import sys, pipeline.cli.commands; sys.exit('torch' in sys.modules or 'pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], timeout=60).returncode == 0


def test_ctrl_c_is_status_130(tmp_path: Path) -> None:
    interrupted = (
        "import os, signal, sys\n"
        "from pipeline import stages\nfrom pipeline.cli import commands as cli\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # what starts tests may have it ignored\n"
        "stages.report = lambda *_: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.argv = ['rlhf', 'report', '--run', sys.argv[1]]\n"
        "cli.main()"
    )
    command = [sys.executable, "-c", interrupted, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 128 + signal.SIGINT
    assert result.stderr.splitlines() == ["Stopped. Nothing finished is lost; the same command goes on from here."]


@pytest.mark.parametrize("start", [["-m", "pipeline"], ["-P", "-m", "pipeline"]], ids=" ".join)
def test_folders_named_like_the_packages_are_not_imported(tmp_path: Path, start: list[str]) -> None:
    for name in ("policy", "labeling_ui", "foundation"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the wrong package')")
    command = [sys.executable, *start, "users", "list", "--run", "nowhere"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2
    assert "there is no run in nowhere" in result.stderr


@pytest.mark.parametrize(
    "use", [["-m", "rlhf_pipeline", "policy"], ["-c", "import rlhf_pipeline"]], ids=lambda use: use[0]
)
def test_the_former_name_says_what_replaced_it(use: list[str]) -> None:
    result = subprocess.run([sys.executable, *use], capture_output=True, text=True, timeout=60)
    assert result.returncode != 0
    assert "run `rlhf` or `python -m pipeline` instead" in result.stderr.splitlines()[-1]
