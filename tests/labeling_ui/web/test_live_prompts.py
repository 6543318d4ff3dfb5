"""Live generation without a browser: streamed, stored, judged; one at a time, and never in labeling's way."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from foundation.errors import UserError
from labeling_ui.data_model import Answer, Message
from labeling_ui.store.campaign_rules.rules import CampaignRules
from labeling_ui.store.store import Store
from labeling_ui.web import live_prompts
from tests.labeling_ui.pages import client_of, fill_kind

TEXTS = [("a", "x"), ("a b", "x y"), ("a b c", "x y z")]


class Writer:
    """A stand-in for the model, which counts how many use it at once."""

    source: Mapping[str, Any] = {"model": "tiny", "round": 3}

    def __init__(self, texts: Iterable[tuple[str, str]] = TEXTS, fails: Exception | None = None) -> None:
        self.texts, self.fails = texts, fails
        self.asked: list[str] = []
        self.go = threading.Event()  # cleared, it has begun a response and does not go on
        self.go.set()
        self.running = self.most = self.closed = 0

    def __call__(self, messages: Sequence[Message], seed: int) -> Iterator[tuple[str, str]]:
        self.asked.append(messages[-1]["content"])
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            for pair in self.texts:
                yield pair
                self.go.wait(120)
            if self.fails:
                raise self.fails
        finally:
            self.running -= 1
            self.closed += 1


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "labels.db")
    fill_kind(store, "pairwise", live=True)
    yield store
    store.close()


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whoever got a place in the queue, or was refused one."""
    people: list[str] = []
    enter = live_prompts.Queue.enter

    def watched(queue: live_prompts.Queue, person_id: str) -> live_prompts.Place:
        try:
            return enter(queue, person_id)
        finally:
            people.append(person_id)

    monkeypatch.setattr(live_prompts.Queue, "enter", watched)
    return people


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def ask(client: TestClient, prompt: str = "Why?") -> list[dict[str, Any]]:
    response = client.post("/api/live", json={"prompt": prompt})
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


def test_responses_are_streamed_stored_and_judged_like_any_other(store: Store) -> None:
    client = client_of(store, Writer())
    lines = ask(client, "Why is the sky blue?")
    assert lines[0] == {"waiting": 0}
    assert [tuple(line["texts"]) for line in lines[1:-1]] == TEXTS
    card = lines[-1]["card"]
    assert card["responses"] == ["a b c", "x y z"]
    assert card["prompt"] == [{"role": "user", "content": "Why is the sky blue?"}]
    answer = {"verdict": "preferred", "winner": 1, "strength": 1}
    sent = {"ticket": card["ticket"], "answer": answer, "seconds": 2.0}
    assert client.post("/api/judgements", json=sent).json()["saved"] == "taken"
    assert client.post("/api/judgements", json=sent).json()["saved"] == "repeated"
    (judgement,) = store.judgements()
    (task,) = [task for task in store.tasks() if task.id == judgement.task_id]
    assert task.campaign == "main"
    candidates = {candidate.id: candidate for candidate in store.candidates()}
    winner = candidates[judgement.answer.winner or ""]
    assert winner.response == "x y z"
    assert winner.source["model"] == "tiny"
    assert winner.source["round"] == 3
    assert winner.source["live"] is True
    assert isinstance(winner.source["seed"], int)
    assert store.prompts()


def test_nobody_else_is_given_the_pair(store: Store) -> None:
    client = client_of(store, Writer())
    card = ask(client)[-1]["card"]
    assert [task.reserved_for for task in store.tasks() if task.id == card["id"]] == [store.annotator("Ann").id]
    assert store.waiting() == 3 * 3  # the tasks that anybody may be given
    sent = {"ticket": card["ticket"], "answer": {"verdict": "tie"}}
    assert client.post("/api/judgements", json=sent, headers={"x-who": "Bob"}).status_code == 409


