"""What the page is told in a qualification round, and what leads see and do."""

from fastapi.testclient import TestClient

from labeling_ui.store.store import Store
from labeling_ui.web.admin.figures import quality_html, read_overview
from tests.labeling_ui.pages import add_tasks, client_of, fill_kind
from tests.labeling_ui.web.judging import TIE, desk, judge


def qualifying(store: Store) -> TestClient:
    fill_kind(store, "pairwise", qualification=2, qualification_share=1.0, qualification_attempts=1)
    add_tasks(store, 2, store.campaigns()[0], asked="Known", gold="It is <b>right</b>.")
    return client_of(store)


def answer(client: TestClient, good: bool) -> dict[str, object]:
    (card,) = desk(client)["cards"]
    best = next(place for place, text in enumerate(card["responses"]) if text.startswith("Good"))
    return judge(client, card, {"verdict": "preferred", "winner": best if good else 1 - best})


def test_each_answer_is_told_and_the_next_card_comes_with_it(store: Store) -> None:
    client = qualifying(store)
    (card,) = desk(client)["cards"]
    assert card["round"] == {"number": 1, "of": 2}
    reply = answer(client, good=True)
    told = reply["feedback"]
    assert isinstance(told, dict)
    assert (told["right"], told["state"], told["answered"], told["correct"]) == (1.0, "open", 1, 1.0)
    assert told["known"]["rationale"] == "It is <b>right</b>."
    told = answer(client, good=True)["feedback"]
    assert isinstance(told, dict)
    assert told["state"] == "passed"
    later = desk(client)
    assert [each["round"] for each in later["cards"]] == [None, None]
    assert judge(client, later["cards"][0], TIE)["feedback"] is None


def test_an_answer_that_is_sent_again_is_told_again(store: Store) -> None:
    client = qualifying(store)
    (card,) = desk(client)["cards"]
    first = judge(client, card, TIE)
    again = judge(client, card, TIE)
    assert (first["saved"], again["saved"]) == ("taken", "repeated")
    assert first["feedback"] == again["feedback"]


def test_whoever_has_failed_is_told_why_nothing_comes_and_nothing_can_be_taken_back(store: Store) -> None:
    client = qualifying(store)
    answer(client, good=True)
    reply = answer(client, good=False)
    assert reply["cards"] == []
    assert reply["notices"] == [{"word": "empty.failed", "campaign": "main"}]
    assert desk(client)["notices"] == reply["notices"]
    refused = client.post("/api/undo", json={"key": "one"})
    assert refused.status_code == 422
    assert "is final" in refused.json()["detail"]


def test_leads_see_who_has_passed(store: Store) -> None:
    client = qualifying(store)
    store.annotator("Ann")
    assert "Who has qualified?" not in quality_html(read_overview(store))
    answer(client, good=True)
    answer(client, good=False)
    page = quality_html(read_overview(store))
    assert "Who has qualified?" in page
    assert "failed, no attempt left" in page
    assert "1 of 2" in page
