"""Under a sub-path, and behind proxies that are set up wrongly. `browser/test_proxies.py` has real ones."""

import asyncio
from collections.abc import Iterator

import pytest

from labeling_ui.people.accounts import Accounts
from labeling_ui.store.store import Store
from labeling_ui.web.app import build_app
from labeling_ui.web.proxy.sub_path import valid_sub_path
from tests.labeling_ui.pages import add_pairs
from tests.labeling_ui.signed_in import HTML, PASSWORD, LabelingApp
from tests.labeling_ui.web.attacked import written


@pytest.fixture(scope="module")
def below(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelingApp]:
    """The app under /labels."""
    store = Store(tmp_path_factory.mktemp("below") / "labels.db")
    add_pairs(store, 3, overlap=100)

    async def build() -> LabelingApp:
        return LabelingApp(store, Accounts(store.database), build_app(store, "secret", root_path="/labels"))

    yield asyncio.run(build())
    store.close()


@pytest.mark.parametrize("prefix", ["/labels", ""], ids=["passed on", "stripped"])
def test_every_address_begins_with_the_sub_path_however_a_request_comes(below: LabelingApp, prefix: str) -> None:
    visitor = below.visitor()
    assert visitor.get(f"{prefix}/", headers=HTML).headers["location"] == "/labels/sign-in"
    name = f"Ada{len(prefix)}"
    below.people.add(name, "admin", PASSWORD)
    signed_in = visitor.post(f"{prefix}/sign-in", data={"name": name, "password": PASSWORD})
    assert signed_in.headers["location"] == "/labels/"
    cookie = signed_in.headers["set-cookie"]
    assert "; path=/labels;" in cookie.lower()
    own = {"cookie": cookie.partition(";")[0]}
    assert visitor.get(f"{prefix}/admin", headers=own).headers["location"] == "/labels/admin/"
    for page in ("/admin/tasks", "/admin/instructions/main", "/admin/work", "/account"):
        text = visitor.get(f"{prefix}{page}", headers=own).text
        assert 'href="/labels/' in text
        assert not [kind for kind in ('href="/', 'action="/') if text.count(kind) > text.count(f"{kind}labels/")]
    config = visitor.get(f"{prefix}/admin/config", headers=own).json()
    assert config["root"] == "http://labels.test/labels/admin"
    deleted = visitor.post(f"{prefix}/sign-out", headers=own)
    assert deleted.headers["location"] == "/labels/sign-in"
    assert "path=/labels;" in deleted.headers["set-cookie"].lower()


def test_without_its_slash_the_sub_path_leads_to_it(below: LabelingApp) -> None:
    response = below.visitor().get("/labels?x=1")
    assert (response.status_code, response.headers["location"]) == (307, "/labels/?x=1")


def test_what_is_closed_is_closed_under_a_sub_path(below: LabelingApp, caplog: pytest.LogCaptureFixture) -> None:
    for prefix in ("/labels", ""):
        assert below.visitor().get(f"{prefix}/admin/tasks").status_code == 401
    ann = below.client("Ann")
    own = {"cookie": "; ".join(f"{name}={value}" for name, value in ann.cookies.items())}
    for prefix in ("/labels", ""):
        visitor = below.visitor()
        assert visitor.get(f"{prefix}/admin/tasks", headers=own).status_code == 403
        assert visitor.get(f"{prefix}/export/answers.jsonl", headers=own).status_code == 403
        assert visitor.get(f"{prefix}/gradio_api/info", headers=own).status_code == 404
    token = below.people.invite("annotator")
    below.visitor().post(f"/labels/invitation/{token}", data={"name": ""})
    assert "/invitation/…" in written(caplog)[-1].encode().decode("unicode_escape")
    assert token not in caplog.text


def test_gradio_does_not_believe_forwarded_headers_of_just_anybody(below: LabelingApp) -> None:
    client = below.client("Greta")
    own = {"cookie": "; ".join(f"{name}={value}" for name, value in client.cookies.items())}
    lies = {"x-forwarded-host": "evil.test", "x-forwarded-proto": "https", "x-gradio-server": "http://evil.test"}
    assert below.visitor().get("/labels/config", headers={**own, **lies}).json()["root"] == "http://labels.test/labels"


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"origin": "https://label.example.org", "host": "127.0.0.1:7860"},
         ["https://label.example.org", "127.0.0.1:7860", "proxy_set_header Host $http_host;"]),
        ({"origin": "https://labels.test:8443"}, ["https://labels.test:8443", "proxy_set_header Host $http_host;"]),
        ({"origin": "https://labels.test"}, ["https://labels.test", "proxy_set_header X-Forwarded-Proto $scheme;"]),
        ({"origin": "https://labels.test", "x-forwarded-proto": "https"}, ["FORWARDED_ALLOW_IPS=192.0.2.1"]),
    ],
    ids=["host", "port", "proto", "not believed"],
)  # fmt: skip
def test_a_refusal_names_the_line_that_mends_it(
    below: LabelingApp, caplog: pytest.LogCaptureFixture, headers: dict[str, str], named: list[str]
) -> None:
    for accept in ({}, HTML):
        response = below.visitor().post("/labels/sign-in", data={"name": "x"}, headers={**headers, **accept})
        assert response.status_code == 403
        for text in named:
            assert text in response.text
            assert text in written(caplog)[-1]


def test_what_the_headers_say_is_only_text_on_the_page(below: LabelingApp) -> None:
    headers = {**HTML, "origin": "https://<script>alert(1)</script>" + "x" * 5000}
    response = below.visitor().post("/labels/sign-in", data={"name": "x"}, headers=headers)
    assert "<script>" not in response.text
    assert "x" * 200 not in response.text


@pytest.mark.parametrize("given", ["/labels", "labels", "/labels/", " labels/ "])
def test_a_sub_path_has_one_spelling(given: str) -> None:
    assert valid_sub_path(given) == "/labels"


@pytest.mark.parametrize(
    "given", ["https://example.org/labels", "/a b", "/../x", "/a//b", "/admin", "/page/x", "/ä", "/a?b", "/" + "a/" * 9]
)
def test_what_is_no_sub_path_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="/labels"):
        valid_sub_path(given)
