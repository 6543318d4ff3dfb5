"""How the page looks and reads: light, dark, on a phone, in Chinese; for everybody (axe); and how fast it is."""

import json
import statistics
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.labeling_ui.browser.conftest import Site, Visit, finish, press, settle, until

Shoot = Callable[[Page, str], None]
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
KINDS = ("pairwise", "ranking", "rating", "required")
# From the key press to the next card: in the document, and painted.
MEASURE = """
window.times = [];
let pressed = 0;
document.addEventListener("keydown", (event) => { pressed = event.timeStamp; }, { capture: true });
new MutationObserver(() => {
  const card = document.querySelector("[data-card]")?.dataset.card;
  if (!pressed || !card || card === window.before) return;
  const start = pressed, ready = performance.now();
  window.before = card;
  pressed = 0;
  requestAnimationFrame(() => setTimeout(() => window.times.push([ready - start, performance.now() - start])));
}).observe(document.body, { subtree: true, childList: true });
window.before = document.querySelector("[data-card]").dataset.card;
"""


def check(page: Page) -> None:
    """No serious or critical violation of what axe-core knows (WCAG A and AA, and its best practices)."""
    page.wait_for_timeout(100)
    found = Axe().run(page).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert not serious, [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in serious]


def half_done(page: Page, kind: str) -> None:
    """A card with something said, as it looks most of the time."""
    press(page, *{"ranking": ("3", "1", "=", "4"), "rating": ("6", "5"), "required": ("2",)}.get(kind, ()))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_desk(visit: Visit, shoot: Shoot, kind: str, scheme: str) -> None:
    page = visit(kind, "Ann", color_scheme=scheme)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(244, 245, 247)", "dark": "rgb(20, 22, 26)"}[scheme]
    half_done(page, kind)
    shoot(page, f"{kind}-{scheme}")
    check(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_phone(visit: Visit, shoot: Shoot, kind: str, scheme: str) -> None:
    page = visit(kind, "Ann", color_scheme=scheme, **PHONE)
    half_done(page, kind)
    shoot(page, f"{kind}-phone-{scheme}")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    boxes = [box for box in (one.bounding_box() for one in page.locator(".response").all()) if box]
    for upper, lower in pairwise(boxes):
        assert upper["y"] + upper["height"] <= lower["y"]  # one above the other
    for button in page.locator(".choices button:visible").all():
        box = button.bounding_box()
        assert box
        assert box["height"] >= 36
        assert box["y"] + box["height"] <= 844  # within reach of a thumb
    if kind == "pairwise":
        page.locator("[data-key='4']").tap()
        expect(page.locator(".progress span")).to_have_text("1 of 8")


@pytest.mark.parametrize("kind", KINDS)
def test_in_chinese(visit: Visit, shoot: Shoot, kind: str) -> None:
    page = visit(kind, "Ann", locale="zh-CN")
    assert page.evaluate("document.documentElement.lang") == "zh"
    half_done(page, kind)
    shoot(page, f"{kind}-chinese")
    words = page.locator("#page").inner_text()
    assert "提交" in words or kind == "pairwise"
    check(page)


def test_the_language_can_be_switched_and_is_kept(visit: Visit) -> None:
    page = visit("ranking", "Ann")
    press(page, "2")
    page.get_by_label("Language").select_option("zh")
    expect(page.locator("h1")).to_have_text("请给回复排序")
    assert page.locator(".badge.placed").count() == 1
    page.reload()
    expect(page.locator("h1")).to_have_text("请给回复排序")
    page.get_by_label("语言").select_option("en")
    expect(page.locator("h1")).to_have_text("Put the responses in order")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_windows_over_the_page(visit: Visit, shoot: Shoot, scheme: str) -> None:
    page = visit("pairwise", "Ann", color_scheme=scheme)
    finish(page, "1", done=1)
    for key, name in (("?", "keys"), ("s", "skip"), ("h", "history")):
        press(page, key)
        expect(page.locator("dialog")).to_be_visible()
        shoot(page, f"window-{name}-{scheme}")
        check(page)
        focused = page.evaluate("document.querySelector('dialog').contains(document.activeElement)")
        assert focused
        press(page, "Escape")
        expect(page.locator("dialog")).to_have_count(0)
        assert page.evaluate("document.activeElement.matches('main')")
    press(page, "u")
    expect(page.locator(".toast")).to_contain_text("taken back")
    shoot(page, f"undone-{scheme}")
    check(page)


def test_writing_beside_the_answer(visit: Visit, shoot: Shoot) -> None:
    page = visit("pairwise", "Ann")
    press(page, "r")
    page.keyboard.type("The left one answers the question.")
    press(page, "Escape", "2", "w")
    shoot(page, "pairwise-writing")
    check(page)


def test_the_end_and_a_notice(visit: Visit, shoot: Shoot) -> None:
    page = visit("required", "Ann")
    page.route("**/api/judgements", lambda route: route.abort(), times=1)
    for number in range(1, 5):
        press(page, "s", "Enter")
        if number == 1:
            expect(page.locator(".alert")).to_contain_text("Not saved yet")
            shoot(page, "not-saved")
            check(page)
        expect(page.locator(".progress span")).to_have_text(f"{number} of 4")
        settle(page)
    expect(page.locator(".done")).to_contain_text("All done")
    shoot(page, "done")
    check(page)


def test_a_screen_reader_is_told_what_changes(visit: Visit) -> None:
    page = visit("rating", "Ann")
    press(page, "6")
    expect(page.locator(".spoken")).to_have_text("helpful: 6 of 7")
    finish(page, "6", "6", "Enter", done=1)
    expect(page.locator(".spoken")).to_have_text("Next. Done: 1 of 4.")
    assert page.evaluate("document.activeElement.matches('main')")


@pytest.mark.parametrize(("kind", "keys"), [("pairwise", "1"), ("ranking", "1234⏎"), ("rating", "765⏎")])
def test_the_next_card_is_there_at_once(
    visit: Visit, artifacts: Path, capsys: pytest.CaptureFixture[str], kind: str, keys: str
) -> None:
    page = visit(kind, "Ann")
    page.evaluate(MEASURE)
    rounds = 7 if kind == "pairwise" else 3
    for number in range(1, rounds + 1):
        finish(page, *("Enter" if key == "⏎" else key for key in keys), done=number)
    times = page.evaluate("window.times")
    assert len(times) == rounds
    in_page, painted = [ready for ready, _ in times], [shown for _, shown in times]
    figures = keep_times(
        artifacts, kind, painted, in_document_ms=round(sorted(in_page)[rounds // 2], 1), keys=len(keys)
    )
    with capsys.disabled():
        print(f"\n{kind}: {len(keys)} key(s) a judgement; key press to next card painted: {figures}")


def test_the_next_pair_does_not_wait_for_the_server(visit: Visit, sites: dict[str, Site]) -> None:
    page = visit("pairwise", "Ann")
    first = page.locator(".response .text").all_inner_texts()
    held: list[Any] = []
    page.route("**/api/judgements", lambda route: held.append(route))
    press(page, "1")
    assert page.locator(".response .text").all_inner_texts() != first
    until(page, lambda: len(held) == 1)
    held[0].continue_()
    expect(page.locator(".progress span")).to_have_text("1 of 8")


def keep_times(folder: Path, name: str, milliseconds: list[float], **more: float) -> dict[str, float]:
    """Add a measurement to `times.json`; returns it."""
    path = folder / "times.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    figures = {"median_ms": round(statistics.median(milliseconds), 1), "max_ms": round(max(milliseconds), 1), **more}
    path.write_text(json.dumps({**known, name: {**figures, "n": len(milliseconds)}}, indent=2) + "\n", encoding="utf-8")
    return figures