def test_the_desk_says_whether_it_is_offered(store: Store) -> None:
    assert client_of(store, Writer()).get("/api/desk").json()["live"]
    assert not client_of(store).get("/api/desk").json()["live"]
    assert client_of(store).post("/api/live", json={"prompt": "x"}).status_code == 404


def test_a_campaign_without_it_refuses(tmp_path: Path) -> None:
    store = Store(tmp_path / "other.db")
    fill_kind(store, "pairwise")
    response = client_of(store, Writer()).post("/api/live", json={"prompt": "x"})
    store.close()
    assert response.status_code == 403


def closed_by(store: Store, reason: str) -> None:
    """Give the campaign a limit that Ann is at."""
    ended, rules = datetime(2020, 1, 1, tzinfo=UTC), CampaignRules(store.database)
    if reason == "people":
        store.annotator("Bob")
        rules.assign("main", ["Bob"])
        return
    limit = {"deadline": {"deadline": ended}, "quota": {"quota": 1}, "qualification": {"qualification": 2}}[reason]
    store.add_campaign(store.campaigns()[0].model_copy(update=limit))
    if reason == "quota":
        ann = store.annotator("Ann").id
        shown = store.next_assignment(ann)
        assert shown is not None
        store.record(shown.judgement(Answer("tie")))


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("people", "not assigned"), ("deadline", "has ended"), ("quota", "quota"), ("qualification", "qualification"),
    ],
)  # fmt: skip
def test_whoever_is_asked_nothing_may_type_nothing(store: Store, reason: str, told: str) -> None:
    writer = Writer()
    client = client_of(store, writer)
    store.annotator("Ann")
    closed_by(store, reason)
    response = client.post("/api/live", json={"prompt": "Why?"})
    assert (response.status_code, writer.asked) == (403, [])
    assert told in response.json()["detail"]


def test_a_required_reason_is_required_of_a_live_pair(tmp_path: Path) -> None:
    store = Store(tmp_path / "other.db")
    fill_kind(store, "pairwise", live=True, rationale="required")
    client = client_of(store, Writer())
    sent = {"ticket": ask(client)[-1]["card"]["ticket"], "answer": {"verdict": "tie"}}
    refused = client.post("/api/judgements", json=sent)
    assert (refused.status_code, "gives no rationale" in refused.json()["detail"]) == (422, True)
    sent["answer"] = {"verdict": "tie", "rationale": "Alike."}
    assert client.post("/api/judgements", json=sent).json()["saved"] == "taken"
    store.close()


@pytest.mark.parametrize("prompt", ["", "  \n", "x" * 8001, "a\0b", 3, None])
def test_a_prompt_that_cannot_be_asked_is_refused(store: Store, prompt: object) -> None:
    writer = Writer()
    response = client_of(store, writer).post("/api/live", json={"prompt": prompt})
    assert response.status_code == 422
    assert "prompt" in response.json()["detail"]
    assert not writer.asked


def test_equal_responses_are_not_stored(store: Store) -> None:
    lines = ask(client_of(store, Writer([("same", "same ")])))
    assert "the same" in lines[-1]["error"]
    assert len(store.tasks()) == 3


@pytest.mark.parametrize(
    ("error", "told"), [(UserError("the prompt is too long"), "too long"), (RuntimeError("secret path"), "Try again")]
)
def test_a_failure_is_told_plainly_and_the_next_is_answered(store: Store, error: Exception, told: str) -> None:
    writer = Writer(fails=error)
    client = client_of(store, writer)
    last = ask(client)[-1]
    assert told in last["error"]
    assert "secret" not in last["error"]
    writer.fails = None
    assert "card" in ask(client)[-1]


