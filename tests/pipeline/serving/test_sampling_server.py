"""Responses drawn by a server of the same model: what it draws is the model's, and what goes wrong is told."""

import json
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import torch

from backbone.adapters import SharedBase
from backbone.logprobs import response_logprobs
from backbone.sampling import sample
from backbone.sampling_config import SamplingConfig
from foundation.errors import UserError
from foundation.files import content_id
from pipeline import stages
from pipeline.config.sampler import SamplerConfig
from pipeline.evaluation.comparison import respond
from pipeline.sampling.drawing import draw_here, drawing_by
from pipeline.sampling.server import TOLERANCE, SamplingServer
from tests.pipeline import tiny
from tests.pipeline.serving.between import answer, opened
from tests.pipeline.serving.conftest import Site, open_site

SAMPLING = SamplingConfig(max_new_tokens=12, temperature=0.9, top_p=0.95)
PROMPTS = [tiny.ask(f"tell me of the {topic}") for topic in tiny.TOPICS[:6]]


@pytest.fixture(scope="module")
def wide(tiny_model: Path, adapters: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Lets one person ask as much as a program does."""
    limits = ("serve.at_once=2", "serve.waiting=100", "serve.of_one=100", "serve.per_minute=100000")
    with open_site(tiny_model, adapters, tmp_path_factory.mktemp("wide"), *limits) as opened:
        yield opened


@pytest.fixture(autouse=True)
def key(wide: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", wide.key("Ann"))


def settings(address: str, **more: Any) -> SamplerConfig:
    return SamplerConfig(endpoint=f"{address}/v1", model="base", **more)


def ids_of(base: SharedBase) -> list[list[int]]:
    return [base.renderer.prompt_ids(prompt) for prompt in PROMPTS]


@pytest.mark.parametrize("adapter", [None, "round-000"])
def test_ids_and_log_probabilities_are_those_of_the_sampler(wide: Site, base: SharedBase, adapter: str | None) -> None:
    draw = SamplingServer(settings(wide.address), {None: "base", "round-000": "round-000"})
    found = draw(base, adapter, ids_of(base), SAMPLING, group=3, seed=5)
    assert [one.prompt for one in found] == [prompt for prompt in range(6) for _ in range(3)]
    for place, ids in enumerate(ids_of(base)):
        seed = int(content_id(5, 3 * place), 16) % 2**31
        with base.using(adapter), torch.no_grad():
            wanted = sample(base, [ids], SAMPLING, group=3, seed=seed)
            own = response_logprobs(base, [ids] * 3, [one.response_ids for one in wanted]).logprobs
        here = found[3 * place : 3 * place + 3]
        assert [one.response_ids for one in here] == [one.response_ids for one in wanted]
        assert [one.finish_reason for one in here] == [one.finish_reason for one in wanted]
        for one, row in zip(here, own, strict=True):
            torch.testing.assert_close(torch.tensor(one.logprobs), row[: len(one.logprobs)].float(), atol=1e-4, rtol=0)


def test_without_an_endpoint_this_program_draws() -> None:
    assert drawing_by(SamplerConfig(), {}) is draw_here


def test_the_policy_is_called_as_the_folder_of_its_round(
    wide: Site, base: SharedBase, adapters: Mapping[str, Path], tmp_path: Path
) -> None:
    draw = drawing_by(settings(wide.address), {"round-000": adapters["round-000"]})
    prompts = [{"prompt": prompt} for prompt in PROMPTS[:2]]
    rows = respond(base, "round-000", prompts, SAMPLING, tmp_path / "answers.jsonl", 3, lambda done: None, draw)
    with base.using("round-000"):
        wanted = [
            sample(base, [ids], SAMPLING, seed=int(content_id(3, place), 16) % 2**31)[0].response_ids
            for place, ids in enumerate(ids_of(base)[:2])
        ]
    assert [row["ids"] for row in rows] == wanted
    with pytest.raises(
        UserError, match=r'its model "round-7" \(status 404, there is no model "round-7" here. Choose one of base,'
    ):
        drawing_by(settings(wide.address, adapter="round-7"), {"round-000": adapters["round-000"]})(
            base, "round-000", ids_of(base), SAMPLING
        )


def test_another_model_under_that_name_is_refused(wide: Site, base: SharedBase) -> None:
    draw = SamplingServer(settings(wide.address), {None: "round-000"})
    with pytest.raises(UserError, match=r'another model as "round-000".*differ .* by [0-9.]+ nats a token'):
        draw(base, None, ids_of(base), SAMPLING)
    assert TOLERANCE == 0.1


@pytest.mark.parametrize(("top_k", "sent"), [(None, -1), (3, 3)])
def test_nothing_is_left_to_the_generation_config_of_the_server(
    wide: Site, base: SharedBase, top_k: int | None, sent: int
) -> None:
    """vLLM takes each of these fields from there if a request does not state it."""
    bodies: list[dict[str, Any]] = []

    def read(handler: BaseHTTPRequestHandler, body: bytes) -> bool:
        bodies.append(json.loads(body))
        return False

    with opened(wide) as between:
        between.does = read
        sampling = SAMPLING.model_copy(update={"top_k": top_k})
        SamplingServer(settings(between.address), {None: "base"})(base, None, ids_of(base)[:1], sampling)
    wanted = {"temperature": 0.9, "top_p": 0.95, "top_k": sent, "min_p": 0.0, "repetition_penalty": 1.0}
    assert {field: bodies[0].get(field) for field in wanted} == wanted


def test_a_server_that_is_busy_for_a_while_is_asked_again(wide: Site, base: SharedBase) -> None:
    turns = iter([503, 429, None])

    def busy(handler: BaseHTTPRequestHandler, body: bytes) -> bool:
        status = next(turns, None)
        return answer(handler, status, b"busy") if status else False

    with opened(wide) as between:
        between.does = busy
        draw = SamplingServer(settings(between.address, at_once=1), {None: "base"})
        found = draw(base, None, ids_of(base)[:1], SAMPLING, seed=5)
    assert found == SamplingServer(settings(wide.address), {None: "base"})(
        base, None, ids_of(base)[:1], SAMPLING, seed=5
    )


def test_a_server_that_dies_in_the_middle_loses_nothing(wide: Site, tiny_model: Path, tmp_path: Path) -> None:
    """By the stage itself: told, and after it is back the file is that of a run that nothing happened to."""
    prompts = tiny.prompts_file(tmp_path / "prompts.jsonl")

    def collect(run: Path, address: str) -> bytes:
        more = [f"sampler.endpoint={address}/v1", "sampler.model=base", "sampler.patience=0.1", "sampler.at_once=1"]
        stages.collect(*tiny.opened(run, [*tiny.settings(tiny_model, prompts), *more]))
        rows = tiny.rows(run / "round-000" / "candidates.jsonl")
        assert {row["source"].pop("server") for row in rows} == {f"{address}/v1"}
        return json.dumps(rows).encode()

    def dead(handler: BaseHTTPRequestHandler, body: bytes) -> bool:
        if between.answered < 18:  # the first chunk has 16 prompts
            return False
        handler.close_connection = True
        return True

    whole = collect(tmp_path / "whole", wide.address)
    with opened(wide) as between:
        between.does = dead
        with pytest.raises(UserError, match=r"does not answer \(.*goes on with what it has"):
            collect(tmp_path / "killed", between.address)
        again: set[bytes] = set()
        between.does = lambda handler, body: again.add(body) is not None
        assert collect(tmp_path / "killed", between.address) == whole
        assert len(again) == 4


@pytest.mark.parametrize(
    "said",
    [
        b"<html>",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{"index": 0, "text": "a", "finish_reason": "stop", "logprobs": null}]}',
        b'{"choices": [{"index": 0, "token_ids": [1, 99999999], "finish_reason": "stop",'
        b' "logprobs": {"token_logprobs": [-1, -1]}}]}',
        b'{"choices": [{"index": 0, "token_ids": [1, 2], "finish_reason": "stop",'
        b' "logprobs": {"token_logprobs": [-1]}}]}',
    ],
)
def test_nonsense_is_told(wide: Site, base: SharedBase, said: bytes) -> None:
    with opened(wide) as between:
        between.does = lambda handler, body: answer(handler, 200, said)
        with pytest.raises(UserError, match=r"no token ids with their log-probabilities.*return_token_ids"):
            SamplingServer(settings(between.address), {None: "base"})(base, None, ids_of(base), SAMPLING)


def test_other_tokens_than_were_sent_are_refused(wide: Site, base: SharedBase) -> None:
    said = b'{"choices": [{"index": 0, "prompt_token_ids": [1], "token_ids": [1], "finish_reason": "stop"}]}'
    with opened(wide) as between:
        between.does = lambda handler, body: answer(handler, 200, said)
        with pytest.raises(UserError, match="read the prompt as other tokens"):
            SamplingServer(settings(between.address), {None: "base"})(base, None, ids_of(base), SAMPLING)


def test_a_server_that_nobody_started_is_told_at_once(base: SharedBase) -> None:
    draw = SamplingServer(settings("http://127.0.0.1:9", patience=0.1), {None: "base"})
    with pytest.raises(UserError, match=r"sampling server at http://127.0.0.1:9/v1 does not answer"):
        draw(base, None, ids_of(base), SAMPLING)


@pytest.mark.parametrize(
    ("given", "words"),
    [({"endpoint": "localhost:8000"}, "begins with http"), ({"endpoint": "http://localhost/v1"}, "sampler.model")],
)
def test_settings_that_say_too_little_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SamplerConfig(**given)
