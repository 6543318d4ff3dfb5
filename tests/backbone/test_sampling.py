import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from scipy.stats import chisquare

from backbone.adapters import SharedBase
from backbone.logprobs import response_logprobs
from backbone.own_function import DECODING, Decoding
from backbone.sampling import Sample, sample
from backbone.sampling_config import SamplingConfig
from backbone.token_draws import draw, uniforms
from foundation.errors import UserError
from foundation.sizes import Sizes
from tests.shared_base import PROMPTS, add_random_adapter

CONFIG = SamplingConfig(max_new_tokens=12, temperature=1.0)
ALMOST_ONE = 1 - 1e-16


def _nucleus(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """The smallest set of the likeliest tokens with at least this mass, renormalised: the definition, spelt out."""
    order = sorted(range(len(probabilities)), key=lambda token: -float(probabilities[token]))
    kept, mass = [], 0.0
    for token in order:
        kept.append(token)
        mass += float(probabilities[token])
        if mass >= top_p:
            break
    inside = torch.zeros_like(probabilities)
    inside[kept] = probabilities[kept]
    return inside / inside.sum()


@pytest.mark.parametrize("vocabulary", [12, 400])
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (2.0, 1.0), (1.0, 0.7), (0.7, 0.9)])
def test_tokens_come_as_often_as_softmax_says(vocabulary: int, temperature: float, top_p: float) -> None:
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(vocabulary, generator=generator)
    expected = _nucleus(torch.softmax(logits.double() / temperature, 0), top_p)
    count = 40_000
    tokens, logprobs = draw(logits.expand(count, -1), uniforms(5, 6, count), temperature, top_p)
    observed = torch.bincount(tokens, minlength=vocabulary)
    possible = expected > 0
    assert observed[~possible].sum() == 0
    assert chisquare(observed[possible].numpy(), count * expected[possible].numpy()).pvalue > 0.01
    torch.testing.assert_close(logprobs.double(), expected[tokens].log(), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("top_k", "top_p"), [(5, 1.0), (5, 0.8), (300, 0.9), (1, 1.0), (1000, 1.0)])
def test_only_the_likeliest_tokens_come_with_top_k(top_k: int, top_p: float) -> None:
    """First the k likeliest, renormalised, then the nucleus of those: the order of transformers' warpers."""
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(400, generator=generator)
    inside = torch.full_like(logits, -torch.inf)
    likeliest = logits.topk(min(top_k, 400)).indices
    inside[likeliest] = logits[likeliest]
    expected = _nucleus(torch.softmax(inside.double(), 0), top_p)
    count = 40_000
    tokens, logprobs = draw(logits.expand(count, -1), uniforms(5, 6, count), 1.0, top_p, top_k)
    observed = torch.bincount(tokens, minlength=400)
    possible = expected > 0
    assert observed[~possible].sum() == 0
    if top_k > 1:
        assert chisquare(observed[possible].numpy(), count * expected[possible].numpy()).pvalue > 0.01
    torch.testing.assert_close(logprobs.double(), expected[tokens].log(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("decoding", DECODING)
def test_every_way_of_decoding_samples_by_the_models_probabilities(base: SharedBase, decoding: Decoding) -> None:
    add_random_adapter(base, "policy")
    base.paths = replace(base.paths, decoding=decoding)
    with base.using("policy"):
        drawn = sample(base, PROMPTS, CONFIG, group=3)
        again = response_logprobs(base, [PROMPTS[one.prompt] for one in drawn], [one.response_ids for one in drawn])
    for row, one in enumerate(drawn):
        torch.testing.assert_close(
            torch.tensor(one.logprobs), again.logprobs[row, : len(one.logprobs)], atol=1e-4, rtol=0
        )


def test_a_stop_string_ends_a_response_that_keeps_it(base: SharedBase) -> None:
    free = sample(base, PROMPTS, SamplingConfig(max_new_tokens=20, temperature=1.0), group=4)
    decode = base.renderer.tokenizer.decode
    text = next(decode(one.response_ids[5:7]) for one in free if len(one.response_ids) > 8)
    stopped = sample(base, PROMPTS, SamplingConfig(max_new_tokens=20, temperature=1.0, stop=(text,)), group=4)
    ended = [one for one in stopped if text in decode(one.response_ids)]
    assert ended
    assert all(one.finish_reason == "stop" and text not in decode(one.response_ids[:-1]) for one in ended)
    for before, after in zip(free, stopped, strict=True):
        assert before.response_ids[: len(after.response_ids)] == after.response_ids


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(ValueError, match="leave it out"):
        SamplingConfig(stop=("",))


@pytest.mark.parametrize("top_p", [1.0, 0.999])
@pytest.mark.parametrize("uniform", [0.0, 1e-12, 0.25, 0.5, 0.999999, ALMOST_ONE])
def test_a_token_without_probability_is_never_drawn(uniform: float, top_p: float) -> None:
    possible = [1, 3, 6]
    logits = torch.full((1, 9), float("-inf"))
    logits[0, possible] = torch.tensor([0.0, 1.0, 0.5])
    tokens, logprobs = draw(logits, torch.tensor([uniform], dtype=torch.float64), 1.0, top_p)
    assert tokens.item() in possible
    assert logprobs.isfinite().all()


@pytest.mark.parametrize(
    "drawing", [{}, {"temperature": 0.0}, {"top_p": 0.9}, {"top_k": 5}, {"top_k": 5, "top_p": 0.9}]
)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_refused_however_is_drawn(
    base: SharedBase, monkeypatch: pytest.MonkeyPatch, drawing: dict[str, float], bad: float
) -> None:
    head = base.lm_head

    def spoiled(states: torch.Tensor) -> torch.Tensor:
        logits = head(states)
        logits[1, 7] = bad
        return logits

    monkeypatch.setattr(base, "lm_head", spoiled)
    with pytest.raises(UserError, match="the model's logits are not finite"):
        sample(base, PROMPTS, SamplingConfig(**{"max_new_tokens": 4, **drawing}))


def test_the_ends_of_the_unit_interval_are_the_first_and_the_last_token() -> None:
    logits = torch.zeros(2, 4)
    tokens, _ = draw(logits, torch.tensor([0.0, ALMOST_ONE], dtype=torch.float64), 1.0, 1.0)
    assert tokens.tolist() == [0, 3]


def test_boundaries_of_the_distribution_belong_to_the_next_token() -> None:
    logits = torch.tensor([[0.25, 0.25, 0.5]]).log().expand(4, 3)
    tokens, logprobs = draw(logits, torch.tensor([0.2499, 0.2501, 0.4999, 0.5001], dtype=torch.float64), 1.0, 1.0)
    assert tokens.tolist() == [0, 1, 1, 2]
    torch.testing.assert_close(logprobs.exp(), torch.tensor([0.25, 0.25, 0.25, 0.5]))


def test_streams_are_numbers_of_their_own_and_longer_ones_begin_with_shorter_ones() -> None:
    streams = torch.stack([uniforms(seed, row, 50) for seed in range(3) for row in range(40)])
    assert len(streams.flatten().unique()) == streams.numel()
    assert 0 <= streams.min() < 0.01
    assert 0.99 < streams.max() < 1
    assert torch.equal(uniforms(1, 2, 80)[:50], uniforms(1, 2, 50))


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.6])
def test_logprobs_are_those_of_the_policy_that_was_sampled(base: SharedBase, temperature: float) -> None:
    add_random_adapter(base, "policy")
    config = SamplingConfig(max_new_tokens=12, temperature=temperature)
    with base.using("policy"):
        samples = sample(base, PROMPTS, config, group=3, seed=1)
        again = response_logprobs(
            base, [PROMPTS[one.prompt] for one in samples], [one.response_ids for one in samples], temperature
        )
    for row, one in enumerate(samples):
        found = again.logprobs[row, : len(one.logprobs)]
        torch.testing.assert_close(found, torch.tensor(one.logprobs), atol=1e-4, rtol=0)


