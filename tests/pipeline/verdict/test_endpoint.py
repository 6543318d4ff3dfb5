"""A language model behind an address: asked in both orders, told plainly where it fails, and never decisive."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from rich.console import Console

from foundation.errors import UserError
from foundation.files import Row
from pipeline import stages
from pipeline.config.config import load_config
from pipeline.config.verdict import VerdictConfig
from pipeline.runs.label_store import label_store
from pipeline.verdict.endpoint import judged_by_endpoint
from tests.pipeline import tiny
from tests.pipeline.verdict.test_deciding import for_the_candidate, judge

Reply = Callable[[dict[str, Any]], bytes]
PAIRS: list[Row] = [
    {
        "prompt_id": str(at),
        "prompt": tiny.ask("why?"),
        "candidate": "a long answer it is",
        "champion": "no",
        "scores": {},
    }
    for at in range(5)
]


@contextmanager
def serving(reply: Reply) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a server that answers with `reply`, and what it was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.append({**body, "path": self.path, "key": self.headers["authorization"]})
            self.send_response(200)
            self.end_headers()
            self.wfile.write(reply(body))

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()


def says(text: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


def longer(body: dict[str, Any]) -> bytes:
    sides = [part.split("\n>>>")[0] for part in body["messages"][0]["content"].split("<<<\n")[1:3]]
    return says("A" if len(sides[0]) > len(sides[1]) else "B")


def scores(address: str, pairs: list[Row] = PAIRS) -> tuple[list[Any], str]:
    console = Console(file=StringIO(), width=200)
    config = VerdictConfig(endpoint=address, endpoint_model="judge")
    judged = judged_by_endpoint(config, pairs, "Choose the kinder one.", console)
    assert isinstance(console.file, StringIO)
    found = [next(iter(row["scores"].values()), None) for row in judged]
    return [each and each["candidate"] for each in found], console.file.getvalue()


def test_it_is_asked_in_both_orders_under_the_guideline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a key")
    with serving(longer) as (address, asked):
        assert scores(address)[0] == [1.0] * 5
    assert len(asked) == 10
    assert {(each["path"], each["model"], each["key"]) for each in asked} == {
        ("/v1/chat/completions", "judge", "Bearer a key")
    }
    assert all("Choose the kinder one." in each["messages"][0]["content"] for each in asked)


def test_what_it_prefers_in_one_order_alone_is_a_tie() -> None:
    with serving(lambda body: says("A")) as (address, _):
        assert scores(address)[0] == [0.5] * 5


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (says("Both are lovely."), "'Both are lovely.' in the place of A, B or TIE"),
        (says("A is longer, B is kinder"), "in the place of A, B or TIE"),
        (b"<html>busy</html>", "none of the OpenAI API"),
        (b'{"error": "no such model"}', "none of the OpenAI API"),
    ],
)
def test_nonsense_is_told_and_is_no_judgement(reply: bytes, told: str) -> None:
    with serving(lambda body: reply) as (address, asked):
        found, shown = scores(address)
    assert found == [None] * 5
    assert told in shown
    assert "judged 0 of 5 pairs" in shown
    assert len(asked) == 3, "it is given up"


def test_an_address_that_is_down_is_told() -> None:
    with serving(longer) as (address, _):
        pass
    found, shown = scores(address)
    assert found == [None] * 5
    assert "could not be asked" in shown
    assert "The verdict does not need it" in shown


def test_one_bad_answer_costs_one_pair() -> None:
    answers = iter([says("hm"), *[says("A"), says("B")] * 4])
    with serving(lambda body: next(answers)) as (address, _):
        assert scores(address)[0] == [None, 1.0, 1.0, 1.0, 1.0]


def test_an_address_without_a_model_or_of_another_kind_is_refused() -> None:
    with pytest.raises(UserError, match="name of its model"):
        load_config(None, ["verdict.endpoint=http://localhost:1"], {})
    with pytest.raises(UserError, match="begins with http"):
        load_config(None, ["verdict.endpoint=file:///etc/passwd", "verdict.endpoint_model=x"], {})


def test_it_stands_beside_the_people_and_changes_nothing(tuned: Path, verdict_settings: list[str]) -> None:
    stages.verdict(*tiny.opened(tuned, verdict_settings))
    with serving(lambda body: says("TIE")) as (address, _):
        settings = [*verdict_settings, f"verdict.endpoint={address}", "verdict.endpoint_model=judge"]
        opened = tiny.opened(tuned, settings)
        with label_store(*opened[:2]) as store:
            judge(store, for_the_candidate(tuned))
        found = stages.verdict(*opened)
    assert found["outcome"] == "better"
    beside = found["judges"][f"judge at {address}"]
    assert (beside["win_rate"], beside["agreement"]["share"]) == (0.5, 0.5)
    assert beside["agreement"]["prompts"] == beside["prompts"] == found["wins"]
