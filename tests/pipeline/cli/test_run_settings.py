"""What a command leaves in its run's configuration: nothing if it is refused, and no setting is lost unsaid."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from foundation.errors import UserError
from foundation.files import write_text
from pipeline import stages
from pipeline.cli.commands import app
from pipeline.config.config import load_config
from pipeline.config.sources import save

WRONG = [["model=/tmp/nomodel"], ["collect.prompts=no.jsonl"], ["policy.initial=nowhere"], ["model=my model"]]


def rlhf(*arguments: str | Path, status: int) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == status, (result.output, result.exception)
    return result.stderr


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with settings of its own, in which nothing was made yet."""
    save(load_config(None, ["seed=5", "policy.steps=7"], {}), tmp_path / "run" / "config.yaml")
    return tmp_path / "run"


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_refused_command_leaves_the_settings_as_they_were(run: Path, wrong: list[str]) -> None:
    before = (run / "config.yaml").read_text()
    message = rlhf("collect", "--run", run, "--set", wrong[0], status=2)
    name, value = wrong[0].split("=")
    assert f"This is what {name} says (--set {name})." in message
    assert value in message
    assert "None of this command's settings were recorded" in message
    assert (run / "config.yaml").read_text() == before
    assert not (run / ".config.yaml.former").exists()


def test_a_new_run_that_was_refused_has_no_settings(tmp_path: Path) -> None:
    rlhf("collect", "--run", tmp_path / "run", "--set", "model=/tmp/nomodel", status=2)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_wrong_setting_is_told_with_the_file_in_which_it_stands(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (run / "config.yaml").read_text().replace("model: demo", "model: /tmp/nomodel")
    (run / "config.yaml").write_text(text)
    message = rlhf("collect", "--run", run, status=2)
    assert f"This is what model says ({run / 'config.yaml'})." in message
    assert "recorded" not in message
    monkeypatch.setenv("RLHF_MODEL", "./nowhere")
    assert "This is what model says (environment variable RLHF_MODEL)." in rlhf("collect", "--run", run, status=2)
    assert (run / "config.yaml").read_text() == text


def test_settings_with_which_something_was_made_stay(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(opened: Any, *_: object) -> None:
        write_text(opened.folder / ".policy.partial" / "log.jsonl", "{}\n")
        raise UserError("the rewards are not finite")

    monkeypatch.setattr(stages, "policy", lambda *opened, profile: half(*opened))
    assert "recorded" not in rlhf("policy", "--run", run, "--set", "policy.steps=9", status=2)
    assert yaml.safe_load((run / "config.yaml").read_text())["policy"]["steps"] == 9


def test_settings_of_a_command_that_was_killed_go_when_the_next_one_is_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (run / "config.yaml").read_text()

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    def refused(*_: object) -> None:
        raise UserError("no")

    monkeypatch.setattr(stages, "collect", stopped)
    rlhf("collect", "--run", run, "--set", "seed=6", status=130)
    assert yaml.safe_load((run / "config.yaml").read_text())["seed"] == 6
    monkeypatch.setattr(stages, "collect", refused)
    rlhf("collect", "--run", run, status=2)
    assert (run / "config.yaml").read_text() == before


def test_settings_of_a_command_that_was_killed_at_work_stay(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(opened: Any, *_: object) -> None:
        write_text(opened.folder / ".policy.partial" / "log.jsonl", "{}\n")
        raise KeyboardInterrupt

    def refused(*_: object, profile: bool) -> None:
        raise UserError("no")

    monkeypatch.setattr(stages, "policy", lambda *opened, profile: stopped(*opened))
    rlhf("policy", "--run", run, "--set", "seed=6", status=130)
    monkeypatch.setattr(stages, "policy", refused)
    rlhf("policy", "--run", run, status=2)
    assert yaml.safe_load((run / "config.yaml").read_text())["seed"] == 6


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "collect", lambda *_: None)


@pytest.mark.usefixtures("idle")
def test_settings_that_a_file_resets_are_listed(run: Path, tmp_path: Path) -> None:
    changed = ["seed=5", "policy.steps=7", "collect.limit=3", "reward.epochs=9", "label.overlap=2", "label.live=true"]
    save(load_config(None, changed, {}), run / "config.yaml")
    file = tmp_path / "rewards.yaml"
    file.write_text("rewards: [{name: length, target: 9}]\nseed: 6\n")
    note = rlhf("collect", "--run", run, "--config", file, "--set", "label.live=false", status=0)
    assert note.startswith("note: --config replaces the run's whole configuration; back to their defaults: ")
    assert "collect.limit 3 -> unset, " in note
    assert "policy.steps 7 -> 40" in note
    assert "seed" not in note
    assert "rewards" not in note
    assert "label.live" not in note
    assert len(note.splitlines()) == 1
    assert rlhf("collect", "--run", run, "--config", file, status=0) == ""


@pytest.mark.usefixtures("idle")
def test_of_many_settings_that_a_file_resets_a_few_are_listed(run: Path, tmp_path: Path) -> None:
    changed = [f"policy.{name}=3" for name in ("steps", "group", "prompts_per_step", "lora_rank")]
    save(load_config(None, [*changed, "seed=3", "collect.candidates=3"], {}), run / "config.yaml")
    (tmp_path / "empty.yaml").write_text("")
    assert ", and 2 more." in rlhf("collect", "--run", run, "--config", tmp_path / "empty.yaml", status=0)


@pytest.mark.usefixtures("idle")
def test_without_a_file_nothing_is_said(run: Path) -> None:
    assert rlhf("collect", "--run", run, "--set", "seed=6", status=0) == ""
