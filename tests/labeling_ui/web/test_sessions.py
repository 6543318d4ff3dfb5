"""Sessions that are used are renewed; a browser that was used before gets around a locked name."""

import time

import pytest
import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.people.lockout import FREE_BY_NAME
from labeling_ui.people.sessions import SESSION_DAYS
from labeling_ui.store.database import Database
from labeling_ui.web.access_control import UNUSABLE
from labeling_ui.web.admin.page import AdminActions, _told
from tests.labeling_ui.signed_in import PASSWORD, LabelingApp

DAY = 24 * 3600


def test_a_session_lasts_as_long_as_it_is_used(site: LabelingApp, monkeypatch: pytest.MonkeyPatch) -> None:
    client, now = site.client("Una"), int(time.time())
    first = client.cookies["rlhf_session"]
    assert "set-cookie" not in client.get("/api/desk").headers  # it is new
    days = 0
    while days < 3 * SESSION_DAYS:
        days += SESSION_DAYS - 1
        monkeypatch.setattr(time, "time", lambda days=days: now + days * DAY)
        assert client.get("/api/desk").status_code == 200, days
        assert client.cookies["rlhf_session"] != first
    old = site.visitor()
    old.cookies.set("rlhf_session", first)
    assert old.get("/api/desk").status_code == 401
    monkeypatch.setattr(time, "time", lambda: now + (days + SESSION_DAYS + 1) * DAY)
    assert client.get("/api/desk").status_code == 401


def test_signing_out_is_not_undone_by_a_renewal(site: LabelingApp, monkeypatch: pytest.MonkeyPatch) -> None:
    client, now = site.client("Udo"), int(time.time())
    monkeypatch.setattr(time, "time", lambda: now + 2 * DAY)
    response = client.post("/sign-out")
    assert response.headers.get_list("set-cookie") == [response.headers["set-cookie"]]
    assert "rlhf_session" not in client.cookies


def test_a_browser_that_was_used_before_gets_around_a_locked_name(site: LabelingApp) -> None:
    owner = site.client("Olga")
    owner.post("/sign-out")
    attacker = site.visitor(address="198.51.100.9")
    for _ in range(FREE_BY_NAME):
        attacker.post("/sign-in", data={"name": "Olga", "password": "wrong"})
    assert attacker.post("/sign-in", data={"name": "Olga", "password": PASSWORD}).status_code == 429
    elsewhere = site.visitor(address="192.0.2.55").post("/sign-in", data={"name": "Olga", "password": PASSWORD})
    assert elsewhere.status_code == 429
    assert "browser in which you signed in before" in elsewhere.text
    assert owner.post("/sign-in", data={"name": "Olga", "password": PASSWORD}).status_code == 303
    forged = site.visitor(address="198.51.100.9")
    forged.cookies.set("rlhf_device", owner.cookies["rlhf_device"][:-2] + "xx")
    assert forged.post("/sign-in", data={"name": "Olga", "password": PASSWORD}).status_code == 429


def test_a_full_disk_shows_no_path(site: LabelingApp, monkeypatch: pytest.MonkeyPatch) -> None:
    root = site.client("Root", "admin")
    admin = next(one.id for one in site.people.list() if one.name == "Root")

    def full(*_: object) -> None:
        cause = sa.exc.OperationalError("INSERT", None, Exception("database or disk is full"))
        raise UserError("the label store /srv/secret/labels.db failed: database or disk is full") from cause

    monkeypatch.setattr(Database, "write", full)
    actions = AdminActions(site.store, site.people)
    for answer in (
        site.visitor().post("/sign-in", data={"name": "Root", "password": PASSWORD}),
        root.post("/account", data={"old": PASSWORD, "new": "tiger lamp seventeen"}),
        root.post("/admin/tasks", data={"task": site.store.tasks()[0].id, "change": "pause"}),
        root.post("/api/undo", json={"key": "x"}),
    ):
        assert answer.status_code == 503
        assert "/srv" not in answer.text
        assert UNUSABLE in answer.text
    notice = _told(lambda: (actions.invite(admin, "annotator", ""),))
    assert UNUSABLE in notice
    assert "/srv" not in notice


def test_whoever_becomes_an_admin_with_a_poor_password_changes_it_before_anything_else(site: LabelingApp) -> None:
    client = site.client("Petra", "annotator")  # with a password that does for an annotator alone
    site.people.set_password("Petra", "petra2024")
    site.people.set_role("Petra", "admin")
    assert client.get("/api/desk").status_code == 401, "the role ended their sessions"
    given = {"name": "Petra", "password": "petra2024"}
    asked = client.post("/sign-in", data=given)
    assert asked.status_code == 422
    assert "Choose another password" in asked.text
    assert "set-cookie" not in asked.headers
    again = client.post("/sign-in", data={**given, "new": "petra2024"})
    assert (again.status_code, "set-cookie" in again.headers) == (422, False)
    assert (
        client.post("/sign-in", data={**given, "password": "wrong", "new": "tiger lamp seventeen"}).status_code == 422
    )
    assert client.get("/admin").status_code == 401
    assert client.post("/sign-in", data={**given, "new": "tiger lamp seventeen"}).status_code == 303
    assert client.get("/admin/tasks").status_code == 200
    assert client.post("/sign-in", data=given).status_code == 422, "the old one is gone"
    site.people.set_role("Petra", "annotator")
    site.people.set_password("Petra", "petra2024")
    assert client.post("/sign-in", data={**given, "new": "not asked for"}).status_code == 303
    assert client.post("/sign-in", data=given).status_code == 303, "and is not changed where it does"
