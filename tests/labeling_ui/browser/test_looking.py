"""What is shown on request: what differs, how long the responses are, which were cut off; and what is kept of it."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.labeling_ui.browser.conftest import Site, Visit, as_written, finish, press, settle
from tests.labeling_ui.browser.test_looks import check

Shoot = Callable[[Page, str], None]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_key_marks_what_differs_rendered_or_as_written(visit: Visit, shoot: Shoot, scheme: str) -> None:
    page = visit("close", "Ann", color_scheme=scheme)
    marks = page.locator(".response mark")
    expect(marks).to_have_count(0)
    press(page, "d")
    expect(page.locator(".response strong mark")).to_have_count(2)
    assert sorted(marks.all_inner_texts()) == ["copper", "iron"], "on either side: sides are drawn"
    shoot(page, f"differences-{scheme}")
    check(page)
    press(page, "m")
    expect(page.locator(".response strong")).to_have_count(0)
    expect(marks).to_have_count(2)
    assert sorted(marks.all_inner_texts()) == ["copper", "iron"]
    press(page, "d")
    expect(marks).to_have_count(0)
    assert page.evaluate("window.ran") is None


def test_lengths_are_shown_on_request_alone(visit: Visit, shoot: Shoot) -> None:
    page = visit("close", "Ann")
    expect(page.locator(".response .length").first).to_be_hidden()
    press(page, "c")
    lengths = page.locator(".response .length")
    for place, text in enumerate(as_written(page)):
        expect(lengths.nth(place)).to_have_text(re.compile(rf"^\d+ words, {len(text)} characters$"))
    shoot(page, "lengths")
    check(page)
    press(page, "c")
    expect(page.locator(".response .length").first).to_be_hidden()


def test_what_was_asked_for_is_kept_with_the_answer(visit: Visit, sites: dict[str, Site]) -> None:
    page = visit("close", "Ann")
    finish(page, "1", done=1)
    press(page, "c", "d")
    expect(page.locator(".response mark")).to_have_count(2)
    finish(page, "c", "d", "2", done=2)
    said = sites["close"].said(page.name)  # type: ignore[attr-defined]
    assert [sorted(one.aids or ()) for one in said] == [[], ["differences", "length"]]


def test_what_was_looked_at_outlives_a_reload(visit: Visit, sites: dict[str, Site]) -> None:
    page = visit("close", "Ann")
    press(page, "c", "m")
    page.reload()
    settle(page)
    press(page, "d")
    expect(page.locator(".response mark")).to_have_count(2)
    page.locator("header select").select_option("zh")
    settle(page)
    finish(page, "1", done=1)
    (said,) = sites["close"].said(page.name)  # type: ignore[attr-defined]
    assert (said.view, sorted(said.aids or ())) == ("both", ["differences", "length"])


def test_responses_that_differ_throughout_are_said_to(visit: Visit) -> None:
    page = visit("markdown", "Ann")
    press(page, "d")
    expect(page.locator(".toast")).to_contain_text("Nothing is marked")
    expect(page.locator("[data-key='d']")).to_have_attribute("aria-pressed", "false")


def test_a_response_that_was_cut_off_says_so(visit: Visit, shoot: Shoot) -> None:
    page = visit("cut", "Ann")
    expect(page.locator(".response").filter(has_text="Good answer").locator(".cut")).to_be_visible()
    expect(page.locator(".response").filter(has_text="Bad answer").locator(".cut")).to_have_count(0)
    shoot(page, "cut-off")
    check(page)


def test_a_megabyte_is_shown_as_it_was_written_and_says_so(visit: Visit, shoot: Shoot) -> None:
    page = visit("huge", "Ann")
    response = page.locator(".response").filter(has_text="Good answer")
    expect(response.locator(".note")).to_have_text("shown as written: too long to format")
    expect(page.locator(".response").filter(has_text="Bad answer").locator(".note")).to_have_count(0)
    assert response.locator(".text").inner_text().startswith("Good answer 0.*x* *x*")
    shoot(page, "too-long")
    check(page)
    press(page, "d")
    expect(page.locator(".toast")).to_contain_text("Nothing is marked")
    finish(page, "1", done=1)
