"""Nothing that an annotator does is lost: reloads, lost connections, failures, expired sessions."""

import re
import time
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.labeling_ui.browser.conftest import PASSWORD, Site, Visit, acknowledged, finish, press, settle, waiting

Sites = dict[str, Site]
SAVE = "**/api/judgements"


def texts(page: Page) -> list[str]:
    return page.locator(".response .text").all_inner_texts()


def name_of(page: Page) -> str:
    return str(page.name)  # type: ignore[attr-defined]


def reload(page: Page) -> None:
    page.reload()
    expect(page.locator("[data-card]")).to_be_visible()
    settle(page)


def test_a_reload_in_the_middle_loses_nothing(visit: Visit, sites: Sites) -> None:
    page = visit("ranking", "Ann")
    shown = texts(page)
    page.wait_for_timeout(1000)  # what counts though the page is loaded again
    press(page, "3", "1", "=", "2", "r")
    page.keyboard.type("Half a reason")
    reload(page)
    assert texts(page) == shown
    assert page.locator(".badge").all_inner_texts() == ["Place 2", "Place 2", "Place 1", "not placed"]
    assert page.locator("#field-rationale").input_value() == "Half a reason"
    finish(page, "Enter", done=1)
    reload(page)
    assert page.locator(".badge.placed").count() == 0
    assert page.locator(".progress span").inner_text() == "1 of 4"
    (judgement,) = sites["ranking"].said(name_of(page))
    assert judgement.answer.rationale == "Half a reason"
    assert judgement.seconds is not None
    assert judgement.seconds > 1


def test_an_answer_that_was_not_acknowledged_is_sent_again_and_counts_once(visit: Visit, sites: Sites) -> None:
    page = visit("pairwise", "Ann")
    first = texts(page)

    def take_and_lose(route: Route) -> None:
        route.fetch()  # the server takes it, and the answer to it is lost
        route.abort()

    page.route(SAVE, take_and_lose, times=1)
    page.evaluate("window.setTimeout = () => 0")  # in a second it would try again by itself, however slow this test is
    press(page, "1")
    assert texts(page) != first  # the next one is there nevertheless
    expect(page.locator(".alert")).to_contain_text("Not saved yet: 1. The server cannot be reached.")
    page.get_by_role("button", name="Try now").click()
    acknowledged(page)
    expect(page.locator(".alert")).to_be_empty()
    expect(page.locator(".progress span")).to_have_text("1 of 8")
    assert len(sites["pairwise"].said(name_of(page))) == 1


def test_a_store_that_fails_is_told_and_the_answers_wait_over_a_reload(visit: Visit, sites: Sites) -> None:
    page = visit("pairwise", "Ann")
    failed = {"status": 503, "json": {"detail": "The label store could not be used; nothing was saved."}}
    page.route(SAVE, lambda route: route.fulfill(**failed))
    press(page, "1")
    expect(page.locator(".alert")).to_contain_text("nothing was saved. Your answers are kept in this browser")
    settle(page)
    press(page, "6")
    assert [item["answer"]["winner"] for item in waiting(page)] == [0, 1]
    press(page, "u")
    expect(page.locator(".toast")).to_contain_text("earlier answers are not saved yet")
    assert sites["pairwise"].said(name_of(page)) == []
    page.unroute(SAVE)
    reload(page)
    expect(page.locator(".progress span")).to_have_text("2 of 8")
    acknowledged(page)
    expect(page.locator(".alert")).to_be_empty()
    assert [judgement.side for judgement in sites["pairwise"].said(name_of(page))] == ["left", "right"]


@pytest.mark.parametrize(
    "reply",
    [{"body": "<h1>Back soon</h1>", "content_type": "text/html"}, {"json": {"status": "maintenance"}}, {"body": ""}],
    ids=["page", "json", "nothing"],
)
def test_a_reply_that_is_not_the_servers_saves_nothing(visit: Visit, sites: Sites, reply: dict[str, Any]) -> None:
    page = visit("pairwise", "Ann")
    finish(page, "2", done=1)
    page.route("**/api/**", lambda route: route.fulfill(status=200, **reply))
    press(page, "1")
    expect(page.locator(".alert")).to_contain_text("Not saved yet: 1. Something else answered in place of the server")
    assert [item["answer"]["winner"] for item in waiting(page)] == [0]
    settle(page)
    press(page, "h")
    expect(page.locator(".toast")).to_contain_text("That did not work: Something else answered")
    page.unroute("**/api/**")
    page.get_by_role("button", name="Try now").click()
    acknowledged(page)
    expect(page.locator(".alert")).to_be_empty()
    assert [judgement.answer.strength for judgement in sites["pairwise"].said(name_of(page))] == [2, 3]
    page.route("**/api/undo", lambda route: route.fulfill(status=200, **reply))
    press(page, "u")
    expect(page.locator(".toast")).to_contain_text("That did not work: Something else answered")


