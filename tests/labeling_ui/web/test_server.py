"""The web server: signing in and out, the first start, exports, and starting at all."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.routing import Mount

from foundation.errors import UserError
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Judgement
from labeling_ui.exchange.exports.registry import KINDS, export
from labeling_ui.people.signing_secret import secret_beside_file
from labeling_ui.store.store import Store
from labeling_ui.web.app import EVENT_PAUSE
from labeling_ui.web.server import serve, unasked
from tests.labeling_ui.pages import add_pairs
from tests.labeling_ui.signed_in import HTML, PASSWORD, LabelingApp, open_app

SERVE = "import sys; from labeling_ui.web.server import serve; serve(sys.argv[1], port=0)"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelingApp]:
    site = open_app(tmp_path_factory.mktemp("labels"))
    yield site
    site.store.close()


def test_a_server_that_nobody_visits_hardly_wakes(site: LabelingApp) -> None:
    mounted = [route.app for route in site.app.routes if isinstance(route, Mount)]
    queues = [page.get_blocks()._queue for page in mounted if hasattr(page, "get_blocks")]
    assert len(queues) == 2
    for queue in queues:  # by default, Gradio's wakes a thousand times a second
        assert queue.sleep_when_free == queue.progress_update_sleep_when_free == EVENT_PAUSE >= 0.01


def test_signing_in_gives_a_lax_cookie_and_the_page(site: LabelingApp) -> None:
    client = site.visitor()
    assert client.get("/", headers=HTML).headers["location"] == "/sign-in"
    site.people.add("First", password=PASSWORD)
    response = client.post("/sign-in", data={"name": " First ", "password": PASSWORD})
    assert (response.status_code, response.headers["location"]) == (303, "/")
    cookie = response.headers["set-cookie"].lower()
    assert cookie.startswith("rlhf_session=")
    assert all(part in cookie for part in ("samesite=lax", "httponly", "path=/"))
    assert "secure" not in cookie
    page = client.get("/", headers=HTML)
    assert page.status_code == 200
    assert "gradio_config" in page.text
    assert client.get("/sign-in").status_code == 303
    assert client.get("/api/desk").json()["annotator"] == "First"


def test_over_tls_the_cookie_is_bound_to_it(site: LabelingApp) -> None:
    client = site.client("Tess", base="https://labels.test")
    cookies = list(client.cookies.jar)
    assert {cookie.name for cookie in cookies} == {"__Host-rlhf_session", "__Host-rlhf_device"}
    assert all(cookie.secure for cookie in cookies)
    response = client.get("/api/desk")
    assert response.status_code == 200
    assert "max-age" in response.headers["strict-transport-security"]


def test_signing_out_ends_every_copy_of_the_session(site: LabelingApp) -> None:
    client, thief = site.client("Sid"), site.visitor()
    thief.cookies.update(client.cookies)
    assert thief.get("/api/desk").status_code == 200
    assert client.post("/sign-out").headers["location"] == "/sign-in"
    assert thief.get("/api/desk").status_code == 401
    assert client.get("/api/desk").status_code == 401


def test_an_invitation_is_accepted_once_and_not_by_looking(site: LabelingApp) -> None:
    link = f"/invitation/{site.people.invite('annotator')}"
    for _ in range(2):  # as when a messenger fetches a preview
        assert "You are invited" in site.visitor().get(link).text
    client = site.visitor()
    assert client.post(link, data={"name": "Ivy", "password": ""}).status_code == 303
    assert client.get("/api/desk").json()["annotator"] == "Ivy"
    again = site.visitor().post(link, data={"name": "Ivo"})
    assert again.status_code == 422
    assert "used already" in again.text
    assert "set-cookie" not in again.headers


def test_a_form_is_shown_again_with_what_is_wrong(site: LabelingApp) -> None:
    link = f"/invitation/{site.people.invite('admin')}"
    response = site.visitor().post(link, data={"name": '"><script>x</script>', "password": "short"})
    assert response.status_code == 422
    assert 'role="alert"' in response.text
    assert "<script>" not in response.text
    assert site.visitor().post(link, data={"name": "Ada", "password": PASSWORD}).status_code == 303


def test_another_password_ends_the_other_sessions(site: LabelingApp) -> None:
    here, there = site.client("Pat"), site.client("Pat")
    assert here.post("/account", data={"old": "wrong", "new": "another password"}).status_code == 422
    assert there.get("/api/desk").status_code == 200
    assert "was changed" in here.post("/account", data={"old": PASSWORD, "new": "another password"}).text
    assert here.get("/api/desk").status_code == 200
    assert there.get("/api/desk").status_code == 401
    assert site.visitor().post("/sign-in", data={"name": "Pat", "password": PASSWORD}).status_code == 422


def test_the_forms_speak_the_visitors_language(site: LabelingApp) -> None:
    assert "\u767b\u5f55" in site.visitor().get("/sign-in", headers={"accept-language": "zh-CN,zh;q=0.9"}).text


@pytest.mark.parametrize("kind", KINDS)
def test_a_reviewer_downloads_what_export_gives(site: LabelingApp, kind: str) -> None:
    client = site.client("Rex", "reviewer")
    if not list(site.store.judgements()):
        site.client("Voter")
        (voter,) = [one for one in site.people.list() if one.name == "Voter"]
        shown = site.store.assignments(voter.id)[0]
        ids = tuple(candidate.id for candidate in shown.shown)
        site.store.record(Judgement(shown.task.id, voter.id, ids, Answer("preferred", winner=ids[0])))
    response = client.get(f"/export/{kind}.jsonl")
    assert response.status_code == 200
    assert [json.loads(line) for line in response.text.splitlines()] == export(site.store, kind)
    assert response.headers["content-disposition"] == f'attachment; filename="{kind}.jsonl"'
    assert client.get(f"/export/{kind}.jsonl?campaign=main").text == response.text


@pytest.mark.parametrize("path", ["/sign-in", "/", "/config", "/api/desk", "/admin/", "/nowhere"])
def test_every_answer_has_the_security_headers(site: LabelingApp, path: str) -> None:
    headers = site.client("Hal", "admin").get(path, headers=HTML).headers
    assert re.search(r"default-src '(self|none)'", headers["content-security-policy"])
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


def test_where_a_password_is_typed_no_script_can_run(site: LabelingApp) -> None:
    headers = site.visitor().get("/sign-in").headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "script-src" not in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"


# Starting.


def started(path: Path, code: str = SERVE, **more: str) -> tuple[subprocess.Popen[str], str, str]:
    """A server process, its address, and the rest of what it said at the start."""
    server = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **more},
    )
    assert server.stdout
    said = server.stdout.readline()
    found = re.search(r"http://\S+", said)
    assert found, said + (server.stderr.read() if server.stderr else "")
    return server, found[0], said


def test_the_first_start_makes_an_admin_and_the_second_does_not(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    store = Store(path)
    add_pairs(store, 1)
    store.close()
    server, address, _ = started(path)
    with server:
        assert server.stdout
        assert "become its admin" in server.stdout.readline()
        link = server.stdout.readline().strip()
        assert link.startswith(f"{address}/invitation/")
        with httpx.Client(base_url=address, timeout=60) as client:
            assert client.post(link, data={"name": "Root", "password": PASSWORD}).status_code == 303
            assert client.get("/api/desk").json()["role"] == "admin"
            kept = dict(client.cookies)
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0

    store = Store(path)
    store.add_campaign(Campaign(name="order", kind="ranking"))
    store.close()
    server, address, _ = started(path)
    with server:
        # A sign-in outlives a restart. Behind a proxy on this machine, the cookie over TLS is another one.
        assert httpx.get(f"{address}/api/desk", cookies=kept, timeout=60).json()["annotator"] == "Root"
        given = {"name": "Root", "password": PASSWORD}
        secure = httpx.post(f"{address}/sign-in", data=given, headers={"x-forwarded-proto": "https"}, timeout=60)
        assert secure.headers["set-cookie"].startswith("__Host-rlhf_session=")
        assert "Secure" in secure.headers["set-cookie"]
        server.terminate()
        assert server.stdout
        out = server.stdout.read()  # with what was read ahead of the first line
        assert "invitation" not in out
        assert 'The campaign "order" (ranking) has no tasks' in out


AT_GRADIO = """
import sys

