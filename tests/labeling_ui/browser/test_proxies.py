"""Behind nginx and Caddy, as `deploy/` sets them up: under a sub-path, with TLS, in a browser."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from labeling_ui.people.accounts import Accounts
from labeling_ui.store.store import Store
from tests.labeling_ui.browser import proxies
from tests.labeling_ui.browser.conftest import PASSWORD, acknowledged, new_context, press, settle
from tests.labeling_ui.pages import fill_kind

HOST_LINE = "        proxy_set_header Host $http_host;\n"
TLS_LINE = "        proxy_set_header X-Forwarded-Proto $scheme;\n"
needs_nginx = pytest.mark.skipif(
    not (proxies.NGINX and proxies.OPENSSL), reason="no nginx or openssl here (apt-get install nginx-light openssl)"
)
needs_caddy = pytest.mark.skipif(not proxies.CADDY, reason="no Caddy here (apt-get install caddy)")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The port of an app under /labels, and its log; Ada is its admin."""
    folder = tmp_path_factory.mktemp("proxied")
    store = Store(folder / "labels.db")
    fill_kind(store, kind="pairwise", n=8, overlap=100)
    Accounts(store.database).add("Ada", "admin", PASSWORD)
    store.close()
    with proxies.served(folder / "labels.db", "/labels", folder / "log") as port:
        yield port, folder / "log"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    wrong: list[str] = []
    context = new_context(browser, ignore_https_errors=True, locale="en-GB")
    page = context.new_page()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("response", lambda answer: wrong.append(answer.url) if answer.status == 404 else None)
    yield page
    context.close()
    assert not wrong


def sign_in(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_label("Name").fill("Ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button").click()


def at_a_card(page: Page) -> None:
    expect(page.locator("[data-card]")).to_be_visible()
    settle(page)


@pytest.mark.parametrize("kind", [pytest.param("nginx", marks=needs_nginx), pytest.param("caddy", marks=needs_caddy)])
def test_a_person_signs_in_answers_and_invites_under_a_sub_path(
    app: tuple[int, Path], page: Page, browser: Browser, tmp_path: Path, kind: str
) -> None:
    with getattr(proxies, kind)(tmp_path / kind, app[0]) as address:
        sign_in(page, f"{address}/labels")
        expect(page).to_have_url(f"{address}/labels/")
        at_a_card(page)
        with page.expect_response("**/labels/api/judgements") as saved:
            press(page, "1")
        assert saved.value.ok, saved.value.text()
        acknowledged(page)
        (cookie,) = [one for one in page.context.cookies() if one["name"].endswith("_session")]
        assert (cookie["name"], cookie["path"], cookie["secure"]) == ("__Secure-rlhf_session", "/labels", True)
        page.locator("a[href=admin]").click()
        page.get_by_role("tab", name="People").click()
        page.get_by_role("button", name="Make a one-time link").click()
        link = page.locator("#link textarea, #link input")
        page.wait_for_function("document.querySelector('#link textarea, #link input')?.value")
        invitation = link.input_value()
        assert invitation.startswith(f"{address}/labels/invitation/")
        page.get_by_role("link", name="Tasks").click()
        page.locator("a.asked").first.click()
        expect(page).to_have_url(re.compile(re.escape(f"{address}/labels/admin/tasks/")))
        page.get_by_role("button", name="Sign out").click()
        expect(page).to_have_url(f"{address}/labels/sign-in")
        invited = new_context(browser, ignore_https_errors=True).new_page()
        invited.goto(invitation)
        invited.get_by_label("Name").fill(f"Ivy {kind}")
        invited.get_by_role("button").click()
        at_a_card(invited)
        invited.context.close()


@needs_nginx
@pytest.mark.parametrize(
    ("line", "said"),
    [
        (HOST_LINE, "proxy_set_header Host $http_host;"),
        (TLS_LINE, "proxy_set_header X-Forwarded-Proto $scheme;"),
    ],
    ids=["host", "tls"],
)
def test_a_line_that_nginx_lacks_is_named_on_the_page_and_in_the_log(
    app: tuple[int, Path], page: Page, tmp_path: Path, line: str, said: str
) -> None:
    with proxies.nginx(tmp_path / "nginx", app[0], lambda text: _without(text, line)) as address:
        sign_in(page, f"{address}/labels/")
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text(said)
        expect(alert).to_contain_text(address)
        assert said in app[1].read_text()
        assert address in app[1].read_text()


def _without(text: str, line: str) -> str:
    assert line in text
    return text.replace(line, "")
