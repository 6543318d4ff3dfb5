"""Trying the model: two fresh responses are watched as they are written, then judged."""

from collections.abc import Callable

from playwright.sync_api import Page, Route, expect

from tests.labeling_ui.browser.conftest import Site, Visit, acknowledged, finish, press, settle, until
from tests.labeling_ui.browser.test_looks import check

Sites = dict[str, Site]
Shoot = Callable[[Page, str], None]


def ask(page: Page, prompt: str) -> None:
    press(page, "l")
    expect(page.locator("#live-prompt")).to_be_focused()
    page.keyboard.type(prompt)
    press(page, "Enter")


def test_two_responses_are_streamed_and_judged(visit: Visit, sites: Sites, shoot: Shoot) -> None:
    page = visit("pairwise", "Ann")
    press(page, "l")
    shoot(page, "live-ask")
    check(page)
    page.keyboard.type("Count, please: 1, 2 <b>3</b>")
    with sites["pairwise"].held():
        press(page, "Enter")
        expect(page.locator(".live .response .text").first).to_have_text("one two three four five")
        shoot(page, "live-writing")
        check(page)
    expect(page.locator("[data-card]")).to_be_visible()
    assert page.locator(".response .text").first.inner_text() == "one two three four five six"
    shoot(page, "live-judge")
    settle(page)
    with page.expect_response("**/api/judgements"):
        press(page, "2")
    expect(page.locator("#live-prompt")).to_be_focused()
    expect(page.locator("#live-prompt")).to_have_value("")
    acknowledged(page)
    (judgement,) = sites["pairwise"].said(page.name)  # type: ignore[attr-defined]
    texts = sites["pairwise"].texts()
    assert texts[judgement.answer.winner or ""] == "one two three four five six"
    assert (judgement.side, judgement.answer.strength) == ("left", 2)


def test_labeling_goes_on_while_the_model_writes(visit: Visit, sites: Sites) -> None:
    page, other = visit("pairwise", "Ann"), visit("pairwise", "Bob")
    with sites["pairwise"].held():
        ask(page, "Count")
        expect(page.locator(".live .response .text").first).to_contain_text("one")
        ask(other, "Count too")
        expect(other.locator(".state")).to_have_text("Waiting for the model. Ahead of you: 1.")
        press(page, "l")
        expect(page.locator("[data-card]")).to_be_visible()
        settle(page)
        finish(page, "1", done=1)
    expect(page.locator(".toast")).to_contain_text("Your two responses are ready")
    page.reload()  # and they stay ready
    page.get_by_role("button", name="Show them").click()
    expect(page.locator(".response .text").first).to_have_text("one two three four five six")
    expect(other.locator("[data-card]")).to_be_visible()


def test_a_prompt_can_be_stopped_and_is_kept(visit: Visit, sites: Sites) -> None:
    page = visit("pairwise", "Ann")
    with sites["pairwise"].held():
        ask(page, "Count slowly")
        expect(page.locator(".live .response .text").first).to_contain_text("one")
        page.get_by_role("button", name="Stop").click()
    expect(page.locator("#live-prompt")).to_have_value("Count slowly")


def test_a_prompt_outlives_a_reload_until_its_pair_is_there(visit: Visit, sites: Sites) -> None:
    page = visit("pairwise", "Ann")
    field = page.locator("#live-prompt")

    def reload() -> None:
        page.reload()
        settle(page)
        press(page, "l")
        expect(field).to_be_focused()

    press(page, "l")
    page.keyboard.type("Count up")
    reload()
    expect(field).to_have_value("Count up")
    page.keyboard.type(" to six")
    with sites["pairwise"].held():
        press(page, "Enter")
        expect(page.locator(".live .response .text").first).to_contain_text("one")
        reload()
        expect(field).to_have_value("Count up to six")
    press(page, "Enter")
    expect(page.locator("[data-card]")).to_be_visible()
    settle(page)
    with page.expect_response("**/api/judgements"):
        press(page, "2")
    expect(field).to_have_value("")
    acknowledged(page)
    reload()
    expect(field).to_have_value("")


def test_the_time_of_a_card_goes_on_after_a_live_pair(visit: Visit, sites: Sites) -> None:
    page = visit("pairwise", "Ann")
    with sites["pairwise"].held():
        ask(page, "Count")
        expect(page.locator(".live .response .text").first).to_contain_text("one")
        press(page, "l")
        settle(page)
    expect(page.locator(".toast")).to_contain_text("Your two responses are ready")
    page.wait_for_timeout(1000)  # on the card beside it
    page.get_by_role("button", name="Show them").click()
    settle(page)
    with page.expect_response("**/api/judgements"):
        press(page, "2")
    acknowledged(page)
    press(page, "Escape", "l")
    settle(page)
    finish(page, "1", done=2)
    times = [said.seconds for said in sites["pairwise"].said(page.name)]  # type: ignore[attr-defined]
    assert times[-1] is not None
    assert times[-1] > 1


def test_it_is_not_offered_where_the_campaign_does_not_allow_it(visit: Visit) -> None:
    page = visit("required", "Ann")
    assert page.get_by_text("Try the model").count() == 0
    press(page, "l")
    expect(page.locator("[data-card]")).to_be_visible()


def test_a_pair_whose_answer_was_refused_comes_back_also_after_a_reload(visit: Visit, sites: Sites) -> None:
    page = visit("pairwise", "Ann")
    held: list[Route] = []
    page.route("**/api/judgements", lambda route: held.append(route), times=1)
    pairs = []
    for prompt in ("Count", "Count again"):
        if not pairs:
            press(page, "l")
        page.locator("#live-prompt").fill(prompt)
        press(page, "Enter")
        expect(page.locator(".response .text").first).to_have_text("one two three four five six")
        settle(page)
        pairs.append(page.locator("[data-card]").get_attribute("data-card"))
        if len(pairs) == 1:
            press(page, "2")
            expect(page.locator("#live-prompt")).to_be_focused()
    until(page, lambda: bool(held))
    held[0].fulfill(status=422, json={"detail": "It cannot be."})
    expect(page.locator(".alert")).to_contain_text("It cannot be.")
    expect(page.locator(f"[data-card='{pairs[0]}']")).to_be_visible()
    page.reload()
    page.get_by_role("button", name="Show them").click()
    for kept in reversed(pairs):  # the other one was ready meanwhile, and is still there
        expect(page.locator(f"[data-card='{kept}']")).to_be_visible()
        settle(page)
        with page.expect_response("**/api/judgements"):
            press(page, "2")
    expect(page.locator("#live-prompt")).to_be_focused()
    acknowledged(page)
    said = sites["pairwise"].said(page.name)  # type: ignore[attr-defined]
    assert [judgement.task_id for judgement in said] == pairs[::-1]
