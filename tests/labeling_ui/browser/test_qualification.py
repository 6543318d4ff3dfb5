"""A qualification round: each answer is told, the next task comes when that was read, and who fails is told so."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.labeling_ui.browser.conftest import Site, Visit, press
from tests.labeling_ui.browser.test_looks import PHONE, check

Shoot = Callable[[Page, str], None]
ROUND = "Qualification: task {} of 2."


def choose(page: Page, good: bool) -> None:
    """Answer the card, and wait for the feedback."""
    expect(page.locator(".card")).to_be_visible()
    page.wait_for_timeout(200)  # a press this soon was meant for the card before
    left = "Good answer" in page.locator(".response").first.inner_text()
    press(page, "2" if left == good else "5")
    expect(page.locator("dialog")).to_be_visible()


@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark"}, PHONE, {"locale": "zh-CN"}])
def test_who_passes_goes_on(visit: Visit, sites: dict[str, Site], shoot: Shoot, options: dict[str, Any]) -> None:
    page = visit("qualifying", "Ann", **options)
    shoot(page, f"qualification-{'-'.join(map(str, options)) or 'light'}")
    check(page)
    choose(page, good=True)
    shoot(page, f"qualification-told-{'-'.join(map(str, options)) or 'light'}")
    told = page.locator("dialog").bounding_box()
    assert told
    for text in page.locator(".prompt .text, .response .text").all() if "is_mobile" not in options else ():
        box = text.bounding_box()
        assert box
        assert box["y"] + 20 <= told["y"]  # what it was about can be read above it
    expect(page.locator(".response")).to_have_count(2)
    if "locale" not in options:
        sides = ("upper", "lower") if "is_mobile" in options else ("left", "right")
        good = "Good answer" in page.locator(".response").last.inner_text()
        expect(page.locator("dialog")).to_contain_text(f"The known answer: the {sides[good]} one is better.")
    check(page)
    page.keyboard.press("Enter")
    expect(page.locator("dialog")).to_have_count(0)
    choose(page, good=True)
    if "locale" not in options:
        expect(page.locator("dialog")).to_contain_text("You have passed, with 2 of 2 correct.")
    page.keyboard.press("Enter")
    expect(page.locator(".toast")).to_be_empty()
    assert len(sites["qualifying"].said(page.name)) == 2  # type: ignore[attr-defined]
    assert page.evaluate("window.ran") is None


def test_who_fails_is_told_so_and_cannot_take_it_back(visit: Visit, shoot: Shoot) -> None:
    page = visit("qualifying", "Ben")
    told = ["0 of 1 correct so far", "Another attempt begins", "1 of 1 correct so far", "no attempt is left"]
    for number, words in enumerate(told):
        expect(page.locator(".toast")).to_contain_text(ROUND.format(number % 2 + 1))
        choose(page, good=number == 2)
        expect(page.locator("dialog h2")).to_have_text("Correct." if number == 2 else "Not correct.")
        expect(page.locator("dialog")).to_contain_text("The known answer: ")
        expect(page.locator("dialog")).to_contain_text("It is right.")
        expect(page.locator("dialog")).to_contain_text(words)
        page.keyboard.press("Enter")
    expect(page.locator(".done")).to_contain_text("You have used all attempts of the qualification for")
    shoot(page, "qualification-failed")
    check(page)
    press(page, "u")
    expect(page.locator(".toast")).to_contain_text("is final")
