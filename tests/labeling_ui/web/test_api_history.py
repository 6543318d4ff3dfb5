"""Second thoughts: undo, edits, and a history that shows one's own answers alone."""

from fastapi.testclient import TestClient

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Candidate, Prompt, Task
from labeling_ui.store.store import Store
from tests.labeling_ui.pages import client_of
from tests.labeling_ui.store.statements import statements
from tests.labeling_ui.web.judging import TIE, desk, judge, said


def test_undo_brings_the_last_card_back_with_what_was_said(client: TestClient, store: Store) -> None:
    first = desk(client)["cards"][0]
    answer = {"verdict": "preferred", "winner": 1, "strength": 3}
    judge(client, first, answer)
    assert desk(client)["can_undo"]
    reply = client.post("/api/undo", json={"key": "one"}).json()
    assert reply["undone"]
    assert reply["progress"]["done"] == 0
    assert (reply["cards"][0]["id"], reply["cards"][0]["previous"]) == (first["id"], answer)
    assert reply["cards"][0]["responses"] == first["responses"]
    assert not said(store)
    assert judge(client, reply["cards"][0], TIE)["saved"] == "taken"
    assert [judgement.answer.verdict for judgement in said(store)] == ["tie"]


def test_an_undo_that_is_sent_twice_takes_one_answer_back(client: TestClient, store: Store) -> None:
    for _ in range(2):
        judge(client, desk(client)["cards"][0], TIE)
    for _ in range(2):
        assert client.post("/api/undo", json={"key": "one"}).json()["undone"]
    assert len(said(store)) == 1
    assert client.post("/api/undo", json={"key": "two"}).json()["undone"]
    assert not client.post("/api/undo", json={"key": "three"}).json()["undone"]


def test_an_edit_replaces_the_answer(client: TestClient, store: Store) -> None:
    judge(client, desk(client)["cards"][0], TIE)
    (entry,) = client.get("/api/history").json()
    card = client.get("/api/card", params={"ticket": entry["ticket"]}).json()
    assert judge(client, card, {"verdict": "both_bad"})["saved"] == "edited"
    assert judge(client, card, {"verdict": "both_bad"})["saved"] == "repeated"
    assert [judgement.answer.verdict for judgement in said(store)] == ["both_bad"]
    assert [event.action for event in store.events()] == ["answer", "edit"]


def test_history_and_cards_of_others_cannot_be_seen(client: TestClient) -> None:
    judge(client, desk(client)["cards"][0], TIE)
    (entry,) = client.get("/api/history").json()
    assert entry["prompt"].startswith("Question")
    assert client.get("/api/history", headers={"x-who": "Bob"}).json() == []
    response = client.get("/api/card", params={"ticket": entry["ticket"]}, headers={"x-who": "Bob"})
    assert response.status_code == 409


def test_a_long_prompt_is_cut_in_the_history_only(store: Store) -> None:
    store.add_campaign(Campaign())
    prompt = Prompt(({"role": "user", "content": "word " * 400},))
    pair = [Candidate(prompt.id, text) for text in ("a", "b")]
    store.add_prompts([prompt])
    store.add_candidates(pair)
    store.add_tasks([Task(prompt.id, (pair[0].id, pair[1].id))])
    client = client_of(store)
    card = desk(client)["cards"][0]
    assert card["prompt"][0]["content"] == "word " * 400
    judge(client, card, TIE)
    assert 100 < len(client.get("/api/history").json()[0]["prompt"]) <= 120


def test_an_undo_is_one_transaction_that_writes(client: TestClient, store: Store) -> None:
    judge(client, desk(client)["cards"][0], TIE)
    with statements(store) as seen:
        found = client.post("/api/undo", json={"key": "u"}).json()
    assert (found["undone"], len(found["cards"])) == (True, 2)
    assert seen.count("BEGIN IMMEDIATE") == 1
