"""Addresses of notices are secrets: they come from a file or the environment, and are seen and kept nowhere."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from foundation.errors import UserError
from labeling_ui.campaign import Campaign
from labeling_ui.notices.keeping import begin
from labeling_ui.notices.settings import NoticeSettings
from labeling_ui.store.store import Store
from labeling_ui.web import server
from pipeline.cli.commands import app
from pipeline.config.config import load_config
from tests.labeling_ui.notices.receiving import Webhook

SECRET = "json://lead:s3cret-word@127.0.0.1:9/hook"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "mine.yaml").write_text(f"label:\n  notices:\n    addresses: [{SECRET}]\n    stall_hours: 5\n")
    return tmp_path / "run"


def rlhf(*command: str | Path, status: int = 0) -> str:
    done = CliRunner().invoke(app, [str(each) for each in command])
    assert done.exit_code == status, (done.output, done.exception)
    assert "s3cret" not in done.output
    return " ".join(done.output.split())


def test_a_run_keeps_no_address(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[NoticeSettings] = []
    monkeypatch.setattr(server, "serve", lambda *given: served.append(given[-1]))
    run.mkdir()
    Store(run / "labels.db").close()  # as an import leaves it
    for command in (["--config", run.with_name("mine.yaml")], []):
        rlhf("label", "--run", run, *command)
    monkeypatch.setenv("RLHF_LABEL__NOTICES__ADDRESSES", f"{SECRET} json://other.example")
    rlhf("label", "--run", run)
    assert [each.named for each in served] == [["address 1 (json)"], [], ["address 1 (json)", "address 2 (json)"]]
    assert [each.stall_hours for each in served] == [5, 5, 5]
    for file in run.rglob("*"):
        assert not file.is_file() or b"s3cret" not in file.read_bytes()


@pytest.mark.parametrize(
    "wrong",
    [
        f"label: {{notices: {{addresses: [[{SECRET}]]}}}}", f"label: {{notices: {SECRET}}}", f"label: {SECRET}",
        f"label: {{notices: {{addresses: {{to: '{SECRET}'}}}}}}", f"label: {{notices: {{to: ['{SECRET}']}}}}",
        f"label: {{notices: {{addresses: ['{SECRET}']}}, max_overlap: 3, kind: rating}}",
    ],
)  # fmt: skip
def test_a_mistake_in_the_configuration_shows_no_address(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "wrong.yaml").write_text(wrong)
    with pytest.raises(UserError) as refused:
        load_config(tmp_path / "wrong.yaml", environment={})
    assert "s3cret" not in str(refused.value)
    assert "label" in str(refused.value)


def test_a_start_says_who_gets_notices_and_that_nobody_does_where_somebody_could_expect_them(tmp_path: Path) -> None:
    store = Store(tmp_path / "labels.db")
    assert server.who_is_told(store, NoticeSettings()) is None
    told = NoticeSettings.model_validate({"addresses": [SECRET], "stall_hours": 5})
    assert server.who_is_told(store, told) == "Notices go to address 1 (json)."
    assert "Nobody gets notices" in (server.who_is_told(store, NoticeSettings(stall_hours=5)) or "")
    store.add_campaign(Campaign(name="main"))
    with store.database.write() as connection:
        begin(connection, "main", "stalled", "No answer for a day.", {"key": "address 1 (json)"}, 0.0)
    assert "Nobody gets notices" in (server.who_is_told(store, NoticeSettings()) or "")
    store.close()


def test_the_store_knows_an_address_by_a_hash_that_needs_the_servers_secret() -> None:
    settings = NoticeSettings.model_validate({"addresses": [SECRET]})
    assert settings.keys("one") != settings.keys("other")
    assert "s3cret" not in f"{settings!r}{settings.keys('one')}{settings.model_dump()}{settings.model_dump_json()}"


def test_a_test_notice_says_which_address_took_it(run: Path, hook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("apprise", reason="the extra 'notices' is not installed")
    monkeypatch.setenv("RLHF_LABEL__NOTICES__ADDRESSES", f"{hook.address} {SECRET}")
    said = rlhf("label", "--test-notice", "--run", run, status=2)
    assert "label: address 1 (json) took the test notice label: address 2 (json) failed: it could not be" in said
    assert [each["title"] for each in hook.received] == ["Test of label.notices"]
    monkeypatch.setenv("RLHF_LABEL__NOTICES__ADDRESSES", "nothing-of-the-kind")
    said = rlhf("label", "--test-notice", "--run", run, status=2)
    assert "apprise cannot use address 1 (" in said
    monkeypatch.delenv("RLHF_LABEL__NOTICES__ADDRESSES")
    assert "has no address" in rlhf("label", "--test-notice", "--run", run, status=2)
    assert not (run / "labels.db").exists()