def test_an_expired_session_keeps_the_answer_until_one_has_signed_in_again(visit: Visit, sites: Sites) -> None:
    page = visit("pairwise", "Ann")
    sites["pairwise"].sign_out(name_of(page))
    press(page, "5")
    expect(page.locator(".alert")).to_contain_text("You are signed out. Answers not saved yet: 1.")
    assert sites["pairwise"].said(name_of(page)) == []
    page.get_by_role("link", name="Sign in").click()
    page.get_by_label("Your name").fill(name_of(page))
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("[data-card]")).to_be_visible()
    expect(page.locator(".progress span")).to_have_text("1 of 8")
    acknowledged(page)
    expect(page.locator(".alert")).to_be_empty()
    assert [judgement.side for judgement in sites["pairwise"].said(name_of(page))] == ["right"]


def test_answers_are_not_sent_as_somebody_else(visit: Visit, sites: Sites) -> None:
    page, site = visit("pairwise", "Ann"), sites["pairwise"]
    site.sign_out(name_of(page))
    press(page, "5")
    expect(page.locator(".alert")).to_contain_text("signed out")
    other = f"Eve, not {name_of(page)}"
    site.add_person(other)
    page.context.request.post(f"{site.address}/sign-in", form={"name": other, "password": PASSWORD})
    page.goto(site.address)
    expect(page.locator(".name")).to_contain_text("Eve")
    expect(page.locator(".progress span")).to_have_text("0 of 8")
    assert site.said(other) == []
    assert len(waiting(page)) == 1  # for when Ann is back
    page.context.request.post(f"{site.address}/sign-out")
    page.context.request.post(f"{site.address}/sign-in", form={"name": name_of(page), "password": PASSWORD})
    reload(page)
    expect(page.locator(".progress span")).to_have_text("1 of 8")
    acknowledged(page)
    assert [judgement.side for judgement in site.said(name_of(page))] == ["right"]


def test_an_answer_that_is_refused_comes_back_with_the_reason(visit: Visit, sites: Sites) -> None:
    page = visit("pairwise", "Ann")
    first = texts(page)
    press(page, "r")
    page.keyboard.type("A reason")
    page.route(SAVE, lambda route: route.fulfill(status=422, json={"detail": "rationale: is too odd."}), times=1)
    press(page, "Escape", "2", "Enter")
    expect(page.locator(".alert")).to_contain_text("Not saved: rationale: is too odd.")
    assert texts(page) == first
    assert page.locator("#field-rationale").input_value() == "A reason"
    expect(page.locator("[aria-pressed='true']")).to_contain_text("Clearly better")
    settle(page)
    finish(page, "Enter", done=1)
    expect(page.locator(".alert")).to_be_empty()
    assert [judgement.answer.rationale for judgement in sites["pairwise"].said(name_of(page))] == ["A reason"]


def test_a_ticket_that_is_worth_nothing_is_replaced(visit: Visit, sites: Sites) -> None:
    page = visit("pairwise", "Ann")
    first = texts(page)
    page.route(SAVE, lambda route: route.fulfill(status=409, json={"detail": "This page is out of date."}), times=1)
    press(page, "1")
    expect(page.locator(".alert")).to_contain_text("Not saved: This page is out of date.")
    assert texts(page) == first
    settle(page)
    finish(page, "1", done=1)
    assert len(sites["pairwise"].said(name_of(page))) == 1


