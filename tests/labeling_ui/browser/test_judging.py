"""Judging by keyboard alone: every kind of answer, undo, edit, skip, and what is written beside it."""

from playwright.sync_api import Page, expect

from labeling_ui.data_model import Judgement
from tests.labeling_ui.browser.conftest import PAYLOAD, Site, Visit, acknowledged, as_written, finish, press, settle

Sites = dict[str, Site]


def responses(page: Page) -> list[str]:
    return as_written(page)


def done(page: Page) -> str:
    return page.locator(".progress span").inner_text()


def said(site: Site, page: Page) -> list[Judgement]:
    return site.said(page.name)  # type: ignore[attr-defined]


def test_each_preference_is_one_key(visit: Visit, sites: Sites) -> None:
    page = visit("pairwise", "Ann")
    shown = []
    for number, key in enumerate(("1", "2", "3", "4", "5", "6", "t", "b"), start=1):
        shown.append(responses(page))
        finish(page, key, done=number)
    expect(page.locator(".done")).to_contain_text("All done. Thank you, Ann")
    assert len({tuple(sorted(pair)) for pair in shown}) == 8
    judgements = said(sites["pairwise"], page)
    texts = sites["pairwise"].texts()
    assert [judgement.answer.strength for judgement in judgements] == [3, 2, 1, 1, 2, 3, None, None]
    assert [judgement.answer.verdict for judgement in judgements] == ["preferred"] * 6 + ["tie", "both_bad"]
    assert [judgement.side for judgement in judgements] == ["left"] * 3 + ["right"] * 3 + [None] * 2
    for judgement, pair in zip(judgements, shown, strict=True):
        assert [texts[candidate] for candidate in judgement.shown] == pair
        assert judgement.seconds is not None
        assert 0 < judgement.seconds < 60
    assert any(PAYLOAD in text for pair in shown for text in pair)  # shown as the text that it is
    assert page.evaluate("window.ran") is None


def test_a_ranking_by_keys_with_a_tie_and_one_left_out(visit: Visit, sites: Sites) -> None:
    page = visit("ranking", "Ann")
    shown = responses(page)
    press(page, "3", "4", "Backspace", "1", "=", "2")
    assert page.locator(".badge").all_inner_texts() == ["Place 2", "Place 2", "Place 1", "not placed"]
    finish(page, "Enter", done=1)
    finish(page, "4", "3", "2", "1", "Enter", done=2)
    first, second = said(sites["ranking"], page)
    texts = sites["ranking"].texts()
    ranked = [[texts[candidate] for candidate in group] for group in first.answer.ranking]
    assert ranked == [[shown[2]], [shown[0], shown[1]]]
    assert [group[0] for group in second.answer.ranking] == list(reversed(second.shown))


def test_a_ranking_by_dragging(visit: Visit, sites: Sites) -> None:
    page = visit("ranking", "Ann", has_touch=True)

    def drag(item: int, target: str) -> None:
        start, end = page.locator(f".choices [data-item='{item}']").bounding_box(), page.locator(target).bounding_box()
        assert start
        assert end
        page.mouse.move(start["x"] + 20, start["y"] + 20)
        page.mouse.down()
        page.mouse.move(start["x"] + 40, start["y"] + 10)
        page.mouse.move(end["x"] + end["width"] / 2, end["y"] + end["height"] / 2)
        page.mouse.up()

    drag(1, ".gap.rest")
    drag(2, ".gap.rest")
    drag(3, "[data-drop='into:1']")
    drag(0, "[data-drop='before:0']")
    assert page.locator(".badge").all_inner_texts() == ["Place 1", "Place 2", "Place 3", "Place 3"]
    drag(1, ".pool")
    finish(page, "Enter", done=1)
    (judgement,) = said(sites["ranking"], page)
    shown = judgement.shown
    assert judgement.answer.ranking == ((shown[0],), (shown[2], shown[3]))


def test_ratings_aspect_by_aspect(visit: Visit, sites: Sites) -> None:
    page = visit("rating", "Ann")
    press(page, "6", "Enter")
    expect(page.locator(".toast")).to_contain_text("Rate every aspect first")
    press(page, "7", "2", "ArrowUp", "ArrowLeft")
    finish(page, "Enter", done=1)
    (judgement,) = said(sites["rating"], page)
    (candidate,) = judgement.shown
    assert {aspect: values[candidate] for aspect, values in judgement.answer.ratings.items()} == {
        "helpful": 6, "honest": 6, "harmless": 2,
    }  # fmt: skip


def test_a_skip_says_why(visit: Visit, sites: Sites) -> None:
    page = visit("rating", "Ann")
    press(page, "s")
    finish(page, "2", done=1)
    press(page, "s")
    finish(page, "Enter", done=2)
    press(page, "s", "Shift+Tab", "Tab", "Tab")
    page.keyboard.type("It is about 1, 2 and s")
    finish(page, "Enter", done=3)
    answers = [judgement.answer for judgement in said(sites["rating"], page)]
    assert [answer.verdict for answer in answers] == ["skip"] * 3
    assert [answer.reason for answer in answers] == ["expertise", "", "It is about 1, 2 and s"]


def test_a_reason_and_a_rewrite_beside_the_answer(visit: Visit, sites: Sites) -> None:
    page = visit("pairwise", "Ann")
    better = responses(page)[1]
    press(page, "r")
    page.keyboard.type("It answers 1 question, to be sure.")
    press(page, "Escape", "5", "w", "Control+End")
    assert page.locator("#field-rewrite").input_value() == better
    page.keyboard.type(" And more.")
    assert done(page) == "0 of 8"
    finish(page, "Control+Enter", done=1)
    answer = said(sites["pairwise"], page)[0].answer
    assert (answer.verdict, answer.strength) == ("preferred", 2)
    assert answer.rationale == "It answers 1 question, to be sure."
    assert answer.rewrite == f"{better} And more."


