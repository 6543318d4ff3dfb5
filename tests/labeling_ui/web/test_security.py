"""Attacks on the web server: each is refused, changes nothing, and is written down without secrets."""

import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from labeling_ui.people import sessions
from labeling_ui.people.lockout import FREE_BY_NAME
from labeling_ui.people.sessions import Sessions
from labeling_ui.store import tables
from tests.labeling_ui.pages import forged
from tests.labeling_ui.signed_in import HTML, PASSWORD, LabelingApp, open_app

pytestmark = pytest.mark.usefixtures("quick_passwords")
TIE = {"verdict": "tie"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelingApp]:
    site = open_app(tmp_path_factory.mktemp("labels"), pairs=12)
    yield site
    site.store.close()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "rlhf.security")
    return caplog


def written(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.name == "rlhf.security"]


def rows(site: LabelingApp) -> str:
    """All that people can change, to see that nothing did."""
    with site.store.database.read() as connection:
        watched = (tables.annotators, tables.invitations, tables.events, tables.judgements, tables.campaigns)
        return str([connection.execute(sa.select(table)).all() for table in watched])


# Without identity.


@pytest.mark.parametrize(
    "path",
    ["/config", "/admin/config", "/gradio_api/info", "/gradio_api/heartbeat/x", "/assets/x.js", "/docs",
     "/openapi.json", "/api/desk", "/api/history", "/api/card?ticket=x", "/export/preferences.jsonl",
     "/page/main.js", "/account"],
)  # fmt: skip
def test_without_identity_nothing_is_served(site: LabelingApp, log: pytest.LogCaptureFixture, path: str) -> None:
    assert site.visitor().get(path).status_code == 401
    assert "signed out" in written(log)[-1]


@pytest.mark.parametrize("mount", ["", "/admin"])
@pytest.mark.parametrize("path", ["queue/join", "run/answer", "call/answer", "upload", "component_server"])
def test_without_identity_nothing_can_be_done(site: LabelingApp, mount: str, path: str) -> None:
    body = {"data": [], "fn_index": 0, "session_hash": "x", "username": "Root"}
    assert site.visitor().post(f"{mount}/gradio_api/{path}", json=body).status_code == 401


@pytest.mark.parametrize("path", ["/api/judgements", "/api/undo", "/api/live", "/account"])
def test_without_identity_the_api_takes_nothing(site: LabelingApp, path: str) -> None:
    before = rows(site)
    assert site.visitor().post(path, json={}).status_code == 401
    assert rows(site) == before


