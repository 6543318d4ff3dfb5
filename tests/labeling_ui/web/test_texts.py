"""What the page is told of a card's texts on request: what differs, and which were cut off."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from labeling_ui.markdown.render import LONGEST
from labeling_ui.store.store import Store
from tests.labeling_ui.pages import client_of, fill_kind
from tests.labeling_ui.web.judging import TIE, desk, judge, said


def differences(client: TestClient, *texts: str, status: int = 200) -> Any:
    response = client.post("/api/differences", json={"texts": texts})
    assert response.status_code == status, response.text
    return response.json()


def test_what_differs_is_marked_as_written_and_as_rendered(client: TestClient) -> None:
    found = differences(client, "Put *oil* on <b> hinges.", "Put *tar* on <b> hinges.")
    assert found["raw"][0] == "Put *<mark>oil</mark>* on &lt;b&gt; hinges."
    assert "<em><mark>tar</mark></em> on &lt;b&gt; hinges." in found["rendered"][1]


def test_nothing_but_marks_comes_of_what_is_compared(client: TestClient) -> None:
    attack = "a b c d <script>alert(1)</script> <mark onclick=alert(1)> <img src=x onerror=alert(1)>"
    found = differences(client, attack, attack.replace("x", "y"))
    for html in (*found["raw"], *found["rendered"]):
        assert "<script" not in html
        assert "<img" not in html
        assert "<mark onclick" not in html
        assert "<mark>" in html


def test_a_stranger_and_a_text_that_is_too_long_are_refused(client: TestClient) -> None:
    assert client.post("/api/differences", json={"texts": ["a", "b"]}, headers={"x-who": ""}).status_code == 401
    differences(client, "a" * (LONGEST + 1), "b", status=422)
    differences(client, "a", "b", "c", status=422)


@pytest.mark.parametrize(
    ("ends", "marked"),
    [
        (("length", "stop"), {True: 1, False: 1}),
        (("length", "length"), {True: 2, False: 0}),
        (("length", ""), {True: 0, False: 2}),  # a mark on one would say that the other is from elsewhere
        (("length", "eos"), {True: 0, False: 2}),
    ],
)
def test_a_response_that_was_cut_off_is_marked_where_it_is_known_of_both(
    store: Store, ends: tuple[str, ...], marked: dict[bool, int]
) -> None:
    fill_kind(store, "pairwise", n=1, texts=("one", "two"), ends=ends)
    (card,) = (one for one in desk(client_of(store))["cards"] if "one 0." in one["responses"])
    assert {is_it: card["cut_off"].count(is_it) for is_it in (True, False)} == marked
    assert "finish_reason" not in json.dumps(card)


def test_what_was_shown_on_request_is_kept_once(client: TestClient, store: Store) -> None:
    first, second = desk(client)["cards"]
    judge(client, first, TIE, aids=["length", "differences", "length"], status=422)
    judge(client, first, TIE, aids=["length", "differences"])
    judge(client, second, TIE)
    assert [one.aids for one in said(store)] == [("differences", "length"), None]