def test_without_a_connection_the_page_says_so_when_cards_run_out(visit: Visit, sites: Sites) -> None:
    page = visit("pairwise", "Ann")
    page.context.set_offline(True)
    press(page, "1")
    settle(page)
    press(page, "2")
    expect(page.locator(".done")).to_contain_text("Loading the next one")
    expect(page.locator(".unsaved")).to_be_visible()
    expect(page.locator(".unsaved")).to_have_text("Not saved yet: 2")
    page.context.set_offline(False)
    expect(page.locator("[data-card]")).to_be_visible()
    acknowledged(page)
    expect(page.locator(".unsaved")).to_be_hidden()
    expect(page.locator(".progress span")).to_have_text("2 of 8")
    assert [judgement.answer.strength for judgement in sites["pairwise"].said(name_of(page))] == [3, 2]


def test_an_undo_whose_acknowledgement_is_lost_takes_one_answer_back(visit: Visit, sites: Sites) -> None:
    page = visit("pairwise", "Ann")
    finish(page, "1", done=1)
    finish(page, "2", done=2)

    def take_and_lose(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route("**/api/undo", take_and_lose, times=1)
    press(page, "u")
    expect(page.locator(".toast")).to_contain_text("That did not work")
    press(page, "u")
    expect(page.locator(".toast")).to_contain_text("taken back")
    expect(page.locator(".progress span")).to_have_text(re.compile("^1 "))
    assert len(sites["pairwise"].said(name_of(page))) == 1


def test_a_skip_keeps_what_was_written(visit: Visit, sites: Sites) -> None:
    page = visit("pairwise", "Ann")
    press(page, "r")
    page.keyboard.type("I cannot tell")
    press(page, "Escape", "1", "w", "Control+End")
    page.keyboard.type(" Or so.")
    rewrite = page.locator("#field-rewrite").input_value()
    press(page, "Escape", "s")
    finish(page, "2", done=1)
    answer = sites["pairwise"].said(name_of(page))[0].answer
    assert (answer.verdict, answer.reason) == ("skip", "expertise")
    assert (answer.rationale, answer.rewrite) == ("I cannot tell", rewrite)
    press(page, "u")
    expect(page.locator(".toast")).to_contain_text("taken back")
    assert page.locator("#field-rationale").input_value() == "I cannot tell"
    assert page.locator("#field-rewrite").input_value() == rewrite


def test_pauses_are_not_counted(visit: Visit, sites: Sites) -> None:
    page = visit("required", "Ann")  # a pause of a second is idle
    began = time.monotonic()
    page.wait_for_timeout(2500)
    press(page, "r")
    page.keyboard.type("Short.")
    finish(page, "Escape", "t", "Enter", done=1)
    took = time.monotonic() - began
    (judgement,) = sites["required"].said(name_of(page))
    assert judgement.seconds is not None
    assert 0.9 < judgement.seconds < took - 1.4


def test_what_a_stale_tab_asks_is_not_done_as_whoever_has_signed_in_since(visit: Visit, sites: Sites) -> None:
    page, site = visit("pairwise", "Ann"), sites["pairwise"]
    finish(page, "1", done=1)
    other = f"Eve, not {name_of(page)}"
    site.add_person(other)
    stale = page
    page = page.context.new_page()
    page.context.request.post(f"{site.address}/sign-in", form={"name": other, "password": PASSWORD})
    page.goto(site.address)
    settle(page)
    finish(page, "2", done=1)
    why = "somebody else has signed in with this browser"
    for key in ("u", "h"):
        press(stale, key)
        expect(stale.locator(".toast")).to_contain_text(why)
        expect(stale.locator("dialog[open]")).to_have_count(0)
        stale.evaluate("document.querySelector('.toast').textContent = ''")
    press(stale, "l")
    stale.locator("#live-prompt").fill("Count")
    press(stale, "Enter")
    expect(stale.locator(".alert")).to_contain_text(why)
    press(stale, "Escape", "l")
    settle(stale)
    press(stale, "5")
    expect(stale.locator(".alert")).to_contain_text(f"Not saved yet: 1. Refused: {why}")
    stale.get_by_role("button", name="Sign out").click()
    expect(stale.locator(".problem")).to_contain_text(why)
    assert [len(site.said(who)) for who in (name_of(stale), other)] == [1, 1]
    reload(page)  # Eve is still signed in
    expect(page.locator(".progress span")).to_have_text("1 of 8")
