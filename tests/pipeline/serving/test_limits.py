"""What one person may ask at a time, what all may, and places that are free again when a client goes away."""

import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest

from labeling_ui.people.pace import Pace
from pipeline.serving import endpoint
from tests.pipeline.serving.conftest import Site, open_site

ASKED: list[Any] = [{"role": "user", "content": "tell me of the cat"}]
BODY = {"model": "base", "messages": ASKED, "max_tokens": 16, "seed": 1}


@pytest.fixture(scope="module")
def narrow(tiny_model: Path, adapters: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two are answered, four wait, three of one person."""
    limits = ("serve.at_once=2", "serve.waiting=4", "serve.of_one=3", "serve.per_minute=1000")
    with open_site(tiny_model, adapters, tmp_path_factory.mktemp("narrow"), *limits) as opened:
        yield opened


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ask(site: Site, name: str, **more: Any) -> int:
    """The status of a request."""
    try:
        site.client(name, timeout=120, **more).chat.completions.create(**BODY)
    except openai.APIStatusError as error:
        return error.status_code if int(error.response.headers["retry-after"]) >= 1 else 0
    return 200


@contextmanager
def at_once(number: int, hold: Callable[[], None]) -> Iterator[ThreadPoolExecutor]:
    """Threads, whose answers go on where a test fails."""
    with ThreadPoolExecutor(number) as threads:
        try:
            yield threads
        finally:
            hold()


def test_twenty_clients_of_one_person_hold_up_nobody_else(narrow: Site, hold: Callable[[], None]) -> None:
    narrow.key("Ann"), narrow.key("Bob")
    with at_once(21, hold) as threads:
        anns = [threads.submit(ask, narrow, "Ann") for _ in range(20)]
        until(lambda: sum(each.done() for each in anns) == 17)
        assert narrow.engine.places == (2, 1)
        bob = threads.submit(ask, narrow, "Bob")
        until(lambda: narrow.engine.places == (2, 2))
        hold()
        assert sorted(each.result() for each in anns) == [200] * 3 + [429] * 17
        assert bob.result() == 200
    assert narrow.engine.places == (0, 0)


def test_twenty_people_at_once_fill_the_places_and_the_rest_is_told_when_to_come_again(
    narrow: Site, hold: Callable[[], None]
) -> None:
    people = [f"Person {number}" for number in range(20)]
    for name in people:
        narrow.key(name)
    with at_once(20, hold) as threads:
        asked = [threads.submit(ask, narrow, name) for name in people]
        until(lambda: sum(each.done() for each in asked) == 14)
        assert narrow.engine.places == (2, 4)
        hold()
        assert sorted(each.result() for each in asked) == [200] * 6 + [503] * 14
    assert narrow.engine.places == (0, 0)


def test_twenty_clients_that_come_again_are_all_answered(site: Site) -> None:
    site.key("Ann")
    with ThreadPoolExecutor(20) as threads:
        statuses = list(threads.map(lambda _: ask(site, "Ann", max_retries=50), range(20)))
    assert statuses == [200] * 20


def test_whoever_has_nothing_answered_comes_before_anothers_second(narrow: Site, hold: Callable[[], None]) -> None:
    done: list[str] = []

    def asking(name: str) -> None:
        ask(narrow, name)
        done.append(name)

    narrow.key("Cid"), narrow.key("Dee")
    with at_once(4, hold) as threads:
        for taken in ((1, 0), (2, 0), (2, 1)):
            threads.submit(asking, "Cid")
            until(lambda taken=taken: narrow.engine.places == taken)  # type: ignore[misc]
        threads.submit(asking, "Dee")
        until(lambda: narrow.engine.places == (2, 2))
        first = next(answer for answer in narrow.engine._answering)
        narrow.engine.leave(first)  # one of the first two goes
        until(lambda: narrow.engine.places == (2, 1))
        assert [answer.person_id for answer in narrow.engine._answering][1] == narrow.store.annotator("Dee").id
        first.put(None)
        hold()
    assert sorted(done) == ["Cid", "Cid", "Cid", "Dee"]


def test_more_than_the_requests_of_a_minute_are_refused(
    tiny_model: Path, adapters: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "Pace", partial(Pace, clock=lambda: 0.0))  # another one comes every 20 seconds
    with open_site(tiny_model, adapters, tmp_path, "serve.per_minute=3") as slow:
        client = slow.client()
        for _ in range(3):
            client.models.list()
        with pytest.raises(openai.RateLimitError) as error:
            client.models.list()
        assert error.value.response.headers["retry-after"] == "20"
        assert error.value.code == "rate_limit_exceeded"
        assert slow.client("Bob").models.list().data


def post(site: Site, body: Mapping[str, Any], name: str = "Eve") -> http.client.HTTPConnection:
    """A connection on which the request has been sent."""
    parts = urlsplit(site.address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 0, timeout=60)
    connection.request(
        "POST", "/v1/chat/completions", json.dumps(body),
        {"authorization": f"Bearer {site.key(name)}", "content-type": "application/json"},
    )  # fmt: skip
    return connection


def test_a_client_that_leaves_in_the_middle_of_a_stream_frees_its_place(site: Site, hold: Callable[[], None]) -> None:
    stream = site.client("Eve").chat.completions.create(**BODY, stream=True)
    for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    assert site.engine.places == (1, 0)
    stream.close()
    until(lambda: site.engine.places == (0, 0))


@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_that_leaves_before_the_answer_frees_its_place(
    site: Site, hold: Callable[[], None], streamed: bool
) -> None:
    connection = post(site, BODY | {"stream": streamed})
    until(lambda: site.engine.places == (1, 0))
    connection.close()
    until(lambda: site.engine.places == (0, 0))


def test_one_that_waits_frees_its_place_too(narrow: Site, hold: Callable[[], None]) -> None:
    connections = [post(narrow, BODY, name) for name in ("Eve", "Fay", "Gus")]
    until(lambda: narrow.engine.places == (2, 1))
    for connection in connections:
        connection.close()
    until(lambda: narrow.engine.places == (0, 0))


def test_too_large_a_request_is_refused_and_one_without_a_key_is_not_read(site: Site) -> None:
    text = {"role": "user", "content": "a" * endpoint.LARGEST_REQUEST}
    with pytest.raises(openai.APIStatusError) as error:
        site.client().chat.completions.create(model="base", messages=[text])  # type: ignore[list-item]
    assert error.value.status_code == 413
    assert error.value.code == "request_too_large"


def test_a_failure_is_told_without_its_words_and_the_next_is_answered(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from pipeline.serving import engine

    def fails(*_: Any, **__: Any) -> Iterator[Any]:
        raise RuntimeError("a secret path")
        yield

    monkeypatch.setattr(engine, "draw_in_steps", fails)
    with pytest.raises(openai.InternalServerError, match="Try again") as error:
        site.client().chat.completions.create(**BODY)
    assert "secret" not in str(error.value)
    with pytest.raises(openai.APIError, match="Try again"):
        list(site.client().chat.completions.create(**BODY, stream=True))
    monkeypatch.undo()
    assert ask(site, "Ann") == 200
    assert "a secret path" in caplog.text


def test_a_revoked_key_lets_nobody_in_from_then_on(site: Site) -> None:
    from labeling_ui.people.api_keys import keys, revoke_key

    client = site.client("Ida")
    assert client.models.list().data
    (mine,) = [key for key in keys(site.store.database) if key.name == "Ida"]
    revoke_key(site.store.database, mine.id)
    with pytest.raises(openai.AuthenticationError):
        client.models.list()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 404),
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/embeddings", 404),
    ],
)
def test_other_places_are_told_in_the_same_shape(site: Site, method: str, path: str, status: int) -> None:
    parts = urlsplit(site.address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 0, timeout=60)
    connection.request(method, path, headers={"authorization": f"Bearer {site.key('Ann')}"})
    with connection.getresponse() as answer:
        assert answer.status == status
        assert json.loads(answer.read())["error"]["message"]
    connection.close()