def _same(ours: list[Sample], theirs: list[Sample]) -> None:
    assert [one.response_ids for one in ours] == [one.response_ids for one in theirs]
    assert [one.finish_reason for one in ours] == [one.finish_reason for one in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)


@pytest.mark.parametrize("batch", [1, 3, 5, 64])
def test_what_is_sampled_does_not_depend_on_the_batch_size(base: SharedBase, batch: int) -> None:
    _same(sample(base, PROMPTS, CONFIG, group=2, batch=batch), sample(base, PROMPTS, CONFIG, group=2, batch=8))


@pytest.mark.parametrize(
    "sizes", [Sizes(sample_rows=3), Sizes(sample_rows=512, sample_tokens=50), Sizes(sample_tokens=0)]
)
def test_what_is_sampled_does_not_depend_on_the_sizes(
    base: SharedBase, sizes: Sizes, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = sample(base, PROMPTS, CONFIG, group=2, batch=8)
    monkeypatch.setattr(base, "sizes", sizes)
    together: list[int] = []
    _same(sample(base, PROMPTS, CONFIG, group=2, on_token=lambda rows: together.append(len(rows))), expected)
    assert set(together) == {2}  # the longest prompt has 9 tokens, and 12 are new


def test_what_is_sampled_does_not_depend_on_the_other_prompts_or_on_grouping(base: SharedBase) -> None:
    together = sample(base, PROMPTS, CONFIG, group=3, seed=7)
    assert [one.prompt for one in together] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    alone = [
        one
        for row, prompt in enumerate(PROMPTS)
        for one in sample(base, [prompt], CONFIG, group=3, seed=7, rows=[row * 3])
    ]
    _same(together, alone)
    repeated = [prompt for prompt in PROMPTS for _ in range(3)]
    _same(together, sample(base, repeated, CONFIG, group=1, seed=7))
    _same(together[3:9], sample(base, PROMPTS[1:3], CONFIG, group=3, seed=7, rows=[3, 6]))


def test_seeds_rows_and_siblings_differ(base: SharedBase) -> None:
    responses = [
        tuple(one.response_ids)
        for seed, row in [(0, 0), (1, 0), (0, 4)]
        for one in sample(base, PROMPTS[:1], CONFIG, group=4, seed=seed, rows=[row])
    ]
    assert len(set(responses)) == 12


def test_greedy_is_what_transformers_generates(base: SharedBase) -> None:
    add_random_adapter(base, "policy")
    with base.using("policy"):
        ours = sample(base, PROMPTS, SamplingConfig(max_new_tokens=16, temperature=0))
        for one, prompt in zip(ours, PROMPTS, strict=True):
            row = torch.tensor([prompt])
            theirs = base.base.generate(
                input_ids=row, attention_mask=torch.ones_like(row), do_sample=False, max_new_tokens=16
            )
            assert one.response_ids == theirs[0, len(prompt) :].tolist()
    assert len({tuple(one.response_ids) for one in ours}) > 1


def _favour(base: SharedBase, monkeypatch: pytest.MonkeyPatch, token: int, by: float) -> None:
    """Make the model like one token more."""
    head = base.lm_head

    def favouring(states: torch.Tensor) -> torch.Tensor:
        bonus = torch.zeros(base.base.config.vocab_size)
        bonus[token] = by
        return head(states) + bonus

    monkeypatch.setattr(base, "lm_head", favouring)


def test_a_response_stops_at_its_end_of_turn_which_it_includes(
    base: SharedBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    (eos,) = base.renderer.eos_ids
    _favour(base, monkeypatch, eos, 4.0)
    samples = sample(base, PROMPTS, CONFIG, group=8)
    reasons = {one.finish_reason for one in samples}
    assert reasons == {"stop", "length"}
    for one in samples:
        assert eos not in one.response_ids[:-1]
        assert (one.response_ids[-1] == eos) == (one.finish_reason == "stop")
        assert len(one.response_ids) == len(one.logprobs)
        assert len(one.response_ids) == 12 if one.finish_reason == "length" else len(one.response_ids) <= 12
    assert len({len(one.response_ids) for one in samples}) > 3


def test_what_is_sampled_does_not_depend_on_who_finishes_first(
    base: SharedBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    _favour(base, monkeypatch, base.renderer.eos_ids[0], 4.0)
    _same(sample(base, PROMPTS, CONFIG, group=8), sample(base, PROMPTS, CONFIG, group=8, batch=1))


def _count_tokens(base: SharedBase, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Records, for each call of the decoder, how many tokens go through it."""
    counts: list[int] = []
    decoder = base.base.model
    forward: Callable[..., object] = decoder.forward

    def counting(*args: object, **options: torch.Tensor) -> object:
        counts.append(options["input_ids"].numel())
        return forward(*args, **options)

    monkeypatch.setattr(decoder, "forward", counting)
    return counts


def test_a_prompt_is_prefilled_once_for_its_whole_group(base: SharedBase, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = _count_tokens(base, monkeypatch)
    sample(base, PROMPTS[2:3], SamplingConfig(max_new_tokens=3, temperature=1.0), group=6)
    assert counts == [len(PROMPTS[2]), 6, 6]


def test_finished_responses_leave_the_batch_four_at_a_time(base: SharedBase, monkeypatch: pytest.MonkeyPatch) -> None:
    _favour(base, monkeypatch, base.renderer.eos_ids[0], 4.0)
    counts = _count_tokens(base, monkeypatch)
    samples = sample(base, PROMPTS[:1], CONFIG, group=16)
    going = [sum(len(one.response_ids) > step for one in samples) for step in range(1, len(counts))]
    assert counts[1:] == [math.ceil(n / 4) * 4 for n in going]
    assert counts[-1] < 16


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_no_response_is_longer_than_asked_for(base: SharedBase, limit: int) -> None:
    samples = sample(base, PROMPTS, SamplingConfig(max_new_tokens=limit, temperature=1.0))
    assert max(len(one.response_ids) for one in samples) == limit


def test_what_does_not_fit_the_context_is_refused(base: SharedBase) -> None:
    prompt = [5] * 250
    sample(base, [prompt], SamplingConfig(max_new_tokens=6, temperature=1.0))
    with pytest.raises(UserError, match=r"need 257 tokens; the model's context has 256.*max_new_tokens"):
        sample(base, [prompt], SamplingConfig(max_new_tokens=7, temperature=1.0))


def test_progress_counts_every_response(base: SharedBase) -> None:
    told: list[int] = []
    sample(base, PROMPTS, CONFIG, group=2, batch=4, progress=told.append)
    assert told == [4, 4]


def test_each_token_can_be_watched_and_watching_changes_nothing(base: SharedBase) -> None:
    seen: list[list[list[int]]] = []
    watched = sample(base, PROMPTS[:1], CONFIG, group=3, seed=2, on_token=seen.append)
    assert watched == sample(base, PROMPTS[:1], CONFIG, group=3, seed=2)
    assert seen[-1] == [one.response_ids for one in watched]
    assert len(seen) == max(len(one.response_ids) for one in watched)
    for step, rows in enumerate(seen, start=1):
        assert rows == [one.response_ids[:step] for one in watched]


def test_no_prompts_make_no_samples(base: SharedBase) -> None:
    assert sample(base, [], CONFIG) == []
