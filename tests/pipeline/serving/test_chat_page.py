"""The chat page in a real Chromium: columns that grow, a blind vote, and models that write what could become code."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from labeling_ui.campaign import Campaign
from tests.labeling_ui.browser.conftest import CHROMIUM, FLAGS, MARKDOWN, PAYLOAD, ROOT, new_context
from tests.pipeline.serving.conftest import PASSWORD, Site, open_site
from tests.pipeline.serving.test_chat import Scripted, said
from tests.pipeline.serving.test_limits import until

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def artifacts() -> Path:
    """Where screenshots are kept."""
    folder = Path(os.environ.get("TEST_ARTIFACTS", ROOT / "test-artifacts")) / "serving"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[[Site, str], Page]]:
    """A page of somebody who is signed in; a page error, or a request to anywhere else, fails the test at its end."""
    context = new_context(browser, viewport={"width": 1280, "height": 800}, locale="en-GB")
    wrong: list[str] = []

    def go(site: Site, name: str) -> Page:
        with site.visitor(name):
            pass
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith((site.address, "data:", "blob:")) else wrong.append(request.url)
            ),
        )
        form = {"name": name, "password": PASSWORD}
        assert page.context.request.post(f"{site.address}/sign-in", form=form).ok
        page.goto(site.address)
        expect(page.locator("#message")).to_be_focused()
        return page

    yield go
    context.close()
    assert not wrong


def ask(page: Page, text: str) -> None:
    page.locator("#message").fill(text)
    page.keyboard.press("Enter")


def test_two_columns_grow_and_a_blind_vote_is_stored_with_its_sides(
    site: Site, visit: Callable[[Site, str], Page], hold: Callable[[], None], artifacts: Path
) -> None:
    page = visit(site, "Ann Looks")
    page.get_by_label("Blind").check()
    page.get_by_label("Right").select_option("round-001")
    ask(page, "tell me of the cat")
    expect(page.get_by_text("The models are writing")).to_be_visible()
    for column in (0, 1):  # each has its first letters while neither has ended
        expect(page.locator(".exchange .response .text").nth(column)).not_to_be_empty()
    assert page.locator(".votes").count() == 0
    assert site.engine.places == (2, 0)
    page.screenshot(path=artifacts / "chat-writing.png")
    hold()
    expect(page.locator(".votes button").first).to_be_visible()
    shown = page.locator(".exchange").inner_text()
    assert "round-001" not in shown
    assert page.locator(".exchange .side").all_inner_texts() == ["Left", "Right"]
    with page.expect_response("**/api/chat/vote") as saved:
        page.get_by_role("button", name="Right is better").click()
    assert saved.value.ok
    expect(page.get_by_text("Your vote is saved.")).to_be_visible()
    page.get_by_role("button", name="Show which is which").click()
    expect(page.locator(".exchange .side").first).to_have_text(re.compile("base|round-001"))
    page.screenshot(path=artifacts / "chat-voted.png")
    sides = page.locator(".exchange .side").all_inner_texts()
    (judgement,) = said(site, "Ann Looks")
    candidates = {one.id: one for one in site.store.candidates()}
    assert judgement.side == "right"
    assert [candidates[id].source["served_as"] for id in judgement.shown] == sides
    assert sorted(sides) == ["base", "round-001"]
    assert candidates[judgement.shown[1]].source["blind"] is True
    assert (judgement.seconds or 0) > 0


@pytest.fixture(scope="module")
def hostile(tiny_model: Path, adapters: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    script = Scripted(base=f"{PAYLOAD}{MARKDOWN}", champion=f"{MARKDOWN}{PAYLOAD}")
    with open_site(tiny_model, adapters, tmp_path_factory.mktemp("hostile"), write=script) as opened:
        yield opened


def test_what_models_and_people_write_never_becomes_code(
    hostile: Site, visit: Callable[[Site, str], Page], artifacts: Path
) -> None:
    page = visit(hostile, f"Ann <b>{'x' * 20}")
    ask(page, PAYLOAD)
    first = page.locator(".exchange .response").first
    for rendered in ("h1", "ol > li", "pre code .nb", "table td"):
        expect(first.locator(rendered).first).to_be_visible()
    expect(page.locator(".turn.asked .text")).to_have_text(PAYLOAD)
    assert page.locator(".exchange").locator("a, img, svg, script").count() == 0
    with page.expect_response("**/api/chat/vote"):
        page.get_by_role("button", name="Equally good").click()
    ask(page, "again")
    expect(page.locator(".exchange")).to_have_count(2)
    expect(page.locator(".votes").nth(1)).to_be_visible()
    assert page.evaluate("window.ran") is None
    page.screenshot(path=artifacts / "chat-hostile.png")
    (judgement,) = said(hostile, f"Ann <b>{'x' * 20}")
    assert judgement.answer.verdict == "tie"


def test_the_answers_can_be_stopped_and_the_message_is_kept(
    site: Site, visit: Callable[[Site, str], Page], hold: Callable[[], None]
) -> None:
    page = visit(site, "Bob Looks")
    ask(page, "tell me of the cat")
    expect(page.locator(".exchange .response .text").first).not_to_be_empty()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".exchange")).to_have_count(0)
    expect(page.locator("#message")).to_have_value("tell me of the cat")
    until(lambda: site.engine.places == (0, 0))
    hold()
    page.keyboard.press("Enter")
    expect(page.locator(".votes")).to_be_visible()


def test_the_page_speaks_chinese_and_fits_a_phone(
    hostile: Site, visit: Callable[[Site, str], Page], artifacts: Path
) -> None:
    page = visit(hostile, "Cid Looks")
    page.set_viewport_size({"width": 390, "height": 780})
    page.get_by_label("Language").select_option("zh")
    expect(page.get_by_role("button", name="发送")).to_be_visible()
    ask(page, "hello")
    expect(page.locator(".votes")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.screenshot(path=artifacts / "chat-phone.png")


def test_a_required_reason_is_written_on_the_page_and_an_old_turn_takes_no_vote(
    tiny_model: Path, adapters: Mapping[str, Path], tmp_path: Path, visit: Callable[[Site, str], Page]
) -> None:
    script = Scripted(base="of the base", champion="of the champion")
    with open_site(tiny_model, adapters, tmp_path, write=script) as site:
        site.store.add_campaign(Campaign(name="main", live=True, rationale="required"))
        page = visit(site, "Dee Looks")
        ask(page, "hello")
        page.get_by_role("button", name="Equally good").click()
        expect(page.get_by_text("Write down your reason first.")).to_be_visible()
        page.get_by_label("Why?").fill("The same to me.")
        held: list[Route] = []
        page.route("**/api/chat/vote", lambda route: held.append(route), times=1)
        page.get_by_role("button", name="Equally good").click()
        ask(page, "again")
        expect(page.locator(".votes")).to_have_count(2)
        held[0].continue_()  # only now: it is not about the answers that came since
        expect(page.get_by_text("The conversation has gone on")).to_be_visible()
        assert page.locator(".votes").first.locator("button:enabled").count() == 0
        assert said(site, "Dee Looks") == []
        page.get_by_label("Why?").nth(1).fill("The left is kinder.")
        page.get_by_role("button", name="Left is better").nth(1).click()
        expect(page.get_by_text("Your vote is saved.")).to_be_visible()
        (judgement,) = said(site, "Dee Looks")
    assert judgement.answer.rationale == "The left is kinder."
