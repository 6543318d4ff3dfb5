"""What comes at the wrong moment falsifies nothing: held keys, late refusals, clicks during an undo, a full storage."""

from playwright.sync_api import Page, Route, expect

from tests.labeling_ui.browser.conftest import Site, Visit, acknowledged, finish, press, settle, until, waiting
from tests.labeling_ui.browser.test_live import ask

Sites = dict[str, Site]
SAVE = "**/api/judgements"
FULL = "() => { Storage.prototype.setItem = () => { throw new DOMException('', 'QuotaExceededError') } }"
REFUSED = {"status": 422, "json": {"detail": "It cannot be."}}


def shown(page: Page) -> str:
    return page.locator("[data-card]").get_attribute("data-card") or ""


def name_of(page: Page) -> str:
    return str(page.name)  # type: ignore[attr-defined]


def hold_first(page: Page, url: str) -> list[Route]:
    """The first request to `url` waits until it is let go; the others are left alone."""
    held: list[Route] = []
    page.route(url, lambda route: held.append(route), times=1)
    return held


def test_enter_held_down_on_skip_does_not_skip_without_a_reason(visit: Visit, sites: Sites) -> None:
    page = visit("pairwise", "Ann")
    page.locator("button[data-key=s]").focus()
    for _ in range(3):
        page.keyboard.down("Enter")
    page.keyboard.up("Enter")
    expect(page.locator("dialog[open]")).to_be_visible()
    assert waiting(page) == sites["pairwise"].said(name_of(page)) == []
    press(page, "Enter")  # pressed again, it is meant
    expect(page.locator("dialog[open]")).to_have_count(0)


def test_a_skip_goes_to_the_card_that_it_was_asked_for(visit: Visit, sites: Sites) -> None:
    page = visit("pairwise", "Ann")
    held = hold_first(page, SAVE)
    press(page, "1")
    settle(page)
    press(page, "s")
    until(page, lambda: bool(held))
    held[0].fulfill(**REFUSED)
    expect(page.locator(".alert")).to_contain_text("It cannot be.")
    press(page, "1")
    expect(page.locator("dialog[open]")).to_have_count(0)
    acknowledged(page)
    assert sites["pairwise"].said(name_of(page)) == []


def test_a_refused_card_that_is_answered_again_does_not_come_once_more(visit: Visit, sites: Sites) -> None:
    page = visit("pairwise", "Ann")
    held, first = hold_first(page, SAVE), shown(page)
    press(page, "1")
    settle(page)
    press(page, "2")  # waits behind the first
    until(page, lambda: bool(held))
    held[0].fulfill(**REFUSED)
    expect(page.locator(f"[data-card='{first}']")).to_be_visible()
    acknowledged(page)
    settle(page)
    again = hold_first(page, SAVE)
    press(page, "3")
    settle(page)
    assert shown(page) != first
    until(page, lambda: bool(again))
    again[0].continue_()
    acknowledged(page)
    assert {judgement.answer.strength for judgement in sites["pairwise"].said(name_of(page))} == {2, 1}


def test_a_click_during_an_undo_answers_nothing(visit: Visit, sites: Sites) -> None:
    page = visit("pairwise", "Ann")
    first = shown(page)
    finish(page, "1", done=1)
    held = hold_first(page, "**/api/undo")
    press(page, "u")
    until(page, lambda: bool(held))
    page.locator("button[data-key='6']").click()
    held[0].continue_()
    expect(page.locator(".toast")).to_contain_text("Your last answer was taken back")
    acknowledged(page)
    assert shown(page) == first
    assert sites["pairwise"].said(name_of(page)) == []


def test_an_answer_that_the_browser_cannot_keep_holds_the_page(visit: Visit) -> None:
    page = visit("pairwise", "Ann")
    leave = "(() => { const leave = new Event('beforeunload', {cancelable: true}); return dispatchEvent(leave) })()"
    page.route(SAVE, lambda route: route.abort())
    press(page, "1")
    until(page, lambda: len(waiting(page)) == 1)
    assert page.evaluate(leave), "what is kept in the browser is not lost"
    settle(page)
    page.evaluate(FULL)
    press(page, "1")
    assert not page.evaluate(leave)


def test_a_live_pair_that_the_browser_cannot_keep_is_shown(visit: Visit) -> None:
    page = visit("pairwise", "Ann")
    page.evaluate(FULL)
    ask(page, "Count")
    expect(page.locator("[data-card]")).to_be_visible()
    settle(page)
    with page.expect_response(SAVE) as saved:
        press(page, "2")
    assert saved.value.ok
    expect(page.locator("#live-prompt")).to_be_focused()


def test_the_enter_that_ends_a_composition_asks_nothing(visit: Visit) -> None:
    """Safari sends it after the composition, with the code 229 alone."""
    page = visit("pairwise", "Ann")
    press(page, "l")
    page.locator("#live-prompt").fill("にほん")
    enter = {"key": "Enter", "keyCode": 229, "bubbles": True, "cancelable": True}
    page.locator("#live-prompt").dispatch_event("keydown", enter)
    expect(page.locator("#live-prompt")).to_be_visible()
    expect(page.locator(".live .writing")).to_be_hidden()
