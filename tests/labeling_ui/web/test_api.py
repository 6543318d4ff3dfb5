"""The labeling page's dealings with the server, without a browser."""

import re
import sqlite3
import time
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from foundation.errors import UserError
from labeling_ui.store import database
from labeling_ui.store.store import Store
from tests.labeling_ui.pages import client_of, fill_kind, forged
from tests.labeling_ui.web.judging import TIE, Row, desk, judge, said, shown_texts


def test_the_desk_has_the_current_card_and_the_next(client: TestClient) -> None:
    found = desk(client)
    assert (found["annotator"], found["role"], found["progress"]) == ("Ann", "annotator", {"done": 0, "total": 3})
    first, second = found["cards"]
    assert first["id"] != second["id"]
    assert first["kind"] == "pairwise"
    assert len(first["responses"]) == 2
    assert first["previous"] is None
    assert not found["can_undo"]
    assert [card["id"] for card in desk(client)["cards"]] == [first["id"], second["id"]]


def test_nothing_that_the_page_is_told_names_the_model(client: TestClient) -> None:
    assert "secret-model" not in client.get("/api/desk").text


@pytest.mark.parametrize("winner", [0, 1])
def test_a_preference_goes_to_the_response_at_that_position(client: TestClient, store: Store, winner: int) -> None:
    card = desk(client)["cards"][0]
    reply = judge(client, card, {"verdict": "preferred", "winner": winner, "strength": 2, "rationale": " because "})
    assert reply["saved"] == "taken"
    assert reply["progress"]["done"] == 1
    (judgement,) = said(store)
    texts = dict(zip(judgement.shown, shown_texts(store, judgement), strict=True))
    assert texts[judgement.answer.winner or ""] == card["responses"][winner]
    assert (judgement.answer.strength, judgement.answer.rationale) == (2, "because")


def test_the_reply_brings_the_next_cards(client: TestClient) -> None:
    first, second = desk(client)["cards"]
    reply = judge(client, first, TIE)
    assert reply["cards"][0]["id"] == second["id"]
    assert len(reply["cards"]) == 2
    assert first["id"] not in [card["id"] for card in reply["cards"]]


def test_the_same_ticket_again_counts_once(client: TestClient, store: Store) -> None:
    card = desk(client)["cards"][0]
    assert judge(client, card, TIE)["saved"] == "taken"
    assert judge(client, card, {"verdict": "both_bad"})["saved"] == "repeated"
    assert [judgement.answer.verdict for judgement in said(store)] == ["tie"]


def test_a_second_ticket_for_the_same_task_changes_nothing(client: TestClient, store: Store) -> None:
    one, other = desk(client)["cards"][0], desk(client)["cards"][0]
    assert one["ticket"] != other["ticket"]
    judge(client, one, TIE)
    assert judge(client, other, {"verdict": "both_bad"})["saved"] == "answered"
    assert [judgement.answer.verdict for judgement in said(store)] == ["tie"]


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("ranking", {"verdict": "ranked", "ranking": [[1], [0, 2]]}),
        ("ranking", {"verdict": "ranked", "ranking": [[3], [1], [0], [2]]}),
        ("rating", {"verdict": "rated", "ratings": {"helpful": [7], "honest": [1], "harmless": [4]}}),
        ("pairwise", {"verdict": "both_bad", "rationale": "Neither answers."}),
        ("rating", {"verdict": "skip", "reason": "expertise"}),
    ],
)
def test_each_kind_comes_back_as_it_was_given(store: Store, kind: Any, answer: Row) -> None:
    fill_kind(store, kind)
    client = client_of(store)
    card = desk(client)["cards"][0]
    assert judge(client, card, answer)["saved"] == "taken"
    (entry,) = client.get("/api/history").json()
    assert entry["answer"] == answer
    edit = client.get("/api/card", params={"ticket": entry["ticket"]}).json()
    assert edit["previous"] == answer
    assert (edit["responses"], edit["action"]) == (card["responses"], "edit")


def test_positions_are_those_on_the_screen(store: Store) -> None:
    fill_kind(store, "ranking")
    client = client_of(store)
    card = desk(client)["cards"][0]
    judge(client, card, {"verdict": "ranked", "ranking": [[2], [0, 3]]})
    (judgement,) = said(store)
    texts = dict(zip(judgement.shown, shown_texts(store, judgement), strict=True))
    ranked = [[texts[candidate] for candidate in group] for group in judgement.answer.ranking]
    responses = card["responses"]
    assert ranked == [[responses[2]], [responses[0], responses[3]]]


