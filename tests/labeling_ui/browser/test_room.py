"""Room to read: how much of the window the responses have, what can be reached, and that no answer seems given."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.labeling_ui.browser.conftest import Visit, finish, press, settle
from tests.labeling_ui.browser.test_looks import PHONE, check

LAPTOP: dict[str, Any] = {"viewport": {"width": 1366, "height": 768}}
KEYS = {"pairwise": ("1",), "ranking": ("1", "2", "Enter"), "rating": ("7", "6", "5", "4", "3", "Enter")}
Shoot = Callable[[Page, str], None]


def box_of(found: Locator) -> dict[str, float]:
    """Where it is, in CSS pixels."""
    box = found.bounding_box()
    assert box
    return {**box, "end": box["y"] + box["height"]}  # type: ignore[dict-item]


def contrast(button: Locator) -> float:
    """WCAG's contrast of a button's text with its background."""
    ratio: float = button.evaluate(
        """(node) => {
            const light = (colour) => {
                const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
                    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
                return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
            };
            const { color, backgroundColor } = getComputedStyle(node);
            const [one, other] = [light(color), light(backgroundColor)];
            return Math.max(one, other) / Math.min(one, other);
        }"""
    )
    return ratio


@pytest.mark.parametrize("kind", KEYS)
def test_the_responses_have_half_of_a_laptops_window(visit: Visit, shoot: Shoot, kind: str) -> None:
    page = visit(f"long-{kind}", "Ann", **LAPTOP)

    def measure(name: str) -> None:
        shoot(page, f"room-{kind}-{name}")
        check(page)
        reading, prompt, answers = (box_of(page.locator(one)) for one in (".reading", ".prompt", ".answers"))
        assert reading["height"] >= 768 / 2
        assert prompt["height"] >= 40
        expect(page.locator(".prompt .turn").last).to_be_in_viewport(ratio=0.9)
        assert prompt["end"] <= reading["y"]
        assert reading["end"] <= answers["y"]
        assert answers["end"] <= 768
        assert page.evaluate("document.documentElement.scrollHeight") <= 768

    expect(page.locator(".instructions")).to_have_attribute("open", "")
    measure("first")
    finish(page, *KEYS[kind], done=1)
    press(page, "h")
    page.locator("dialog .list button").first.click()
    expect(page.locator(".toast")).to_contain_text("changing an earlier answer")
    settle(page)
    measure("edited")


def test_prompt_and_responses_scroll_apart_and_say_that_there_is_more(visit: Visit) -> None:
    page = visit("long-pairwise", "Ann", **LAPTOP)
    tops = "[...document.querySelectorAll('.prompt, .reading')].map((box) => box.scrollTop)"
    asked = page.locator(".prompt .turn").last
    expect(asked).to_be_in_viewport(ratio=1)  # of a long conversation, the last question
    expect(page.locator(".asking .more.above")).to_be_visible()
    expect(page.locator(".room .more.above")).to_be_hidden()
    before, top = page.evaluate(tops)
    assert top == 0
    press(page, "PageDown")
    expect(page.locator(".room .more.above")).to_be_visible()
    after, moved = page.evaluate(tops)
    assert (after, moved > 100) == (before, True)
    for name in page.locator(".response h2").all():
        expect(name).to_be_in_viewport()  # which one this is can be seen wherever it is read
    press(page, "End")
    expect(page.locator(".room .more.below")).to_be_hidden()
    page.locator(".asking .more.above").click()
    page.wait_for_function(f"({tops})[0] < {before}")


def test_the_question_stays_in_sight_while_a_reason_is_written(visit: Visit) -> None:
    page = visit("long-pairwise", "Ann", **LAPTOP)
    press(page, "r")
    expect(page.locator(".prompt .turn").last).to_be_in_viewport(ratio=0.9)
    assert box_of(page.locator(".reading"))["height"] >= 768 / 2


def test_a_ranking_has_no_holes(visit: Visit) -> None:
    page = visit("long-ranking", "Ann", **LAPTOP)
    boxes = [box_of(one) for one in page.locator(".response").all()]
    columns = {box["x"] for box in boxes}
    assert len(columns) == 2
    for column in columns:
        stacked = [box for box in boxes if box["x"] == column]
        for upper, lower in pairwise(stacked):
            assert 0 <= lower["y"] - upper["end"] <= 20


@pytest.mark.parametrize("kind", ["pairwise", "ranking"])
def test_a_phone_reaches_each_response_by_one_touch(visit: Visit, shoot: Shoot, kind: str) -> None:
    page = visit(f"long-{kind}", "Ann", **PHONE)
    answers = box_of(page.locator(".answers"))
    assert answers["y"] >= 844 / 2  # what is above it is for reading
    shoot(page, f"room-{kind}-phone")
    check(page)
    for place, response in enumerate(page.locator(".response").all(), start=1):
        jump = page.locator(".jumps button").nth(place)
        assert box_of(jump)["height"] >= 36
        jump.tap()
        expect(response.locator("h2")).to_be_in_viewport(ratio=1)
        # Its beginning stands above the answers; a short one at the end of the page is seen whole.
        page.wait_for_function(
            """([node, limit]) => {
                const { top, bottom } = node.getBoundingClientRect();
                return Math.min(top + 100, bottom) <= limit;
            }""",
            arg=[response.element_handle(), answers["y"]],
        )
    page.locator(".jumps button").first.tap()
    expect(page.locator(".prompt")).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_chosen_button_is_readable_under_the_mouse(visit: Visit, scheme: str) -> None:
    page = visit("required", "Ann", color_scheme=scheme)
    button = page.locator("[data-key='2']")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    page.mouse.move(1, 1)
    button.hover()
    assert contrast(button) >= 4.5


def test_the_next_card_does_not_look_answered(visit: Visit) -> None:
    page = visit("pairwise", "Ann")
    look = """() => [...document.querySelectorAll(".choices button")].map((node) => {
        const { backgroundColor, borderColor, color } = getComputedStyle(node);
        return [backgroundColor, borderColor, color, node.getAttribute("aria-pressed")].join();
    })"""
    page.locator("[data-key='2']").hover()
    page.mouse.move(400, 400)
    plain = page.evaluate(look)
    assert len(set(plain)) == 1
    page.locator("[data-key='2']").click()
    expect(page.locator(".progress span")).to_have_text("1 of 8")
    settle(page)
    assert page.evaluate(look) == plain
    box = box_of(page.locator("[data-key='2']"))
    page.mouse.move(box["x"] + 12, box["y"] + 12)
    assert page.evaluate(look) != plain  # it does light up once the pointer is moved
