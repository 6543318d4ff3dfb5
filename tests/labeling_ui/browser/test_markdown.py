"""Texts as their readers see them, one key for the text as it was written, and what was looked at."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.labeling_ui.browser.conftest import MARKDOWN, Site, Visit, as_written, finish, press


def test_markdown_is_rendered_and_a_key_shows_it_as_it_was_written(
    visit: Visit, sites: dict[str, Site], shoot: Callable[[Page, str], None]
) -> None:
    page = visit("markdown", "Ann")
    response = page.locator(".response .text").filter(has_text="Good answer")
    for shown in ("h1", "ol > li", "em", "pre code .nb", "table td", "math msup", ".address"):
        expect(response.locator(shown).first).to_be_visible()
    expect(page.locator(".instructions strong")).to_have_text("short")
    assert response.locator("a, img, script").count() == 0
    assert page.evaluate("window.ran") is None
    shoot(page, "markdown")
    finish(page, "1", done=1)
    assert any(MARKDOWN.strip() in text for text in as_written(page))
    press(page, "m")
    expect(response.locator("h1")).to_have_count(0)
    finish(page, "6", done=2)
    assert [judgement.view for judgement in sites["markdown"].said(page.name)] == ["rendered", "both"]  # type: ignore[attr-defined]
