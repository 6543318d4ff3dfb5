"""Continuations of texts and of token ids by OpenAI's own client, and what vLLM adds: the ids that were drawn."""

from typing import Any

import openai
import pytest
import torch
from openai import OpenAI
from openai.types import Completion

from backbone.adapters import SharedBase
from backbone.logprobs import response_logprobs
from backbone.sampling import Sample, sample
from backbone.sampling_config import SamplingConfig

ASKED: list[Any] = [{"role": "user", "content": "tell me of the cat"}]
DRAWN = {"seed": 7, "temperature": 0.9, "top_p": 0.95, "max_tokens": 24}
SAMPLING = SamplingConfig(max_new_tokens=24, temperature=0.9, top_p=0.95)


def drawn(base: SharedBase, ids: list[int], adapter: str | None = None, sampling: SamplingConfig = SAMPLING,
          group: int = 1) -> list[Sample]:  # fmt: skip
    with base.using(adapter):
        return sample(base, [ids], sampling, group=group, seed=7)


def ids_of(answer: Completion) -> list[list[int]]:
    return [choice.model_extra["token_ids"] for choice in answer.choices]  # type: ignore[index]


@pytest.mark.parametrize(("model", "adapter"), [("base", None), ("round-000", "round-000")])
def test_ids_are_answered_by_the_ids_that_the_sampler_draws(
    client: OpenAI, base: SharedBase, model: str, adapter: str | None
) -> None:
    ids = base.renderer.prompt_ids(ASKED)
    answer = client.completions.create(
        model=model, prompt=ids, n=3, logprobs=0, extra_body={"return_token_ids": True}, **DRAWN
    )  # type: ignore[call-overload]
    wanted = drawn(base, ids, adapter, group=3)
    assert ids_of(answer) == [one.response_ids for one in wanted]
    assert [choice.finish_reason for choice in answer.choices] == [one.finish_reason for one in wanted]
    assert [choice.text for choice in answer.choices] == [base.renderer.text(one.response_ids) for one in wanted]
    assert answer.choices[0].model_extra["prompt_token_ids"] == ids
    assert answer.usage.completion_tokens == sum(len(one.response_ids) for one in wanted)
    told = [choice.logprobs.token_logprobs for choice in answer.choices]
    with torch.no_grad(), base.using(adapter):
        own = response_logprobs(base, [ids] * 3, [one.response_ids for one in wanted]).logprobs
    for row, one in zip(told, own, strict=True):  # of the model itself, of the end of the response too
        torch.testing.assert_close(torch.tensor(row), one[: len(row)].float(), atol=1e-4, rtol=0)


def test_a_text_is_continued_as_it_is(client: OpenAI, base: SharedBase) -> None:
    text = "the cat sat"
    answer = client.completions.create(model="base", prompt=text, logprobs=2, **DRAWN)  # type: ignore[call-overload]
    ids = base.tokenizer(text)["input_ids"]
    assert answer.usage.prompt_tokens == len(ids)
    (wanted,) = drawn(base, ids)
    assert answer.choices[0].text == base.renderer.text(wanted.response_ids)
    said = answer.choices[0].logprobs
    assert said.tokens == [base.tokenizer.decode([each]) for each in wanted.response_ids]
    for top, one in zip(said.top_logprobs, said.token_logprobs, strict=True):  # two pieces of letters look alike
        assert 1 <= len(top) <= 2
        assert max(top.values()) >= one
    assert said.text_offset[:2] == [0, len(said.tokens[0])]


def test_a_stream_gives_the_same_text_and_ids_in_pieces(client: OpenAI, base: SharedBase) -> None:
    ids = base.renderer.prompt_ids(ASKED)
    more = {"return_token_ids": True}
    whole = client.completions.create(model="base", prompt=ids, n=2, extra_body=more, **DRAWN)  # type: ignore[call-overload]
    texts, found, ends = ["", ""], [list[int](), list[int]()], ["", ""]
    stream = client.completions.create(model="base", prompt=ids, n=2, stream=True, extra_body=more, **DRAWN)  # type: ignore[call-overload]
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            found[choice.index] += choice.model_extra["token_ids"]
            ends[choice.index] = choice.finish_reason or ends[choice.index]
    assert texts == [choice.text for choice in whole.choices]
    assert found == ids_of(whole)
    assert ends == [choice.finish_reason for choice in whole.choices]


def test_the_likeliest_few_and_the_model_s_own_ends_can_be_asked_for(client: OpenAI, base: SharedBase) -> None:
    ids = base.renderer.prompt_ids(ASKED)
    body = {"return_token_ids": True, "top_k": 3, "stop_token_ids": sorted(base.renderer.eos_ids)}
    answer = client.completions.create(model="base", prompt=ids, extra_body=body, **DRAWN)  # type: ignore[call-overload]
    (wanted,) = drawn(base, ids, sampling=SAMPLING.model_copy(update={"top_k": 3}))
    assert ids_of(answer) == [wanted.response_ids]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"prompt": [10**9]}, "the token 1000000000, and the model has none of that number"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": "a " * 3000, "max_tokens": 8}, "must fit the context of"),
        ({"prompt": "a", "echo": True}, "echo"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": "a", "max_tokens": 100_000}, "writes at most"),
        ({"prompt": "a", "extra_body": {"stop_token_ids": [1]}}, "own ends alone"),
        ({"prompt": "a", "extra_body": {"min_p": 0.1}}, "min_p"),
        ({"prompt": "a", "extra_body": {"repetition_penalty": 1.05}}, "repetition_penalty"),
        ({"prompt": "a", "extra_body": {"skip_special_tokens": False}}, "skip_special_tokens"),
    ],
)
def test_what_cannot_be_answered_is_refused_by_name(client: OpenAI, body: dict[str, Any], words: str) -> None:
    with pytest.raises(openai.BadRequestError, match=words):
        client.completions.create(model="base", **body)
