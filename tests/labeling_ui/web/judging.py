"""Judging as the page does: the cards on the desk, an answer to one, and what the store then holds."""

from typing import Any

from fastapi.testclient import TestClient

from labeling_ui.data_model import Judgement
from labeling_ui.store.store import Store

Row = dict[str, Any]
TIE = {"verdict": "tie"}


def desk(client: TestClient, who: str = "Ann") -> Row:
    response = client.get("/api/desk", headers={"x-who": who})
    assert response.status_code == 200, response.text
    return dict(response.json())


def judge(client: TestClient, card: Row, answer: Row, status: int = 200, who: str = "Ann", **more: Any) -> Row:
    body = {"ticket": card["ticket"], "answer": answer, "seconds": 1.5, **more}
    response = client.post("/api/judgements", json=body, headers={"x-who": who})
    assert response.status_code == status, response.text
    return dict(response.json())


def said(store: Store) -> list[Judgement]:
    return list(store.judgements())


def shown_texts(store: Store, judgement: Judgement) -> list[str]:
    texts = {candidate.id: candidate.response for candidate in store.candidates()}
    return [texts[candidate] for candidate in judgement.shown]
