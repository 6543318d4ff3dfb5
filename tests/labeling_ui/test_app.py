"""The labeling page's dealings with the store, without a browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rlhf_pipeline.errors import UserError
from rlhf_pipeline.labeling_ui.app import CHOICES, NOT_SAVED, NOT_SHOWN, OUT_OF_DATE, Desk
from rlhf_pipeline.labeling_ui.records import STRENGTHS, VERDICTS, Candidate, Prompt, Task
from rlhf_pipeline.labeling_ui.store import Store
from tests.labeling_ui.pages import add_pairs, texts_of, ticket_of


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "labels.db")
    add_pairs(store, 3)
    yield store
    store.close()


@pytest.fixture
def desk(store: Store) -> Desk:
    return Desk(store, "secret")


def test_every_verdict_and_strength_has_one_key() -> None:
    offered = {(choice.verdict, choice.strength) for choice in CHOICES}
    sided = {(side, strength) for side in ("left", "right") for strength in STRENGTHS}
    assert offered == sided | {(verdict, None) for verdict in VERDICTS if verdict not in ("left", "right")}
    assert len({choice.key for choice in CHOICES}) == len(CHOICES) == len(offered)


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice.key)
def test_an_answer_names_what_was_shown_on_the_chosen_side(desk: Desk, choice) -> None:
    page = desk.show("Ann")
    shown = dict(zip(("left", "right"), texts_of(page), strict=True))
    desk.answer("Ann", ticket_of(page), choice.key)

    (judgement,) = desk.store.judgements()
    response = {candidate.id: candidate.response for candidate in desk.store.candidates()}
    assert response[judgement.left] == shown["left"]
    assert judgement.verdict == choice.verdict
    assert judgement.strength == choice.strength
    winner = judgement.winner and response[judgement.winner]
    assert winner == shown.get(choice.verdict)
    assert judgement.seconds is not None
    assert 0 <= judgement.seconds < 60


def test_the_next_pair_comes_only_after_the_answer(desk: Desk) -> None:
    first = desk.show("Ann")
    assert texts_of(desk.show("Ann")) == texts_of(first)
    second, notice = desk.answer("Ann", ticket_of(first), "1")
    assert second is not None
    assert not notice
    assert texts_of(second) != texts_of(first)
    assert "1 of 3" in second


def test_a_key_pressed_twice_counts_once_and_never_for_the_next_pair(desk: Desk) -> None:
    first = desk.show("Ann")
    second, _ = desk.answer("Ann", ticket_of(first), "1")
    again, notice = desk.answer("Ann", ticket_of(first), "6")
    assert second is not None
    assert again is not None
    assert texts_of(again) == texts_of(second)
    assert not notice
    assert [judgement.verdict for judgement in desk.store.judgements()] == ["left"]


def test_a_ticket_is_good_for_its_annotator_only(desk: Desk) -> None:
    ticket = ticket_of(desk.show("Ann"))
    assert desk.answer("Bob", ticket, "1") == (None, OUT_OF_DATE)
    assert desk.answer("Ann", ticket[:-1] + ("A" if ticket[-1] != "A" else "B"), "1") == (None, OUT_OF_DATE)
    assert desk.answer("Ann", "", "1") == (None, OUT_OF_DATE)
    assert desk.answer("Ann", ticket, "9") == (None, OUT_OF_DATE)
    assert not list(desk.store.judgements())


def test_a_failed_save_keeps_the_pair_and_can_be_repeated(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object) -> bool:
        raise UserError("the disk is full")

    ticket = ticket_of(desk.show("Ann"))
    with monkeypatch.context() as patch:
        patch.setattr(desk.store, "record", full_disk)
        assert desk.answer("Ann", ticket, "1") == (None, NOT_SAVED)
    with monkeypatch.context() as patch:
        patch.setattr(desk.store, "next_assignment", full_disk)
        assert desk.answer("Ann", ticket, "1") == (None, NOT_SHOWN)
    body, notice = desk.answer("Ann", ticket, "1")
    assert body is not None
    assert not notice
    assert len(list(desk.store.judgements())) == 1


def test_the_last_answer_leads_to_the_done_page(desk: Desk) -> None:
    page: str | None = desk.show("Ann")
    for _ in range(3):
        assert page is not None
        page, _ = desk.answer("Ann", ticket_of(page), "s")
    assert page is not None
    assert "All done" in page
    assert "3 of 3" in page


def test_what_is_shown_is_text_and_does_not_name_the_model(tmp_path: Path) -> None:
    store = Store(tmp_path / "labels.db")
    markup = "<b onclick='x()'>&amp;"
    prompt = Prompt(({"role": "<i>", "content": markup}, {"role": "user", "content": markup}))
    pair = [Candidate(prompt.id, f"{markup}{n}", {"model": "secret-model"}) for n in range(2)]
    store.add_prompts([prompt])
    store.add_candidates(pair)
    store.add_tasks([Task(prompt.id, pair[0].id, pair[1].id)])
    page = Desk(store, "secret").show("<u>Ann</u>")
    store.close()
    assert not any(tag in page for tag in ("<b ", "<i>", "<u>", "secret-model"))
    assert page.count("&lt;b onclick=&#39;x()&#39;&gt;&amp;amp;") == 4
