"""`rlhf users ...`, `rlhf labels ...` and `rlhf import` with what they take: from the command line to the store."""

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from labeling_ui.campaign import Campaign
from labeling_ui.people.accounts import Accounts
from labeling_ui.store.store import Store
from pipeline.cli.commands import app
from pipeline.config.config import load_config
from tests.labeling_ui.filling import TIE, fill

PAIRS = [
    {"prompt": f"Why {number}?", "chosen": "Because.", "rejected": "No idea.", "margin": 0.7} for number in range(12)
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def labelled(run: Path, tmp_path: Path) -> Path:
    """A run with imported judgements."""
    rlhf("import", "--format", "trl", write(tmp_path / "pairs.jsonl", PAIRS), "--run", run)
    return run


def rlhf(*arguments: str | Path, status: int = 0, given: str | None = None) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=given)
    assert result.exit_code == status, (result.output, result.exception)
    assert "Traceback" not in result.output
    return result.output


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def accounts(run: Path) -> dict[str, Any]:
    store = Store(run / "labels.db")
    found = {person.name: person for person in Accounts(store.database).list()}
    store.close()
    return found


def test_a_password_is_asked_for_twice_and_never_shown(run: Path) -> None:
    output = rlhf("users", "add", "Ann", "--run", run, given="correct horse\ncorrect horse\n")
    assert "Ann can sign in as annotator" in output
    assert "correct" not in output
    store = Store(run / "labels.db")
    assert Accounts(store.database).sign_in("Ann", "correct horse", "here").name == "Ann"
    store.close()


def test_a_password_can_come_from_a_pipe(run: Path) -> None:
    add = ("users", "add", "Ann", "--role", "admin", "--email", "ann@example.org", "--password-stdin", "--run", run)
    rlhf(*add, given="correct horse\n")
    ann = accounts(run)["Ann"]
    assert (ann.role, ann.email, ann.has_password) == ("admin", "ann@example.org", True)
    assert "is taken" in rlhf(*add, given="correct horse\n", status=2)


@pytest.mark.parametrize(
    ("arguments", "password", "told"),
    [
        (("--role", "king"), "correct horse", 'no role "king": choose one of annotator, reviewer, admin'),
        (("--email", "nowhere"), "correct horse", "not an e-mail address"),
        ((), "short", "needs 8 to"),
        ((), "", "needs 8 to"),
    ],
)
def test_an_impossible_account_is_one_message(run: Path, arguments: tuple[str, ...], password: str, told: str) -> None:
    output = rlhf("users", "add", "Ann", *arguments, "--password-stdin", "--run", run, given=password, status=2)
    assert told in output
    assert output.count("error: ") == 1


def test_an_invitation_is_a_link_that_lets_one_person_in(run: Path) -> None:
    output = rlhf("users", "invite", "--role", "reviewer", "--url", "https://label.example.org/", "--run", run)
    (token,) = re.findall(r"https://label\.example\.org/invitation/(\S+)", output)
    assert "within 72 hours" in output
    store = Store(run / "labels.db")
    assert Accounts(store.database).redeem(token, "Ben", "correct horse").role == "reviewer"
    store.close()
    here = rlhf("users", "invite", "--name", "Carl", "--hours", "1", "--set", "label.port=7000", "--run", run)
    assert "http://127.0.0.1:7000/invitation/" in here
    assert "Replace http://127.0.0.1:7000, which only this machine reaches, if people reach the app by another" in here
    assert "Replace" not in output
    everywhere = rlhf("users", "invite", "--set", "label.host=0.0.0.0", "--run", run)
    assert "0.0.0.0" not in everywhere
    assert "--url says which" in everywhere
    assert accounts(run)["Carl"].role == "annotator"


def test_the_list_shows_everybody(labelled: Path) -> None:
    rlhf("users", "add", "[red]Ann", "--password-stdin", "--run", labelled, given="correct horse\n")
    output = rlhf("users", "list", "--run", labelled)
    assert "[red]Ann" in output, "a name is text, and no markup"
    assert "with a password" in output
    assert "trl (imported)" in output


def test_forgetting_asks_first(run: Path) -> None:
    rlhf("users", "add", "Ann", "--password-stdin", "--run", run, given="correct horse\n")
    forget = ("users", "forget", "Ann", "--judgements", "delete", "--run", run)
    assert "nothing was changed" in rlhf(*forget, given="n\n")
    shown = rlhf(*forget, "--dry-run", "--yes")
    assert "0 judgements are deleted, and 0 texts" in " ".join(shown.split())
    assert "nothing was changed" in shown
    assert "Ann" in accounts(run)
    rlhf(*forget, "--yes")
    assert "Ann" not in accounts(run)
    assert "Ann" in rlhf(*forget, "--yes", status=2)
    assert 'say "keep"' in rlhf("users", "forget", "Ann", "--judgements", "burn", "--run", run, status=2)


