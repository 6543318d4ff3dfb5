"""Input that was meant for something else answers no card, and a text that nobody wrote is no rewrite."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.labeling_ui.browser.conftest import Site, Visit, acknowledged, as_written, finish, press, settle, until

Sites = dict[str, Site]


def centre(page: Page, selector: str) -> tuple[float, float]:
    box = page.locator(selector).bounding_box()
    assert box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def click(page: Page, place: tuple[float, float], count: int) -> None:
    """The first, second, ... of several quick clicks."""
    page.mouse.move(*place)
    page.mouse.down(click_count=count)
    page.mouse.up(click_count=count)


def answers(page: Page, site: Site) -> int:
    acknowledged(page)
    return len(site.said(page.name))  # type: ignore[attr-defined]


@pytest.mark.parametrize("pause", [0, 250])
def test_a_double_click_answers_one_card(visit: Visit, sites: Sites, pause: int) -> None:
    page, site = visit("pairwise", "Ann"), sites["pairwise"]
    place = centre(page, "[data-key='1']")
    click(page, place, 1)
    page.wait_for_timeout(pause)
    click(page, place, 2)
    page.wait_for_timeout(pause)
    click(page, place, 3)
    assert answers(page, site) == 1
    settle(page)
    click(page, place, 1)
    until(page, lambda: answers(page, site) == 2)
    settle(page)
    page.locator("[data-key='t']").focus()
    press(page, "Space")  # a key that clicks a button
    until(page, lambda: answers(page, site) == 3)


def test_a_double_click_on_undo_takes_one_answer_back(visit: Visit, sites: Sites) -> None:
    page = visit("pairwise", "Ann")
    finish(page, "1", done=1)
    finish(page, "2", done=2)
    place = centre(page, "[data-key='u']")
    with page.expect_response("**/api/undo"):
        click(page, place, 1)
    expect(page.locator(".toast")).to_contain_text("taken back")
    page.wait_for_timeout(200)
    click(page, place, 2)
    page.wait_for_timeout(200)
    assert answers(page, sites["pairwise"]) == 1


def test_a_double_click_on_skip_gives_no_reason(visit: Visit, sites: Sites) -> None:
    page = visit("rating", "Ann")
    click(page, centre(page, "[data-key='s']"), 1)
    expect(page.locator("dialog")).to_be_visible()
    click(page, centre(page, "dialog [data-key='2']"), 2)
    expect(page.locator("dialog")).to_be_visible()
    assert answers(page, sites["rating"]) == 0
    click(page, centre(page, "dialog [data-key='2']"), 1)
    expect(page.locator(".progress span")).to_have_text("1 of 4")


def test_the_keypad_answers_with_digits_alone(visit: Visit, sites: Sites) -> None:
    page = visit("pairwise", "Ann")
    pressed = "([key, code]) => document.body.dispatchEvent(new KeyboardEvent('keydown', {key, code, bubbles: true}))"
    for key, code in (("PageDown", "Numpad3"), ("ArrowLeft", "Numpad4"), ("Clear", "Numpad5"), ("End", "Numpad1")):
        page.evaluate(pressed, [key, code])
    assert answers(page, sites["pairwise"]) == 0
    page.evaluate(pressed, ["3", "Numpad3"])
    until(page, lambda: answers(page, sites["pairwise"]) == 1)
    (said,) = sites["pairwise"].said(page.name)  # type: ignore[attr-defined]
    assert (said.side, said.answer.strength) == ("left", 1)


@pytest.mark.parametrize("reloaded", [True, False])
@pytest.mark.parametrize("kind", ["pairwise", "breaks"])
def test_a_rewrite_that_nobody_wrote_is_not_sent(visit: Visit, sites: Sites, kind: str, reloaded: bool) -> None:
    page = visit(kind, "Ann")
    left, right = (re.compile(f"^{text[:8]}") for text in as_written(page))
    field = page.locator("#field-rewrite")
    press(page, "w", "Escape", "1")
    expect(field).to_have_value(left)
    if reloaded:
        page.reload()
        settle(page)
        expect(field).to_have_value(left)
    page.locator("[data-key='6']").click()
    expect(field).to_have_value(right)
    sent = []
    page.on("request", lambda request: sent.append(request.post_data_json) if request.method == "POST" else None)
    page.locator("[data-key='Enter']").click()
    expect(page.locator(".progress span")).to_have_text(("1 of 8", "1 of 1")[kind == "breaks"])
    acknowledged(page)
    assert "rewrite" not in sent[0]["answer"]
    (said,) = sites[kind].said(page.name)  # type: ignore[attr-defined]
    assert (said.side, said.answer.rewrite) == ("right", "")
