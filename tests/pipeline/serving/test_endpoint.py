"""The endpoint by OpenAI's own client: what it gives is what the project's sampler and the model itself give."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from openai import OpenAI
from peft import PeftModel
from transformers import AutoModelForCausalLM

from backbone.adapters import SharedBase
from backbone.sampling import Sample, sample
from backbone.sampling_config import SamplingConfig
from tests.pipeline.serving.conftest import Site

ASKED: list[Any] = [{"role": "user", "content": "tell me of the cat"}]
DRAWN = {"seed": 7, "temperature": 0.9, "top_p": 0.95, "max_tokens": 24}
SAMPLING = SamplingConfig(max_new_tokens=24, temperature=0.9, top_p=0.95)


def drawn(base: SharedBase, adapter: str | None, sampling: SamplingConfig = SAMPLING, group: int = 1) -> list[Sample]:
    with base.using(adapter):
        return sample(base, [base.renderer.prompt_ids(ASKED)], sampling, group=group, seed=7)


def test_the_models_of_a_run_are_listed(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["base", "champion", "round-000", "round-001"]
    assert client.models.retrieve("champion").object == "model"


@pytest.mark.parametrize(("model", "adapter"), [("base", None), ("round-000", "round-000"), ("champion", "round-001")])
def test_an_answer_is_what_the_sampler_draws_by_the_same_seed(
    client: OpenAI, base: SharedBase, model: str, adapter: str | None
) -> None:
    answer = client.chat.completions.create(model=model, messages=ASKED, n=3, **DRAWN)  # type: ignore[call-overload]
    wanted = drawn(base, adapter, group=3)
    assert [choice.message.content for choice in answer.choices] == [
        base.renderer.text(one.response_ids) for one in wanted
    ]
    assert [choice.finish_reason for choice in answer.choices] == [one.finish_reason for one in wanted]
    assert answer.usage.completion_tokens == sum(len(one.response_ids) for one in wanted)
    assert answer.usage.prompt_tokens == len(base.renderer.prompt_ids(ASKED))


def test_the_models_differ_and_a_seed_repeats_an_answer(client: OpenAI) -> None:
    texts = {
        model: client.chat.completions.create(model=model, messages=ASKED, **DRAWN).choices[0].message.content  # type: ignore[call-overload]
        for model in ("base", "round-000", "round-001", "base")
    }
    assert len(set(texts.values())) == 3
    again = client.chat.completions.create(model="base", messages=ASKED, **DRAWN)  # type: ignore[call-overload]
    assert again.choices[0].message.content == texts["base"]
    other = client.chat.completions.create(model="base", messages=ASKED, **(DRAWN | {"seed": 8}))  # type: ignore[call-overload]
    assert other.choices[0].message.content != texts["base"]


def test_a_stream_gives_the_whole_answer_in_pieces(client: OpenAI) -> None:
    whole = client.chat.completions.create(model="round-000", messages=ASKED, n=2, **DRAWN)  # type: ignore[call-overload]
    texts, ends, usage, pieces = ["", ""], ["", ""], None, 0
    for chunk in client.chat.completions.create(  # type: ignore[call-overload]
        model="round-000", messages=ASKED, n=2, stream=True, stream_options={"include_usage": True}, **DRAWN
    ):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            pieces += bool(choice.delta.content)
            texts[choice.index] += choice.delta.content or ""
            ends[choice.index] += choice.finish_reason or ""
    assert texts == [choice.message.content for choice in whole.choices]
    assert ends == [choice.finish_reason for choice in whole.choices]
    assert usage == whole.usage
    assert pieces > 4


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("model", "adapter"), [("base", None), ("round-001", "round-001")])
def test_logprobs_are_those_of_the_models_own_forward_pass(
    client: OpenAI, base: SharedBase, tiny_model: Path, adapters: Mapping[str, Path], model: str, adapter: str | None,
    streamed: bool,
) -> None:  # fmt: skip
    asked = {"model": model, "messages": ASKED, "logprobs": True, "top_logprobs": 5, **DRAWN}
    if streamed:
        chunks = [chunk.choices[0] for chunk in client.chat.completions.create(stream=True, **asked)]  # type: ignore[call-overload]
        told = [token for choice in chunks if choice.logprobs for token in choice.logprobs.content]
    else:
        told = client.chat.completions.create(**asked).choices[0].logprobs.content  # type: ignore[call-overload]
    (one,) = drawn(base, adapter)
    tokens = [token for token in one.response_ids if token not in base.renderer.eos_ids]
    assert [token.token for token in told] == [base.tokenizer.decode([id]) for id in tokens]
    own: Any = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    if adapter:
        own = PeftModel.from_pretrained(own, str(adapters[adapter]))
    prompt = base.renderer.prompt_ids(ASKED)
    with torch.no_grad():
        logits = own(input_ids=torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1]
    wanted = torch.log_softmax(logits, -1)
    for row, id, token in zip(wanted, tokens, told, strict=True):
        assert token.logprob == pytest.approx(float(row[id]), abs=1e-4)
        best = row.topk(5)
        assert [each.logprob for each in token.top_logprobs] == pytest.approx(best.values.tolist(), abs=1e-4)
        assert [each.token for each in token.top_logprobs] == [base.tokenizer.decode([i]) for i in best.indices]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_stop_text_ends_the_answer_and_is_not_part_of_it(client: OpenAI, base: SharedBase, streamed: bool) -> None:
    asked: dict[str, Any] = {"model": "round-000", "messages": ASKED, "logprobs": True, **DRAWN}
    whole = client.chat.completions.create(**asked).choices[0]
    text = whole.message.content
    stop = text[5:8]
    before = text[: text.index(stop)]
    if streamed:
        choices = [
            chunk.choices[0] for chunk in client.chat.completions.create(**asked, stop=[stop, "never"], stream=True)
        ]
        shown = "".join(choice.delta.content or "" for choice in choices)
        assert choices[-1].finish_reason == "stop"
        told = [token for choice in choices if choice.logprobs for token in choice.logprobs.content]
    else:
        choice = client.chat.completions.create(**asked, stop=stop).choices[0]
        shown, told = choice.message.content, choice.logprobs.content
        assert choice.finish_reason == "stop"
    assert shown == before
    assert told == whole.logprobs.content[: len(told)]
    assert 0 < len(told) < len(whole.logprobs.content)


def test_greedy_answers_need_no_seed(client: OpenAI, base: SharedBase) -> None:
    (wanted,) = drawn(base, None, SamplingConfig(max_new_tokens=8, temperature=0))
    for limit in ("max_tokens", "max_completion_tokens"):
        answer = client.chat.completions.create(model="base", messages=ASKED, temperature=0, **{limit: 8})  # type: ignore[call-overload]
        assert answer.choices[0].message.content == base.renderer.text(wanted.response_ids)


def test_an_answer_without_a_limit_is_as_long_as_the_server_allows(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="base", messages=ASKED, seed=3)
    assert answer.usage
    assert answer.choices[0].finish_reason == "stop" or answer.usage.completion_tokens == 64


def test_parts_of_text_and_developers_are_read(client: OpenAI) -> None:
    plain = [{"role": "system", "content": "be brief"}, *ASKED]
    parts = [
        {"role": "developer", "content": [{"type": "text", "text": "be "}, {"type": "text", "text": "brief"}]},
        *ASKED,
    ]
    texts = {
        client.chat.completions.create(model="base", messages=each, **DRAWN).choices[0].message.content  # type: ignore[call-overload]
        for each in (plain, parts)
    }
    assert len(texts) == 1


@pytest.mark.parametrize("key", ["rlhf-wrong", "x"])
def test_a_wrong_key_is_refused(site: Site, key: str) -> None:
    client = site.client(api_key=key)
    with pytest.raises(openai.AuthenticationError) as error:
        client.models.list()
    assert error.value.status_code == 401
    assert error.value.code == "invalid_api_key"


def test_an_unknown_model_is_not_found(client: OpenAI) -> None:
    for ask in (
        lambda: client.chat.completions.create(model="round-009", messages=ASKED),
        lambda: client.models.retrieve("nobody"),
    ):
        with pytest.raises(openai.NotFoundError, match="Choose one of base, champion") as error:
            ask()
        assert (error.value.code, error.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"messages": [{"role": "user", "content": "cat " * 400}]}, "exceeds the context of 256"),
        ({"max_tokens": 65}, "at most 64"),
        ({"messages": [{"role": "user", "content": "cat " * 200}], "max_tokens": 60}, "exceeds the context of 256"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "text"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 9}, "n: "),
        ({"stop": ""}, "stop"),
        ({"top_logprobs": 3}, "top_logprobs needs logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"extra_body": {"best_of": 3}}, "best_of"),
        ({"messages": [{"role": "user", "content": "a\0b"}]}, "NUL"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_a_sentence(client: OpenAI, changed: dict[str, Any], says: str) -> None:
    with pytest.raises(openai.BadRequestError, match=says) as error:
        client.chat.completions.create(**{"model": "base", "messages": ASKED, **changed})
    assert error.value.type == "invalid_request_error"


def test_what_a_client_sends_as_a_matter_of_course_is_taken(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="base", messages=ASKED, user="me", metadata={"a": "b"}, presence_penalty=0, frequency_penalty=0,
        logit_bias={}, response_format={"type": "text"}, max_tokens=2, store=False,
    )  # fmt: skip
    assert answer.choices