def test_nobody_there_to_answer_is_no_yes(run: Path) -> None:
    rlhf("users", "add", "Ann", "--password-stdin", "--run", run, given="correct horse\n")
    rlhf("users", "forget", "Ann", "--judgements", "keep", "--run", run, given="", status=130)
    assert "Ann" in accounts(run)


@pytest.mark.parametrize("command", [("users", "list"), ("labels", "verify"), ("labels", "export", "x.jsonl")])
def test_a_run_without_labels_is_named_and_nothing_is_made(run: Path, command: tuple[str, ...]) -> None:
    run.mkdir()
    assert "has no label store yet" in rlhf(*command, "--run", run, status=2)
    assert list(run.iterdir()) == []


def test_a_backup_is_a_store_of_its_own(labelled: Path, tmp_path: Path) -> None:
    copy = tmp_path / "other" / "labels.db"
    rlhf("labels", "backup", copy, "--run", labelled)
    assert "12 judgements" in rlhf("labels", "verify", "--run", copy.parent)
    assert "exists already" in rlhf("labels", "backup", copy, "--run", labelled, status=2)


def test_verify_lists_every_problem(labelled: Path) -> None:
    assert "whole, with 12 judgements" in rlhf("labels", "verify", "--run", labelled)
    with sqlite3.connect(labelled / "labels.db") as connection:
        connection.execute("DELETE FROM judgements WHERE rowid IN (SELECT rowid FROM judgements LIMIT 2)")
    output = rlhf("labels", "verify", "--run", labelled, status=2)
    assert len(re.findall(r"^  \S", output, re.MULTILINE)) == 4, "two judgements and the counters of their tasks"
    assert "has 4 problems, listed above" in output


def test_a_store_of_a_newer_version_is_left_alone(labelled: Path) -> None:
    with sqlite3.connect(labelled / "labels.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = (labelled / "labels.db").read_bytes()
    for command in (("labels", "verify"), ("users", "list"), ("labels", "export", labelled / "x.jsonl")):
        output = rlhf(*command, "--run", labelled, status=2)
        assert "version 9999, made by a newer rlhf-pipeline" in output
        assert output.count("error: ") == 1
    assert (labelled / "labels.db").read_bytes() == before


@pytest.mark.parametrize(("kind", "rows"), [("preferences", 12), ("unpaired", 24), ("prompts", 12)])
def test_labels_are_exported_by_kind(labelled: Path, tmp_path: Path, kind: str, rows: int) -> None:
    file = tmp_path / "out" / "rows.jsonl"
    output = rlhf("labels", "export", file, "--kind", kind, "--run", labelled)
    assert f"{rows} rows of {kind}" in output.replace("\n", "")
    assert len(file.read_text().splitlines()) == rows


def test_an_export_needs_a_place_to_go_and_rows_to_write(labelled: Path, tmp_path: Path) -> None:
    export = ("labels", "export", "--run", labelled)
    assert "say where to" in rlhf(*export, status=2)
    assert "say where to" in rlhf(*export, tmp_path / "x", "--push-to-hub", "someone/labels", status=2)
    assert "give no ratings" in rlhf(*export, tmp_path / "x", "--kind", "ratings", status=2)
    assert 'no export "csv"' in rlhf(*export, tmp_path / "x", "--kind", "csv", status=2)
    assert 'no campaign "other"' in rlhf(*export, tmp_path / "x", "--campaign", "other", status=2)
    assert not (tmp_path / "x").exists()


def test_a_push_without_a_network_or_token_is_one_message(labelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    output = rlhf("labels", "export", "--push-to-hub", "someone/labels", "--run", labelled, status=2)
    assert "could not push to someone/labels" in output
    assert "hf auth login" in output


def test_import_reports_what_it_refused(run: Path, tmp_path: Path) -> None:
    rows = [{"prompt": "q", "chosen": "x", "rejected": f" x\x1b[31m{' ' * number}"} for number in range(12)]
    rows = [{**row, "rejected": "x"} for row in rows[:11]] + [{**rows[0], "margin": "\x1b]0;bad"}]
    report = tmp_path / "report.jsonl"
    output = rlhf("import", "--format", "trl", write(tmp_path / "f", rows), "--run", run, "--report", report, status=2)
    assert "0 judgements taken" in output
    assert output.count("the two responses are the same") == 10
    assert "... and 2 more refused" in output
    assert "\x1b]0;" not in output
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert [line["line"] for line in lines] == list(range(1, 13))


def test_gold_and_rankings_go_where_the_campaign_says(run: Path, tmp_path: Path) -> None:
    output = rlhf("import", "--format", "trl", "--gold", write(tmp_path / "gold", PAIRS[:2]), "--run", run)
    assert "2 gold tasks taken" in output
    ranked = {"prompt": "q", "responses": ["a", "b", "c"], "answer": {"verdict": "ranked", "ranking": [[0], [2, 1]]}}
    file = write(tmp_path / "ranked", [ranked])
    assert "--set label.kind=ranking" in rlhf("import", "--format", "answers", file, "--run", run, status=2)
    campaign = ("--set", "label.name=order", "--set", "label.kind=ranking")
    assert "1 judgements taken" in rlhf("import", "--format", "answers", file, "--run", run, *campaign)
    rlhf("labels", "export", tmp_path / "rows.jsonl", "--kind", "rankings", "--run", run)
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 2
    other = ("--set", "label.kind=rating")
    rated = {"prompt": "q", "responses": ["a"], "answer": {"verdict": "rated", "ratings": {"helpful": [3]}}}
    output = rlhf("import", "--format", "answers", write(tmp_path / "r", [rated]), "--run", run, *other, status=2)
    assert 'the campaign "main" asks for pairwise (2 tasks), and this import is for rating' in output


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("label.overlap=0", "greater than or equal to 1"),
        ("label.overlap=101", "less than or equal to 100"),
        ("label.overlaps=2", "Did you mean label.overlap?"),
        ("label.kind=guess", "'pairwise', 'ranking' or 'rating'"),
        ("label.aspects=[a, a]", "named twice"),
        ("label.database=mysql://x/y", "begins with postgresql://"),
        ("label.database=postgresql://me:secret@h/d", "leave it out, and give it as PGPASSWORD"),
    ],
)
def test_an_impossible_campaign_is_one_message(run: Path, setting: str, told: str) -> None:
    output = rlhf("label", "--run", run, "--set", setting, status=2)
    assert told in output
    assert output.count("error: ") == 1
    assert not (run / "labels.db").exists()