def test_one_writes_at_a_time_and_labeling_goes_on(store: Store, entered: list[str]) -> None:
    writer = Writer()
    writer.go.clear()
    app = client_of(store, writer).app

    async def together() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=30) as client:
            asking = []
            for n in range(4):
                asked = client.post("/api/live", json={"prompt": f"{n}"}, headers={"x-who": f"A{n}"})
                asking.append(asyncio.create_task(asked))
                await until(lambda n=n: len(entered) == n + 1)  # type: ignore[misc]
            await until(lambda: writer.running == 1)
            for _ in range(5):
                desk = await client.get("/api/desk", headers={"x-who": "Bob"})
                assert desk.status_code == 200
            assert writer.running == 1  # they were answered in the middle of it
            writer.go.set()
            return await asyncio.gather(*asking)

    responses = asyncio.run(together())
    assert writer.most == 1
    ahead = [json.loads(response.text.splitlines()[0])["waiting"] for response in responses]
    assert sorted(ahead) == [0, 1, 2, 3]
    assert [ahead[int(asked)] for asked in writer.asked] == [0, 1, 2, 3]  # in the order of their arrival
    assert all("card" in response.text for response in responses)


def test_too_long_a_line_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_prompts, "LONGEST_QUEUE", 0)
    response = client_of(store, Writer()).post("/api/live", json={"prompt": "x"})
    assert response.status_code == 422
    assert "Too many" in response.json()["detail"]


def test_one_who_goes_away_frees_the_place(store: Store) -> None:
    writer = Writer((f"a{n}", f"b{n}") for n in count())  # it ends only if it is closed
    app: Any = client_of(store, writer).app

    async def leave() -> None:
        body = b'{"prompt": "long"}'
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "method": "POST", "path": "/api/live",
            "raw_path": b"/api/live", "root_path": "", "query_string": b"", "scheme": "http", "http_version": "1.1",
            "headers": [(b"x-who", b"Ann"), (b"content-type", b"application/json")],
            "client": ("test", 1), "server": ("test", 80),
        }  # fmt: skip
        gone, began = asyncio.Event(), asyncio.Event()
        said = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Any:
            for message in said:
                return message
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if b"texts" in message.get("body", b""):
                began.set()

        asked = asyncio.create_task(app(scope, receive, send))
        await asyncio.wait_for(began.wait(), 120)
        gone.set()
        await asyncio.wait_for(asked, 120)

    asyncio.run(leave())
    assert writer.running == 0
    assert writer.closed == 1
    assert len(store.tasks()) == 3
    assert threading.active_count() < 50


def test_parallel_requests_of_one_person_leave_anothers_waiting_time_unchanged(
    store: Store, entered: list[str]
) -> None:
    def turns_before_bob(requests_of_ann: int) -> tuple[int, int]:
        """How many of Ann's prompts are answered before Bob's, and how many are refused."""
        entered.clear()
        writer = Writer(texts=[("a", f"x {requests_of_ann}")])
        writer.go.clear()
        app = client_of(store, generate=writer).app

        async def race() -> int:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://labels.test") as both:

                def ask(name: str, prompt: str) -> asyncio.Task[httpx.Response]:
                    return asyncio.create_task(both.post("/api/live", json={"prompt": prompt}, headers={"x-who": name}))

                asked = [ask("Ann", f"Ann {number}") for number in range(requests_of_ann)]
                await until(lambda: len(entered) == requests_of_ann and writer.running == 1)
                asked.append(ask("Bob", "Bob"))
                await until(lambda: len(entered) == requests_of_ann + 1)
                writer.go.set()
                answers = await asyncio.gather(*asked)
            return sum(answer.status_code == 429 for answer in answers)

        refused = asyncio.run(race())
        return writer.asked.index("Bob"), refused

    assert turns_before_bob(1) == (1, 0)
    assert turns_before_bob(20) == (1, 18)


def test_everybodys_first_prompt_comes_before_anybodys_second() -> None:
    queue = live_prompts.Queue()
    ann, again = queue.enter("Ann"), queue.enter("Ann")
    bob = queue.enter("Bob")
    assert [queue.ahead(place) for place in (ann, bob, again)] == [0, 1, 2]
    with pytest.raises(live_prompts.TooMany):
        queue.enter("Ann")
    queue.leave(ann)
    cid = queue.enter("Cid")  # Ann's second is her first now: it is not overtaken for ever
    assert [queue.ahead(place) for place in (bob, again, cid)] == [0, 1, 2]
