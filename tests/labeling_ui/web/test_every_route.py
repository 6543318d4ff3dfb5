"""Whatever is sent to whatever route, by whomever: it is answered or refused, and the server does not fail."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labeling_ui.campaign import Campaign
from tests.labeling_ui.pages import PLAIN, add_tasks
from tests.labeling_ui.signed_in import HTML, LabelingApp, open_app

# What is not sent: it ends the session of whoever sends it.
LEFT_OUT = {"/sign-out"}
# Names that some route reads; what is in them is not what it expects.
FIELDS = (
    "text", "campaign", "annotator", "verdict", "state", "since", "until", "divided", "flagged", "after", "done", "n",
    "edition", "language", "ticket", "task", "change", "reason", "back", "answer", "rationale", "place-0", "rating-0-0",
    "instructions", "began_from", "do", "aspect-0", "definition-0", "name", "password", "key", "texts", "seconds",
    "view", "aids", "prompt",
)  # fmt: skip
KNOWN = ("main", "ranks", "rates", "answers.jsonl", "preferences", "main.js", "tie", "1-3", "remove", "save", "0", "-1")
odd = st.one_of(
    st.sampled_from(
        [*KNOWN, "", "\0", "\ud800", "../../etc/passwd", "%00", "9" * 40, "1e999", "2026-02-30", "a" * 5000]
    ),
    st.text(max_size=30),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), odd),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(odd, inner, max_size=3)),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelingApp]:
    site = open_app(tmp_path_factory.mktemp("labels"), pairs=60)
    add_tasks(site.store, 3, Campaign(name="ranks", kind="ranking", responses=3, **PLAIN))
    add_tasks(site.store, 3, Campaign(name="rates", kind="rating", **PLAIN))
    yield site
    site.store.close()


def routes(site: LabelingApp) -> list[tuple[str, str]]:
    """Method and path of every route of the app's own, from the schema that it would publish."""
    paths = site.app.openapi()["paths"]
    return sorted((method.upper(), path) for path, found in paths.items() if path not in LEFT_OUT for method in found)


def clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


@pytest.mark.parametrize("role", ["nobody", "annotator", "reviewer", "admin"])
def test_no_request_makes_the_server_fail(site: LabelingApp, role: Any) -> None:
    client = site.visitor() if role == "nobody" else site.client(role, role)
    asked = routes(site)
    tasks = [task.id for task in site.store.tasks()]
    assert {path for _, path in asked} >= {"/api/judgements", "/admin/tasks/{task_id}/decision", "/export/{name}"}

    @settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[*HealthCheck], database=None)
    @given(data=st.data())
    def send(data: st.DataObject) -> None:
        method, path = data.draw(st.sampled_from(asked))
        place = re.sub(r"\{[^}]+\}", lambda _: in_path(data.draw(st.one_of(st.sampled_from(tasks), odd))), path)
        query = {name: clean(data.draw(odd)) for name in data.draw(st.sets(st.sampled_from(FIELDS), max_size=3))}
        sent = body(data)
        headers = sent.pop("headers", {}) | (HTML if data.draw(st.booleans()) else {})
        response = client.request(method, place, params=query, headers=headers, **sent)
        assert response.status_code < 500, (method, place, response.text[:300])

    send()
    assert site.store.verify() == []


def in_path(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in clean(text).encode()) or "%20"


def body(data: st.DataObject) -> dict[str, Any]:
    kind = data.draw(st.sampled_from(["none", "form", "json", "bytes"]))
    names = data.draw(st.sets(st.sampled_from(FIELDS), max_size=5))
    if kind == "form":
        return {"data": {name: clean(data.draw(odd)) for name in names}}
    if kind == "json":
        return {
            "content": _json({name: data.draw(values) for name in names}),
            "headers": {"content-type": "application/json"},
        }
    return {"content": data.draw(st.binary(max_size=40))} if kind == "bytes" else {}


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()  # half of a surrogate pair is an escape here, as a program may send it


@pytest.fixture(scope="module")
def judge(site: LabelingApp) -> TestClient:
    return site.client("Judge")


@given(
    answer=st.dictionaries(
        st.sampled_from(["verdict", "winner", "strength", "ranking", "ratings", "rationale"]), values, max_size=4
    )
)
@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=[*HealthCheck], database=None)
def test_no_answer_with_a_good_ticket_makes_the_server_fail(judge: TestClient, answer: dict[str, Any]) -> None:
    card = judge.get("/api/desk").json()["cards"][0]
    sent = _json({"ticket": card["ticket"], "answer": {"verdict": "preferred", **answer}, "seconds": 1})
    response = judge.post("/api/judgements", content=sent, headers={"content-type": "application/json"})
    assert response.status_code in (200, 409, 422), response.text[:300]