def test_a_required_reason_is_asked_for(visit: Visit, sites: Sites) -> None:
    page = visit("required", "Ann")
    press(page, "1")
    expect(page.locator("#field-rationale")).to_be_focused()
    press(page, "Control+Enter")
    expect(page.locator(".toast")).to_contain_text("Write down your reason first")
    page.keyboard.type("Clearer.")
    finish(page, "Control+Enter", done=1)
    press(page, "s")
    finish(page, "Enter", done=2)
    answers = [judgement.answer for judgement in said(sites["required"], page)]
    assert [answer.rationale for answer in answers] == ["Clearer.", ""]


def test_undo_brings_back_the_last_card(visit: Visit, sites: Sites) -> None:
    page = visit("pairwise", "Ann")
    first = responses(page)
    finish(page, "1", done=1)
    second = responses(page)
    press(page, "u")
    expect(page.locator(".toast")).to_contain_text("taken back")
    assert responses(page) == first
    assert done(page) == "0 of 8"
    expect(page.locator("[aria-pressed='true']")).to_contain_text("Much better")
    settle(page)
    finish(page, "b", done=1)
    assert responses(page) == second
    press(page, "Backspace")
    expect(page.locator(".toast")).to_contain_text("taken back")
    settle(page)
    press(page, "u")
    expect(page.locator(".toast")).to_contain_text("There is no answer to take back")
    assert said(sites["pairwise"], page) == []


def test_an_earlier_answer_is_changed(visit: Visit, sites: Sites) -> None:
    page = visit("ranking", "Ann")
    first = responses(page)
    finish(page, "1", "2", "Enter", done=1)
    press(page, "3", "Enter")
    expect(page.locator(".toast")).to_contain_text("Place at least two")
    finish(page, "=", "4", "Enter", done=2)
    third = responses(page)
    press(page, "4", "h")
    expect(page.locator("dialog .entry")).to_have_count(2)
    expect(page.locator("dialog .said").first).to_have_text("3 = 4")
    press(page, "ArrowDown", "Enter")
    expect(page.locator(".toast")).to_contain_text("You are changing an earlier answer. You said: 1 > 2")
    assert responses(page) == first
    settle(page)
    press(page, "Escape")
    assert responses(page) == third
    assert page.locator(".badge.placed").count() == 1  # what was half done is still there
    press(page, "h")
    expect(page.locator("dialog")).to_be_visible()
    press(page, "ArrowDown", "Enter")
    expect(page.locator(".toast")).to_contain_text("changing")
    settle(page)
    press(page, "Backspace", "4", "1")
    finish(page, "Enter", done=2)
    expect(page.locator(".toast")).to_contain_text("Changed")
    assert responses(page) == third
    judgements = said(sites["ranking"], page)
    assert len(judgements) == 2
    (changed,) = [judgement for judgement in judgements if judgement.action == "edit"]
    assert changed.answer.ranking == ((changed.shown[3],), (changed.shown[0],))


def test_only_plain_keys_outside_of_fields_answer(visit: Visit, sites: Sites) -> None:
    page = visit("pairwise", "Ann")
    press(page, "Control+b", "Alt+1", "x", "7", "Enter")
    press(page, "r")
    page.keyboard.type("123456tbsu")
    press(page, "Escape", "?")
    press(page, "1", "t")  # in a window, keys do not reach the card
    expect(page.locator("dialog")).to_contain_text("take the last answer back")
    press(page, "Escape")
    assert done(page) == "0 of 8"
    assert page.locator("#field-rationale").input_value() == "123456tbsu"
    assert said(sites["pairwise"], page) == []


def test_keys_pressed_at_once_answer_one_pair(visit: Visit, sites: Sites) -> None:
    page = visit("pairwise", "Ann")
    page.evaluate(
        "for (const key of '1616') document.body.dispatchEvent("
        "new KeyboardEvent('keydown', {key, code: `Digit${key}`, bubbles: true}))"
    )
    acknowledged(page)
    expect(page.locator(".progress span")).to_have_text("1 of 8")
    assert len(said(sites["pairwise"], page)) == 1


def test_the_mouse_answers_too(visit: Visit, sites: Sites) -> None:
    page = visit("pairwise", "Ann")
    page.get_by_role("button", name="Equally good").click()
    expect(page.locator(".progress span")).to_have_text("1 of 8")
    settle(page)
    page.get_by_role("button", name="Skip").click()
    page.get_by_role("button", name="I do not understand it").click()
    expect(page.locator(".progress span")).to_have_text("2 of 8")
    acknowledged(page)
    assert [judgement.answer.verdict for judgement in said(sites["pairwise"], page)] == ["tie", "skip"]


def test_two_annotators_at_once(visit: Visit, sites: Sites) -> None:
    one, other = visit("pairwise", "Ann"), visit("pairwise", "Bob")
    for number in range(1, 4):
        finish(one, "1", done=number)
        finish(other, "6", done=number)
    assert [judgement.side for judgement in said(sites["pairwise"], one)] == ["left"] * 3
    assert [judgement.side for judgement in said(sites["pairwise"], other)] == ["right"] * 3


def test_a_break_is_proposed(visit: Visit) -> None:
    page = visit("required", "Ann")
    page.wait_for_timeout(700)
    press(page, "r")
    page.keyboard.type("Plain.", delay=60)
    finish(page, "Escape", "t", "Enter", done=1)
    expect(page.locator(".pause")).to_contain_text("A short break")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator(".pause")).to_be_empty()
