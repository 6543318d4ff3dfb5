"""Coherence under the frozen base: likelihood, similarity, repetition."""

import pytest
import torch

from backbone.adapters import SharedBase
from reward_model.rewards.kinds.coherence import repeated
from reward_model.rewards.language_models.likelihood import acceptability, embeddings, likelihood, similarity
from reward_model.rewards.registry import build
from tests import shared_base


@pytest.fixture
def base(tiny_model: object) -> SharedBase:
    return shared_base.load(tiny_model)  # type: ignore[arg-type]


def test_likelihood_is_the_mean_over_the_responses_tokens(base: SharedBase) -> None:
    prompt, response = [1, 5, 6], [7, 8, 2]
    logprobs = torch.log_softmax(shared_base.logits(base, [*prompt, *response]).double(), -1)
    expected = sum(float(logprobs[2 + place, token]) for place, token in enumerate(response)) / 3
    found = likelihood(base, [prompt, [1]], [response, [9, 10, 11, 12, 2]])
    assert float(found[0]) == pytest.approx(expected, abs=1e-5)


def test_training_the_policy_does_not_move_the_yardstick(base: SharedBase) -> None:
    spec = {"name": "coherence"}
    before = build(spec, base=base)(prompts=["the cat"], completions=["sat on the mat"])
    shared_base.add_random_adapter(base, "policy")
    with base.using("policy"):
        assert build(spec, base=base)(prompts=["the cat"], completions=["sat on the mat"]) == before


def test_a_text_is_most_like_itself_and_an_empty_one_like_nothing(base: SharedBase) -> None:
    found = similarity(base, ["the cat sat", "the cat sat", "x"], ["the cat sat", "dog and dog", ""])
    assert float(found[0]) == pytest.approx(1, abs=1e-5)
    assert float(found[1]) < 0.999
    assert float(found[2]) == 0


def test_embeddings_do_not_depend_on_the_batch(base: SharedBase) -> None:
    texts = ["the cat", "the dog ran to the cat on the mat", "a", *(f"mat {n}" for n in range(12))]
    together = embeddings(base, texts)
    alone = torch.cat([embeddings(base, [text]) for text in texts])
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "order", "share"),
    [("a b c d", 1, 0), ("a b A b", 1, 0.5), ("a b a b", 2, 1 / 3), ("a b", 3, 0), ("", 1, 0), ("好好好好", 1, 0.75)],
)
def test_repetition_is_the_share_of_ngrams_that_were_there_before(text: str, order: int, share: float) -> None:
    assert repeated(text, order) == pytest.approx(share)


def test_repetition_alone_needs_no_base() -> None:
    reward = build({"name": "coherence", "likelihood": 0, "similarity": 0, "repetition": 2, "order": 1})
    assert reward(prompts=["p"], completions=["a b a b"]) == [-1]


def test_grammar_can_ask_the_base_how_natural_a_text_is(base: SharedBase) -> None:
    given = {"prompts": ["p"], "completions": ["He go to school by bus."]}
    natural = float(acceptability(base, ["He go to school by bus."])[0])
    assert natural < -1
    mixed = build({"name": "grammar", "acceptability": 2}, base=base)(**given)
    assert mixed == pytest.approx([-100 / 6 + 2 * natural])


def test_the_parts_add_up(base: SharedBase) -> None:
    given = {"prompts": ["the cat", "the dog"], "completions": ["sat on the mat", "and and and and"]}
    nothing = {"likelihood": 0, "similarity": 0, "repetition": 0}
    parts = [
        build({"name": "coherence", **nothing, part: weight}, base=base)(**given)
        for part, weight in (("likelihood", 1), ("similarity", 2), ("repetition", 3))
    ]
    whole = build({"name": "coherence", "likelihood": 1, "similarity": 2, "repetition": 3}, base=base)(**given)
    assert whole == pytest.approx([sum(each) for each in zip(*parts, strict=True)], abs=1e-6)


def test_a_prompt_longer_than_the_context_is_cut_for_the_likelihood(base: SharedBase) -> None:
    found = likelihood(base, [[1] * 400], [[5, 6, 2]])
    assert bool(found.isfinite().all())
