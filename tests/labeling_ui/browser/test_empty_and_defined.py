"""Campaigns with nothing to judge say so, and aspects say what they mean and may not apply."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.labeling_ui.browser.conftest import Site, Visit, finish, press
from tests.labeling_ui.browser.test_looks import PHONE, check

Shoot = Callable[[Page, str], None]


@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark"}, PHONE, {"locale": "zh-CN"}])
def test_nothing_to_judge_is_not_all_done(visit: Visit, shoot: Shoot, options: dict[str, Any]) -> None:
    page = visit("nothing", "Ann", **options)
    expect(page.locator(".done")).to_be_visible()
    words = page.locator("#page").inner_text()
    assert "All done" not in words
    assert ("目前没有需要判断的任务" if "locale" in options else "There is nothing to judge at the moment") in words
    shoot(page, f"nothing-{'-'.join(map(str, options)) or 'light'}")
    check(page)


@pytest.mark.parametrize(
    ("site", "words", "chinese"),
    [
        ("quota", "Your quota of 1 for “main” is done.", "1 题限额已完成"),
        ("ended", "“main” ended at 2001-01-31 18:00+01:00.", "已于 2001-01-31 18:00+01:00 结束"),
        ("others", "You are not assigned to any campaign.", "尚未被分配到任何标注项目"),
    ],
)
def test_whoever_is_asked_nothing_reads_why(visit: Visit, shoot: Shoot, site: str, words: str, chinese: str) -> None:
    page = visit(site, "Ann")
    if site == "quota":
        finish(page, "1", done=1)
    expect(page.locator(".done")).to_contain_text(words)
    for look, scheme, size in (("light", "light", None), ("dark", "dark", None), ("phone", "light", PHONE["viewport"])):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size(size or {"width": 1280, "height": 800})
        shoot(page, f"asked-nothing-{site}-{look}")
        check(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_label("Language").select_option("zh")
    expect(page.locator(".done")).to_contain_text(chinese)


def test_a_live_only_campaign_leads_to_the_live_part(visit: Visit, shoot: Shoot) -> None:
    page = visit("live-only", "Ann")
    expect(page.locator(".done h2")).to_have_text("There is nothing to judge at the moment.")
    shoot(page, "live-only")
    check(page)
    page.locator(".done button").first.click()
    expect(page.locator("#live-prompt")).to_be_visible()


@pytest.mark.parametrize("options", [{}, PHONE])
def test_an_aspect_is_defined_and_may_not_apply(
    visit: Visit, sites: dict[str, Site], shoot: Shoot, options: dict[str, Any]
) -> None:
    page = visit("defined", "Ann", **options)
    expect(page.locator(".meaning")).to_have_text("helpful: Does it answer what was asked?")
    press(page, "6")
    expect(page.locator(".meaning")).to_have_text("honest: Is what it says true?")
    press(page, "0")
    expect(page.locator(".aspect .none").nth(1)).to_have_attribute("aria-pressed", "true")
    shoot(page, f"not-applicable{'-phone' * bool(options)}")
    check(page)
    finish(page, "Enter", done=1)
    (said,) = sites["defined"].said(page.name)  # type: ignore[attr-defined]
    assert (list(said.answer.ratings), said.answer.not_applicable) == (["helpful"], ("honest",))
    press(page, "h")
    expect(page.locator(".entry .said")).to_have_text("helpful 6 · honest n/a")