@pytest.mark.parametrize(
    ("kind", "answer", "message"),
    [
        ("pairwise", {"verdict": "preferred", "winner": 2}, "response 3; only 2 were shown"),
        ("pairwise", {"verdict": "preferred", "winner": -1}, "response 0; only 2"),
        ("pairwise", {"verdict": "preferred", "winner": True}, "winner"),
        ("pairwise", {"verdict": "preferred", "winner": 0, "strength": 4}, "strength 4"),
        ("pairwise", {"verdict": "preferred"}, "winner"),
        ("pairwise", {"verdict": "ranked", "ranking": [[0], [1]]}, "expected one of preferred"),
        ("pairwise", {"verdict": "best"}, "answer.verdict"),
        ("pairwise", {"verdict": "tie", "extra": 1}, "answer.extra"),
        ("pairwise", {"verdict": "tie", "rationale": "a\0b"}, "rationale.*NUL"),
        ("pairwise", {"verdict": "tie", "rationale": "x" * 4001}, "rationale.*4000"),
        ("pairwise", {"verdict": "preferred", "winner": 0, "rewrite": "x" * 20_001}, "rewrite.*20000"),
        ("pairwise", {"verdict": "skip", "reason": "x" * 1001}, "reason.*1000"),
        ("ranking", {"verdict": "ranked", "ranking": [[0], [4]]}, "response 5; only 4"),
        ("ranking", {"verdict": "ranked", "ranking": [[0], [0]]}, "ranks"),
        ("ranking", {"verdict": "ranked", "ranking": [[0], []]}, "rank"),
        ("ranking", {"verdict": "tie"}, "expected one of ranked"),
        ("rating", {"verdict": "rated", "ratings": {"helpful": [8], "honest": [1], "harmless": [1]}}, "1 to 7"),
        ("rating", {"verdict": "rated", "ratings": {"helpful": [1, 2]}}, "2 ratings; 1 responses"),
        ("rating", {"verdict": "rated", "ratings": {"funny": [1]}}, "funny|aspect"),
        ("rating", {"verdict": "rated", "ratings": {"helpful": [1.5]}}, "helpful"),
    ],
)
def test_a_bad_answer_is_refused_plainly_and_the_task_stays(store: Store, kind: Any, answer: Row, message: str) -> None:
    fill_kind(store, kind)
    client = client_of(store)
    card = desk(client)["cards"][0]
    detail = judge(client, card, answer, status=422)["detail"]
    assert isinstance(detail, str)
    assert re.search(message, detail), detail
    assert not said(store)
    assert desk(client)["cards"][0]["id"] == card["id"]
    assert judge(client, card, {"verdict": "skip"})["saved"] == "taken"  # the ticket is still good


@pytest.mark.parametrize(("dealt", "said", "least", "most"), [(60.0, 1.5, 1.5, 1.5), (0.0, 40_000.0, 0.0, 10.0)])
def test_an_answer_took_no_longer_than_its_card_was_out(
    client: TestClient,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    dealt: float,
    said: float,
    least: float,
    most: float,
) -> None:
    clock = SimpleNamespace(time=lambda: time.time() - dealt)
    monkeypatch.setattr("labeling_ui.web.card_tickets.time", clock)
    ticket = client.get("/api/desk").json()["cards"][0]["ticket"]
    client.post("/api/judgements", json={"ticket": ticket, "answer": {"verdict": "tie"}, "seconds": said})
    (judgement,) = store.judgements()
    assert judgement.seconds is not None
    assert least <= judgement.seconds <= most