@pytest.mark.parametrize("change", ["flip", "cut", "empty", "alien", "old"])
def test_a_forged_cookie_is_no_identity(site: LabelingApp, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = site.client("Ann")
    (name, value), *_ = client.cookies.items()
    if change == "old":
        monkeypatch.setattr(sessions, "SESSION_DAYS", -1)
    forged = {
        "flip": "x" + value[1:],
        "cut": value[:-3],
        "empty": "",
        "alien": Sessions("another secret")._seal.dumps(["root", 1]),
        "old": value,
    }
    client.cookies.clear()
    client.cookies.set(name, forged[change])
    assert client.get("/api/desk").status_code == 401


def test_a_session_that_was_planted_does_not_become_the_victims(site: LabelingApp) -> None:
    eve, victim = site.client("Eve"), site.visitor()
    victim.cookies.update(eve.cookies)  # what an attacker could plant
    planted = dict(victim.cookies)
    site.people.add("Victoria", password=PASSWORD)
    victim.post("/sign-in", data={"name": "Victoria", "password": PASSWORD})
    assert dict(victim.cookies) != planted
    assert victim.get("/api/desk").json()["annotator"] == "Victoria"
    assert eve.get("/api/desk").json()["annotator"] == "Eve"


def test_over_tls_a_cookie_from_another_host_is_not_read(site: LabelingApp) -> None:
    planted = dict(site.client("Eve").cookies)
    victim = site.visitor("https://labels.test")
    victim.cookies.update(planted)  # without the __Host- prefix any subdomain can set it
    assert victim.get("/api/desk").status_code == 401


# From another site.


@pytest.mark.parametrize(
    "path", ["/sign-in", "/sign-out", "/account", "/api/judgements", "/api/undo", "/gradio_api/queue/join",
             "/admin/gradio_api/queue/join", "/invitation/x"],
)  # fmt: skip
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.test"},
        {"origin": "null"},
        {"origin": "http://labels.test.evil.test"},
        {"origin": "http://labels.test:81"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
    ids=str,
)
def test_another_site_is_refused(
    site: LabelingApp, log: pytest.LogCaptureFixture, path: str, headers: dict[str, str]
) -> None:
    client = site.client("Root", "admin")
    before = rows(site)
    assert client.post(path, data={"name": "Eve"}, headers=headers).status_code == 403
    assert rows(site) == before
    assert client.get("/api/desk").json()["annotator"] == "Root"
    assert "from another site" in written(log)[-1]


def test_the_own_site_is_not_refused(site: LabelingApp) -> None:
    client = site.client("Ann")
    headers = {"origin": "http://labels.test", "sec-fetch-site": "same-origin"}
    assert client.post("/api/undo", json={"key": "x"}, headers=headers).status_code == 200


# What is not one's own.


@pytest.mark.parametrize("path", ["/admin/", "/admin/config", "/admin/gradio_api/queue/data", "/admin/theme.css",
                                  "/export/preferences.jsonl", "/export/x", "/admin"])  # fmt: skip
def test_an_annotator_sees_nothing_of_the_admin_page(
    site: LabelingApp, log: pytest.LogCaptureFixture, path: str
) -> None:
    ann = site.client("Ann")
    assert ann.get(path, headers=HTML).status_code == 403
    assert "needs the role reviewer" in written(log)[-1]
    assert site.client("Rex", "reviewer").get("/admin/config").status_code == 200


@pytest.mark.parametrize("way", ["queue/join", "run/invite", "run/0", "api/invite", "call/invite", "call/v2/invite"])
@pytest.mark.parametrize("number", range(0, 10, 3))
def test_an_annotator_cannot_call_the_events_of_the_admin_page(site: LabelingApp, way: str, number: int) -> None:
    ann, before = site.client("Ann"), rows(site)
    body = {"data": ["admin", ""], "fn_index": number, "session_hash": "x", "event_data": None}
    assert ann.post(f"/admin/gradio_api/{way}", json=body).status_code == 403
    assert rows(site) == before


@pytest.mark.parametrize("mount", ["", "/admin"])
@pytest.mark.parametrize(
    "path", ["file=/etc/passwd", "file=http://169.254.169.254/", "proxy=http://example.org/", "upload_progress",
             "stream/x/1/1/playlist.m3u8", "info", "openapi.json", "runs", "deep_link?session_hash=x"],
)  # fmt: skip
def test_what_no_page_needs_of_gradio_is_closed_to_all(
    site: LabelingApp, log: pytest.LogCaptureFixture, mount: str, path: str
) -> None:
    assert site.client("Root", "admin").get(f"{mount}/gradio_api/{path}").status_code == 404
    assert "no page needs it" in written(log)[-1]


def desk(client: TestClient) -> dict[str, Any]:
    return dict(client.get("/api/desk").json())


def test_a_ticket_is_good_for_its_annotator_only(site: LabelingApp) -> None:
    ann, bob = site.client("Ann"), site.client("Bob")
    ticket = desk(ann)["cards"][0]["ticket"]
    before = rows(site)
    assert bob.post("/api/judgements", json={"ticket": ticket, "answer": TIE}).status_code == 409
    assert bob.get("/api/card", params={"ticket": ticket}).status_code == 409
    assert ann.post("/api/judgements", json={"ticket": forged(ticket), "answer": TIE}).status_code == 409
    assert rows(site) == before
    assert ann.post("/api/judgements", json={"ticket": ticket, "answer": TIE}).status_code == 200


def test_nobody_reads_or_undoes_anothers_answers(site: LabelingApp) -> None:
    ann, bob = site.client("Anna"), site.client("Bert")
    card = desk(ann)["cards"][0]
    answer = {"verdict": "tie", "rationale": "a private thought"}
    assert ann.post("/api/judgements", json={"ticket": card["ticket"], "answer": answer}).status_code == 200
    assert bob.get("/api/history").json() == []
    assert "a private thought" not in bob.get("/api/desk").text
    assert bob.post("/api/undo", json={"key": "x"}).json()["undone"] is False
    (own,) = ann.get("/api/history").json()
    assert bob.get("/api/card", params={"ticket": own["ticket"]}).status_code == 409


def test_who_is_disabled_or_demoted_stops_at_the_next_request(site: LabelingApp) -> None:
    rita, dan = site.client("Rita", "reviewer"), site.client("Dan")
    assert rita.get("/admin/config").status_code == 200
    site.people.set_role("Rita", "annotator")
    assert rita.get("/admin/config").status_code in (401, 403)
    site.people.disable("Dan")
    assert dan.get("/api/desk").status_code == 401


# Guessing.


def test_guessing_a_password_is_locked_out(site: LabelingApp, log: pytest.LogCaptureFixture) -> None:
    site.people.add("Lucy", password=PASSWORD)
    guesser = site.visitor(address="198.51.100.1")
    for number in range(FREE_BY_NAME):
        tried = guesser.post("/sign-in", data={"name": "Lucy", "password": f"hunter{number}"})
        assert tried.status_code == 422
    locked = site.visitor(address="198.51.100.2").post("/sign-in", data={"name": "Lucy", "password": PASSWORD})
    assert locked.status_code == 429
    assert 0 < int(locked.headers["retry-after"]) <= 30
    assert "set-cookie" not in locked.headers
    assert "locked out" in written(log)[-1]
    assert "198.51.100.2" in written(log)[-1]


def test_the_current_password_cannot_be_guessed_through_the_account_page(site: LabelingApp) -> None:
    thief = site.client("Gus")
    for _ in range(FREE_BY_NAME):
        assert thief.post("/account", data={"old": "wrong", "new": "another password"}).status_code == 422
    assert thief.post("/account", data={"old": PASSWORD, "new": "another password"}).status_code == 429


def test_the_log_holds_no_secrets_and_one_line_a_refusal(site: LabelingApp, log: pytest.LogCaptureFixture) -> None:
    token = site.people.invite("annotator")
    client = site.client("Otto")
    session = next(iter(client.cookies.values()))
    client.post("/sign-in", data={"name": "Otto", "password": "my-secret-guess"})
    client.post(f"/invitation/{token}", data={"name": "", "password": "short"})
    client.get("/gradio_api/file=%0aFAKE%20LINE%1b[31m?ticket=secret-ticket")
    client.post("/api/undo", json={"key": "secret-key"}, headers={"origin": "http://evil.test"})
    said = written(log)
    assert len(said) >= 4
    for secret in (token, session, "my-secret-guess", "secret-ticket", "secret-key", "Otto"):
        assert not [line for line in said if secret in line]
    assert not [line for line in said if re.search(r"[\x00-\x1f\x7f]", line)]


# Paths and SQL.


@pytest.mark.parametrize(
    "path",
    ["../labels.db", "..%2flabels.db.secret", "%2e%2e/%2e%2e/etc/passwd", "preferences.jsonl/../../labels.db",
     "/etc/passwd", "preferences", "preferences.json", "PREFERENCES.jsonl", "__class__.jsonl", "..jsonl",
     "preferences.jsonl%00.png", "preferences.jsonl?campaign=../x", "preferences.jsonl?campaign=main'--"],
)  # fmt: skip
def test_an_export_is_a_kind_and_never_a_path(site: LabelingApp, log: pytest.LogCaptureFixture, path: str) -> None:
    client = site.client("Rex", "reviewer")
    log.clear()
    response = client.get(f"/export/{path}")
    assert response.status_code == 404
    # Where the client itself resolves the dots, it asks for a page that is not there.
    if response.request.url.path.startswith("/export/"):
        assert [line for line in written(log) if line.startswith("refused, ")]
    assert "sqlite" not in response.text.lower()
    assert "root:" not in response.text


@pytest.mark.parametrize("path", ["../../server.py", "..%2f..%2fserver.py", "%2e%2e%2fsign_in.html", "/etc/passwd"])
def test_the_pages_scripts_are_no_way_to_other_files(site: LabelingApp, path: str) -> None:
    response = site.client("Ann").get(f"/page/{path}")
    assert response.status_code == 404
    assert "import" not in response.text


@pytest.mark.parametrize("text", ["' OR '1'='1", "Ann'; DROP TABLE annotators; --", 'Ann" --', "%", "_nn", "Ann\x00"])
def test_sql_in_a_name_or_a_password_is_only_text(site: LabelingApp, log: pytest.LogCaptureFixture, text: str) -> None:
    before = rows(site)
    visitor = site.visitor(address=f"203.0.113.{abs(hash(text)) % 250}")
    assert visitor.post("/sign-in", data={"name": text, "password": text}).status_code == 422
    assert "wrong name or password" in written(log)[-1]
    assert visitor.post("/sign-in", data={"name": "Ann", "password": text}).status_code in (422, 429)
    assert visitor.get(f"/invitation/{text.replace(chr(0), '')}").status_code in (200, 404, 422)
    assert rows(site) == before


def test_sql_in_an_answer_is_kept_as_text(site: LabelingApp) -> None:
    client = site.client("Sal")
    text = "'); DELETE FROM events; --"
    card = desk(client)["cards"][0]
    answer = {"verdict": "skip", "reason": text}
    assert client.post("/api/judgements", json={"ticket": card["ticket"], "answer": answer}).status_code == 200
    assert site.store.history(next(p.id for p in site.people.list() if p.name == "Sal"))[0].answer.reason == text


# Too much.


def test_a_huge_request_is_refused(site: LabelingApp) -> None:
    body = b"name=" + b"x" * (2 << 20)
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert site.visitor().post("/sign-in", content=body, headers=headers).status_code == 413
    chunks = (b"x" * (1 << 16) for _ in range(40))  # without saying how long it is
    assert site.visitor().post("/sign-in", content=chunks, headers=headers).status_code == 413


def test_web_sockets_are_refused(site: LabelingApp) -> None:
    client = site.client("Wes")
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/gradio_api/queue/join"):
        pass
