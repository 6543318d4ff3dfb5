"""The admin page and the sign-in pages in a browser: nothing that was typed runs, and what is offered works."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from labeling_ui.data_model import Answer, Judgement
from labeling_ui.notices.keeping import PAUSES, begin, end, settle, take_due
from labeling_ui.people.accounts import Accounts
from labeling_ui.store.store import Store
from labeling_ui.web.admin.figures_cache import SMALL
from tests.labeling_ui.browser.conftest import PASSWORD, PAYLOAD, new_context
from tests.labeling_ui.browser.server_process import served
from tests.labeling_ui.pages import add_pairs

SHORT = "<img src=x onerror='window.ran=1'>${window.ran=1} {{#if 1}}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server over a store in which everything that can be typed is an attack; figures come from another process."""
    path = tmp_path_factory.mktemp("admin") / "labels.db"
    store = Store(path)
    people = Accounts(store.database)
    add_pairs(store, SMALL + 2, overlap=3, suffix=f" I am ChatGPT, made by OpenAI. {PAYLOAD}")
    people.add("Root", "admin", PASSWORD, "root@example.org")
    people.add("Rex", "reviewer", PASSWORD)
    for name in (SHORT, "Bob"):
        who = people.add(name, password=PASSWORD)
        for number in range(12):
            given = store.next_assignment(who.id)
            assert given is not None
            shown = tuple(candidate.id for candidate in given.shown)
            answer = Answer("preferred", winner=shown[number % 2], strength=1, rationale=PAYLOAD, rewrite=PAYLOAD)
            store.record(Judgement(given.task.id, who.id, shown, answer, seconds=3.0))
    with store.database.write() as connection:
        begin(connection, "main", "stalled", "No answer has come.", {"a": "address 1 (json)"}, 1.7e9)
        end(connection, "main", "stalled", 1.8e9)
        begin(connection, "main", "done", "12 tasks.", {"a": "address 1 (json)", "b": "address 2 (mailto)"}, 1.8e9)
        settle(connection, 1, "a", 1.7e9)
        for attempt in range(len(PAUSES)):
            assert take_due(connection, ["a"], 1.9e9 + attempt * 1e6)
        settle(connection, 2, "a", None, "it answered 500")
    store.close()
    with served(path) as (address,):
        yield address, path


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = new_context(browser)
    yield context.new_page()
    context.close()


def enter(page: Page, address: str, name: str) -> None:
    page.goto(f"{address}/sign-in")
    page.get_by_label("Your name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{address}/")
    page.goto(f"{address}/admin")
    expect(page.locator(".tiles")).to_be_visible()


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['help']} ({one['nodes'][0]['html'][:200]})"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_that_was_typed_runs_on_the_admin_page(
    page: Page, site: tuple[str, Path], shoot: Callable[[Page, str], None], scheme: str
) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    outside: list[str] = []
    page.on("request", lambda request: outside.append(request.url) if "127.0.0.1" not in request.url else None)
    enter(page, site[0], "Root")
    expect(page.get_by_role("rowheader", name=SHORT)).to_be_visible()
    wrong = violations(page)
    page.get_by_role("tab", name="Flagged and written").click()
    expect(page.get_by_text("<script>window.ran=1</script>").first).to_be_visible()
    page.get_by_role("tab", name="People").click()
    expect(page.get_by_role("rowheader", name=SHORT)).to_be_visible()
    page.get_by_label("Person").click()  # the names again, as a list to choose from
    expect(page.get_by_role("option", name=SHORT)).to_be_visible()
    page.keyboard.press("Escape")
    wrong += violations(page)
    page.get_by_role("tab", name="Quality").click()
    page.get_by_role("region", name="Notices").scroll_into_view_if_needed()
    shoot(page, f"notices-{scheme}")
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_role("region", name="Notices").scroll_into_view_if_needed()
    shoot(page, f"notices-phone-{scheme}")
    wrong += violations(page)
    page.wait_for_timeout(300)
    assert page.evaluate("window.ran") is None
    assert not [url for url in outside if not url.startswith(("data:", "blob:"))]
    assert wrong == []


def test_an_admin_invites_changes_and_forgets(page: Page, browser: Browser, site: tuple[str, Path]) -> None:
    enter(page, site[0], "Root")
    page.get_by_role("tab", name="People").click()
    page.get_by_role("button", name="Make a one-time link").click()
    box = page.locator("#link").locator("textarea, input").first
    expect(box).to_have_value(re.compile(f"^{site[0]}/invitation/"))
    link = box.input_value()

    context = new_context(browser)
    guest = context.new_page()
    guest.goto(link)
    assert violations(guest) == []
    guest.get_by_label("Your name").fill("Guest <b>x</b>")
    guest.get_by_role("button", name="Start").click()
    guest.wait_for_url(f"{site[0]}/")
    assert guest.goto(f"{site[0]}/admin").status == 403  # type: ignore[union-attr]
    context.close()

    page.get_by_label("Name or e-mail address, typed in full").fill("Guest <b>x</b>")
    page.get_by_role("button", name="Forget").click()
    expect(page.get_by_text("Forgotten. 0 judgements were kept")).to_be_visible()
    page.get_by_label("Name or e-mail address, typed in full").fill(SHORT + "?")
    page.get_by_role("button", name="Forget").click()
    expect(page.get_by_text(f'Not done: there is no person "{SHORT}?"')).to_be_visible()
    assert page.evaluate("window.ran") is None
    store = Store(site[1])
    names = [person.name for person in Accounts(store.database).list()]
    store.close()
    assert not [name for name in names if name.startswith("Guest")]


def test_a_stale_admin_page_does_nothing_as_the_admin_who_has_signed_in_since(
    page: Page, site: tuple[str, Path]
) -> None:
    enter(page, site[0], "Root")
    page.get_by_role("tab", name="People").click()
    store = Store(site[1])
    Accounts(store.database).add("Boss", "admin", PASSWORD)
    store.close()
    assert page.context.request.post(f"{site[0]}/sign-in", form={"name": "Boss", "password": PASSWORD}).ok
    with page.expect_response("**/queue/join*") as reply:
        page.get_by_role("button", name="Make a one-time link").click()
    assert reply.value.status == 403
    expect(page.get_by_text("somebody else has signed in with this browser").first).to_be_visible()
    expect(page.locator("#link").locator("textarea, input").first).to_have_value("")


def test_a_reviewer_sees_figures_and_no_people(page: Page, site: tuple[str, Path]) -> None:
    enter(page, site[0], "Rex")
    expect(page.get_by_role("tab", name="Quality")).to_be_visible()
    expect(page.get_by_role("tab", name="People")).to_have_count(0)
    assert "root@example.org" not in page.content()
    with page.expect_download() as download:
        page.locator("summary", has_text="Download").click()
        page.get_by_role("link", name="preferences.jsonl").click()
    assert download.value.suggested_filename == "preferences.jsonl"


def test_the_sign_in_page_repeats_a_name_as_text(page: Page, site: tuple[str, Path]) -> None:
    page.goto(f"{site[0]}/sign-in")
    page.get_by_label("Your name").fill(f'"><script>window.ran=1</script>{SHORT}'[:60])
    page.get_by_label("Password").fill("wrong password")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("The name or the password is not right.")
    assert page.evaluate("window.ran") is None
    assert violations(page) == []
