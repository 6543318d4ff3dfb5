"""`rlhf users role` and `rlhf users log`."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.commands import app

PASSWORD = "tiger lamp seventeen"


def rlhf(run: Path, *arguments: str, typed: str | None = None) -> str:
    done = CliRunner().invoke(app, ["users", *arguments, "--run", str(run)], input=typed)
    return f"{done.exit_code} {done.output}"


def add(run: Path, name: str, role: str) -> None:
    said = rlhf(run, "add", name, "--role", role, "--password-stdin", typed=f"{PASSWORD}\n")
    assert said.startswith("0 "), said


def test_a_role_is_changed_and_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    add(tmp_path, "Ada", "admin")
    add(tmp_path, "Ann", "annotator")
    assert "0 users: Ann is reviewer from now on." in rlhf(tmp_path, "role", "Ann", "reviewer")
    log = rlhf(tmp_path, "log", "--last", "1")
    for said in ("role changed", "Ann", "annotator -> reviewer", "command line"):
        assert said in log
    assert "account added" not in log


@pytest.mark.parametrize(
    ("name", "role", "said"),
    [
        ("Nobody", "admin", 'no person "Nobody"'),
        ("Ada", "boss", '"boss" is not a role'),
        ("Ada", "annotator", "only admin"),
    ],
)
def test_a_role_that_cannot_be_given_is_refused(tmp_path: Path, name: str, role: str, said: str) -> None:
    add(tmp_path, "Ada", "admin")
    answer = rlhf(tmp_path, "role", name, role)
    assert answer.startswith("2 ")
    assert said in " ".join(answer.split())
