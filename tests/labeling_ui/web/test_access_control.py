"""Who may do what: requests without identity, from another site, or for what is not one's own are refused."""

import re

import pytest

from labeling_ui.people import sessions
from labeling_ui.people.sessions import Sessions
from labeling_ui.web import access_control
from labeling_ui.web.templates import STATIC
from tests.labeling_ui.pages import forged
from tests.labeling_ui.signed_in import HTML, PASSWORD, LabelingApp
from tests.labeling_ui.web.attacked import TIE, desk, rows, written
from tests.labeling_ui.web.test_every_route import routes

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


# From a page that was loaded when somebody else was signed in.


def test_nothing_is_done_or_shown_to_the_page_of_somebody_else(
    site: LabelingApp, log: pytest.LogCaptureFixture
) -> None:
    ann, root = site.client("Ann"), site.client("Root", "admin")
    theirs, own = (client.get("/api/desk").json()["annotator_id"] for client in (ann, root))
    card, before = root.get("/api/desk").json()["cards"][0], rows(site)
    asked = [(method, path) for method, path in routes(site) if not path.startswith(("/sign-in", "/invitation"))]
    assert {("POST", "/api/undo"), ("GET", "/api/history"), ("POST", "/account")} <= {*asked}
    asked += [("POST", path) for path in ("/sign-out", "/gradio_api/queue/join", "/admin/gradio_api/queue/join")]
    for method, path in asked:
        body = {"key": "k", "ticket": card["ticket"], "answer": TIE, "session_hash": "x", "fn_index": 0, "data": []}
        for named in ({"headers": {"x-page-of": theirs}}, {"params": {"page-of": theirs}}):
            refusal = root.request(method, path, json=None if method == "GET" else body, **named)  # type: ignore[arg-type]
            assert (refusal.status_code, refusal.json()) == (403, {"detail": access_control.SOMEBODY_ELSE}), path
    assert rows(site) == before
    assert "from somebody else's page" in written(log)[-1]
    assert root.get("/api/history", headers={"x-page-of": own}).status_code == 200
    assert root.get("/admin/tasks", headers=HTML, params={"page-of": theirs}).text.count(access_control.SOMEBODY_ELSE)


def test_every_form_that_changes_something_says_whose_page_it_is_on() -> None:
    for template in STATIC.rglob("*.html"):
        if template.name != "sign_in.html":  # of its forms, those of nobody have nothing to say
            for form in re.findall(r"<form[^>]*method=\"post\"[^>]*>", template.read_text(encoding="utf-8")):
                assert "?page-of={{ person.id }}" in form, template.name


def test_the_password_page_says_whose_it_is(site: LabelingApp) -> None:
    ann = site.client("Ann")
    own = ann.get("/api/desk").json()["annotator_id"]
    assert f'action="?page-of={own}"' in ann.get("/account").text
    assert "page-of" not in site.visitor().get("/sign-in").text
