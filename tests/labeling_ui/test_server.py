"""The web server around the labeling page: identity, other sites, start-up."""

import asyncio
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from rlhf_pipeline.errors import UserError
from rlhf_pipeline.labeling_ui.server import build_app, kept_secret, serve, tidy_name
from rlhf_pipeline.labeling_ui.store import Store
from tests.labeling_ui.pages import add_pairs

HTML = {"accept": "text/html"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(tmp_path_factory.mktemp("labels") / "labels.db")
    add_pairs(store, 2)
    store.annotator("A robot", simulated=True)
    yield store
    store.close()


@pytest.fixture(scope="module")
def app(store: Store) -> FastAPI:
    async def build() -> FastAPI:
        return build_app(store, "secret")

    return asyncio.run(build())  # where no loop runs, Gradio makes some and leaves them open


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    return TestClient(app, base_url="http://labels.test", follow_redirects=False)


def test_without_identity_a_page_leads_to_sign_in(client: TestClient) -> None:
    response = client.get("/", headers=HTML)
    assert response.status_code == 303
    assert response.headers["location"] == "sign-in"
    assert "Your name" in client.get("/sign-in").text


@pytest.mark.parametrize("path", ["/config", "/gradio_api/info", "/gradio_api/heartbeat/x", "/assets/x.js", "/docs"])
def test_without_identity_nothing_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 401


@pytest.mark.parametrize("path", ["queue/join", "run/answer", "upload", "component_server"])
def test_without_identity_nothing_can_be_done(client: TestClient, path: str) -> None:
    body = {"data": [], "fn_index": 0, "session_hash": "x", "username": "Ann"}
    assert client.post(f"/gradio_api/{path}", json=body).status_code == 401


def test_sign_in_gives_a_lax_cookie_and_the_page(client: TestClient) -> None:
    response = client.post("/sign-in", data={"name": " Ann   Onymous "})
    assert response.status_code == 303
    cookie = response.headers["set-cookie"].lower()
    assert "samesite=lax" in cookie
    assert "httponly" in cookie
    assert client.get("/gradio_api/user").json() == "Ann Onymous"
    page = client.get("/", headers=HTML)
    assert page.status_code == 200
    assert "gradio_config" in page.text
    assert client.get("/sign-in").status_code == 303


def test_a_changed_cookie_is_no_identity(client: TestClient) -> None:
    client.post("/sign-in", data={"name": "Ann"})
    name, value = next(iter(client.cookies.items()))
    client.cookies.clear()
    client.cookies.set(name, "x" + value[1:])
    assert client.get("/config").status_code == 401


def test_sign_out_ends_it(client: TestClient) -> None:
    client.post("/sign-in", data={"name": "Ann"})
    assert client.post("/sign-out").status_code == 303
    assert client.get("/config").status_code == 401


@pytest.mark.parametrize("name", ["", "   ", "a\u202eb", "x" * 61, "A robot"])
def test_a_name_that_cannot_be_used_is_asked_for_again(client: TestClient, name: str) -> None:
    response = client.post("/sign-in", data={"name": name})
    assert response.status_code == 422
    assert 'class="problem"' in response.text
    assert "set-cookie" not in response.headers


def test_the_sign_in_page_escapes_what_it_repeats(client: TestClient) -> None:
    response = client.post("/sign-in", data={"name": '"><script>x</script>' + "y" * 60})
    assert "<script>" not in response.text


@pytest.mark.parametrize("path", ["/sign-in", "/sign-out", "/gradio_api/queue/join"])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.test"},
        {"origin": "null"},
        {"origin": "http://labels.test.evil.test"},
        {"sec-fetch-site": "cross-site"},
    ],
    ids=str,
)
def test_another_site_is_refused(client: TestClient, path: str, headers: dict[str, str]) -> None:
    client.post("/sign-in", data={"name": "Ann"})
    assert client.post(path, data={"name": "Eve"}, headers=headers).status_code == 403
    assert client.get("/gradio_api/user").json() == "Ann"


def test_the_own_site_is_not_refused(client: TestClient) -> None:
    response = client.post("/sign-in", data={"name": "Ann"}, headers={"origin": "http://labels.test"})
    assert response.status_code == 303


@pytest.mark.parametrize("path", ["/sign-in", "/", "/config"])
def test_every_answer_forbids_outside_resources(client: TestClient, path: str) -> None:
    client.post("/sign-in", data={"name": "Ann"})
    headers = client.get(path, headers=HTML).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_names_have_one_spelling() -> None:
    assert tidy_name(" Jose\u0301  Ruiz\n") == "Jos\u00e9 Ruiz"


def test_an_empty_store_says_how_to_fill_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing to label.*collect.*import"):
        serve(tmp_path / "labels.db")


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
    secret = kept_secret(path)
    assert secret is not None
    assert len(secret) == 64
    assert kept_secret(f"sqlite:///{path}") == secret
    assert [stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()] == [0o600]
    assert kept_secret("postgresql://db/labels") is None
