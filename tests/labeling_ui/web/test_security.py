"""Attacks on the web server: each is refused, changes nothing, and is written down without secrets."""

import re

import pytest
from starlette.websockets import WebSocketDisconnect

from labeling_ui.people.lockout import FREE_BY_NAME
from tests.labeling_ui.signed_in import PASSWORD, LabelingApp
from tests.labeling_ui.web.attacked import desk, rows, written

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