@pytest.mark.parametrize("command", ["label", "loop"])
def test_more_annotators_a_task_than_there_are_is_impossible(run: Path, command: str) -> None:
    rlhf("users", "invite", "--run", run)  # for a run with a label store
    output = rlhf(command, "--simulate", "--run", run, "--set", "label.overlap=5", status=2)
    assert "label.overlap is 5, but there are 4 simulated annotators" in output


def test_a_campaign_file_with_unknown_fields_names_them(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "campaign.yaml"
    file.write_text("label:\n  kind: ranking\n  anotators: 3\n")
    output = rlhf("label", "--run", run, "--config", file, status=2)
    assert f'{file}: unknown field "label.anotators"' in output.replace("\n", "")


def test_the_campaign_of_a_configuration_is_its_own_fields_alone() -> None:
    config = load_config(None, ["label.kind=ranking", "label.responses=3", "label.port=7000"], {})
    campaign = config.label.campaign
    assert (campaign.kind, campaign.responses) == ("ranking", 3)
    assert not hasattr(campaign, "port")


def test_a_person_is_given_a_qualification_round_again_or_passes(run: Path) -> None:
    store = Store(run / "labels.db")
    fill(store, 6, campaign=Campaign(qualification=1, qualification_attempts=1), gold=2)
    ann = store.annotator("Ann").id
    (shown,) = store.assignments(ann, 2)
    store.record(shown.judgement(TIE))
    assert store.assignments(ann, 2) == []
    qualify = ("users", "qualify", "Ann", "--run", run)
    assert "say --again" in rlhf(*qualify, status=2)
    assert "has all attempts again" in rlhf(*qualify, "--again")
    assert len(store.assignments(ann, 2)) == 1
    assert 'there is no campaign "other"' in rlhf(*qualify, "--again", "--campaign", "other", status=2)
    assert "is taken as qualified" in rlhf(*qualify, "--passed")
    assert len(store.assignments(ann, 2)) >= 1
    store.close()


def test_people_are_assigned_to_a_campaign(labelled: Path) -> None:
    store = Store(labelled / "labels.db")
    store.annotator("Ann")
    assign = ("users", "assign", "--run", labelled)
    assert 'the campaign "main" is for Ann.' in rlhf(*assign, "Ann")
    assert "nobody would be left" in rlhf(*assign, "--remove", "Ann", status=2)
    assert 'nobody of the name "Ben"' in rlhf(*assign, "Ben", status=2)
    assert "name the people" in rlhf(*assign, status=2)
    assert "name the people" in rlhf(*assign, "Ann", "--everybody", status=2)
    assert "is for everybody" in rlhf(*assign, "--everybody")
    store.close()