def test_the_time_before_a_page_was_loaded_again_counts_with_the_ticket_of_then(
    client: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ago = SimpleNamespace(time=lambda: time.time() - 60)
    with monkeypatch.context() as then:
        then.setattr("labeling_ui.web.card_tickets.time", ago)
        first, other = (card["ticket"] for card in desk(client)["cards"][:2])
        bobs = desk(client, "Bob")["cards"][0]["ticket"]
    tried = ((first, 40.0), (other, 0.0), (bobs, 0.0), (forged(first), 0.0), ("", 0.0))
    for number, (since, seconds) in enumerate(tried):
        ticket = desk(client)["cards"][0]["ticket"]
        body = {"ticket": ticket, "since": since, "answer": TIE, "seconds": 40.0}
        assert client.post("/api/judgements", json=body).json()["saved"] == "taken"
        (judgement,) = store.judgements()
        assert judgement.seconds is not None
        assert seconds <= judgement.seconds <= seconds + 10
        assert client.post("/api/undo", json={"key": str(number)}).status_code == 200


@pytest.mark.parametrize("seconds", ["-1", "1e9", "NaN", "Infinity", '"long"'])
def test_impossible_times_are_refused(client: TestClient, store: Store, seconds: str) -> None:
    ticket = desk(client)["cards"][0]["ticket"]
    body = f'{{"ticket": "{ticket}", "answer": {{"verdict": "tie"}}, "seconds": {seconds}}}'
    response = client.post("/api/judgements", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 422
    assert "seconds" in response.json()["detail"]
    assert not said(store)


@pytest.mark.parametrize(
    "body", ["", "[]", "{", '{"ticket": 3}', '{"ticket": "\\ud800", "answer": {"verdict": "tie"}}']
)
def test_what_is_no_answer_at_all_is_refused_plainly(client: TestClient, body: str) -> None:
    response = client.post("/api/judgements", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 422
    assert isinstance(response.json()["detail"], str)


def test_a_ticket_is_good_for_its_annotator_and_its_server_only(client: TestClient, store: Store) -> None:
    card = desk(client)["cards"][0]
    assert "someone else" in judge(client, card, TIE, status=409, who="Bob")["detail"]
    assert "out of date" in judge(client, {"ticket": forged(card["ticket"])}, TIE, status=409)["detail"]
    assert "out of date" in judge(client_of(store, secret="another"), card, TIE, status=409)["detail"]
    assert not said(store)


def test_a_store_that_fails_is_told_apart_and_the_answer_can_be_sent_again(
    client: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object, **__: object) -> None:
        cause = sa.exc.OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))
        raise UserError("the label store could not be used: database or disk is full") from cause

    card = desk(client)["cards"][0]
    with monkeypatch.context() as patch:
        patch.setattr("labeling_ui.store.answering.desk.record_judgements", full_disk)
        assert "nothing was saved" in judge(client, card, TIE, status=503)["detail"]
    with monkeypatch.context() as patch:  # saved, but what comes next cannot be read
        patch.setattr("labeling_ui.store.answering.desk.hand_out", full_disk)
        assert judge(client, card, TIE) == {"saved": "taken", "progress": None, "cards": None}
    assert judge(client, card, TIE)["saved"] == "repeated"
    assert len(said(store)) == 1


def test_a_writer_that_takes_too_long_costs_no_answer(
    client: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = desk(client)["cards"][0]
    with monkeypatch.context() as patch, store.database.write():
        patch.setattr(database, "_BUSY_MILLISECONDS", 50)
        assert judge(client, card, TIE, status=503), "which the page sends again"
    assert judge(client, card, TIE)["saved"] == "taken"


def test_a_lock_that_is_never_released_is_a_failure_of_the_store(client: TestClient, store: Store) -> None:
    card = desk(client)["cards"][0]
    name = str(store.database.name)
    other = sqlite3.connect(name, isolation_level=None)
    other.execute("ALTER TABLE judgements RENAME TO gone")
    assert judge(client, card, TIE, status=503)
    other.execute("ALTER TABLE gone RENAME TO judgements")
    other.close()
    assert judge(client, card, TIE)["saved"] == "taken"


def test_a_rationale_that_is_required_is_asked_for(store: Store) -> None:
    fill_kind(store, "pairwise", rationale="required")
    client = client_of(store)
    card = desk(client)["cards"][0]
    assert "rationale" in judge(client, card, TIE, status=422)["detail"]
    assert judge(client, card, {**TIE, "rationale": "The same."})["saved"] == "taken"


def test_two_annotators_judge_apart(client: TestClient, store: Store) -> None:
    for who in ("Ann", "Bob"):
        for _ in range(3):
            judge(client, desk(client, who)["cards"][0], TIE, who=who)
        assert desk(client, who)["cards"] == []
    assert len({(judgement.task_id, judgement.annotator_id) for judgement in said(store)}) == 6


@pytest.mark.parametrize("path", ["/api/desk", "/api/history", "/api/card?ticket=x"])
def test_nothing_is_told_to_the_signed_out(client: TestClient, path: str) -> None:
    del client.headers["x-who"]
    assert client.get(path).status_code == 401


def test_modules_of_the_page_are_served_and_nothing_else(client: TestClient) -> None:
    response = client.get("/page/main.js")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/javascript")
    for path in ("/page/../api.py", "/page/..%2F..%2Fapi.py", "/page/nothing.js", "/page/%2Fetc%2Fpasswd"):
        assert client.get(path).status_code == 404