class AtGradio:
    def find_spec(self, name, path=None, target=None):
        if name == "gradio":
            if sys.stdin.readline().strip() == "fail":
                raise ImportError("gradio is broken")

sys.meta_path.insert(0, AtGradio())
"""


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    store = Store(tmp_path / "labels.db")
    add_pairs(store, 1)
    store.close()
    return tmp_path / "labels.db"


def test_whoever_opens_the_address_while_the_app_loads_gets_the_page(labels: Path) -> None:
    server, address, _ = started(labels, AT_GRADIO + SERVE)
    with server, socket.create_connection((httpx.URL(address).host, httpx.URL(address).port or 0), 60) as browser:
        browser.sendall(b"GET /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert server.stdin
        server.stdin.write("load\n")
        server.stdin.flush()
        with browser.makefile("rb") as answer:
            assert answer.readline() == b"HTTP/1.1 200 OK\r\n"
            assert b"<form" in answer.read()
        server.terminate()


def test_an_app_that_cannot_be_loaded_ends_the_server_with_the_reason(labels: Path) -> None:
    server, _, _ = started(labels, AT_GRADIO + SERVE)
    _, err = server.communicate("fail\n", timeout=60)
    assert server.returncode == 1
    assert err.splitlines()[-1] == "ImportError: gradio is broken"


def test_an_empty_store_says_how_to_fill_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"nothing to label.*collect.*import"):
        serve(tmp_path / "labels.db")
    assert not capsys.readouterr().out


def test_a_campaign_without_tasks_is_named_unless_its_prompts_are_typed(tmp_path: Path) -> None:
    store = Store(tmp_path / "labels.db")
    add_pairs(store, 1)
    assert list(unasked(store, live=False)) == []
    store.add_campaign(Campaign(name="order", kind="ranking"))
    store.add_campaign(Campaign(name="typed", live=True))
    (told,) = unasked(store, live=True)
    assert told.startswith('The campaign "order" (ranking) has no tasks')
    assert "`rlhf collect --set label.kind=ranking --set label.name=order`" in told
    (told,) = unasked(store, live=True, run=" --run runs/mine")
    assert "--set label.name=order --run runs/mine`" in told
    assert len(list(unasked(store, live=False))) == 2
    store.close()


def test_a_busy_port_and_a_wrong_host_are_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    store = Store(path)
    add_pairs(store, 1)
    store.close()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port}: another program.*--port"):
            serve(path, port=port)
    with pytest.raises(UserError, match=r"cannot serve on 256\.1\.1\.1"):
        serve(path, host="256.1.1.1")


def test_the_secret_is_kept_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    secret = secret_beside_file(path)
    assert secret is not None
    assert len(secret) == 64
    assert secret_beside_file(f"sqlite:///{path}") == secret
    assert [stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()] == [0o600]
    assert secret_beside_file("postgresql://db/labels") is None
