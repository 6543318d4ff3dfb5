from typing import NamedTuple

import pytest
import torch

from backbone.adapters import SharedBase
from backbone.logprobs import response_logprobs, response_mask
from backbone.own_function import Paths
from backbone.tokens import pad_right
from foundation.sizes import Sizes
from tests.shared_base import PROMPTS, add_random_adapter

RESPONSES = [[30, 31, 2], [7], [9, 9, 9, 200, 2], [100, 2]]


class Naive(NamedTuple):
    logprobs: torch.Tensor
    entropy: torch.Tensor


def _naive(base: SharedBase, temperature: float) -> Naive:
    """The textbook way: all logits of one row at a time, log_softmax, gather."""
    rows = []
    for prompt, response in zip(PROMPTS, RESPONSES, strict=True):
        ids = torch.tensor([[*prompt, *response]])
        logps = torch.log_softmax(base.base(input_ids=ids).logits.float() / temperature, -1)[0, len(prompt) - 1 : -1]
        chosen = logps[torch.arange(len(response)), torch.tensor(response)]
        room = (0, max(map(len, RESPONSES)) - len(response))
        rows.append(
            (torch.nn.functional.pad(chosen, room), torch.nn.functional.pad(-(logps.exp() * logps).sum(-1), room))
        )
    logprobs, entropy = zip(*rows, strict=True)
    return Naive(torch.stack(logprobs), torch.stack(entropy))


def _gradients(base: SharedBase, logprobs: torch.Tensor) -> list[torch.Tensor]:
    weight = torch.linspace(-1, 2, logprobs.numel()).view_as(logprobs)
    return list(torch.autograd.grad((logprobs * weight).sum(), list(base.parameters("policy").values())))


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_values_and_gradients_are_those_of_the_full_logits(base: SharedBase, chunk: int, temperature: float) -> None:
    add_random_adapter(base, "policy", trainable=True)
    with base.using("policy"):
        ours = response_logprobs(base, PROMPTS, RESPONSES, temperature, chunk)
        naive = _naive(base, temperature)
        torch.testing.assert_close(ours.logprobs, naive.logprobs, atol=1e-5, rtol=0)
        torch.testing.assert_close(ours.entropy, naive.entropy.detach(), atol=1e-5, rtol=0)
        for mine, theirs in zip(_gradients(base, ours.logprobs), _gradients(base, naive.logprobs), strict=True):
            assert theirs.abs().max() > 1e-3
            # Sums of many terms: what rounding leaves is of the size of the largest entry, not of each.
            torch.testing.assert_close(mine, theirs, atol=1e-5 * max(1.0, float(theirs.abs().max())), rtol=1e-4)


def test_a_chunk_has_as_many_logits_as_the_sizes_allow(base: SharedBase, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts, responses = [PROMPTS[0]] * 2, [list(range(30, 50)), list(range(60, 80))]
    expected, lm_head, chunks = response_logprobs(base, prompts, responses).logprobs, base.lm_head, []

    def counted(states: torch.Tensor) -> torch.Tensor:
        chunks.append(len(states))
        return lm_head(states)

    monkeypatch.setattr(base, "lm_head", counted)
    monkeypatch.setattr(base, "sizes", Sizes(logit_bytes=4 * base.lm_table.shape[0] * 25))
    torch.testing.assert_close(response_logprobs(base, prompts, responses).logprobs, expected, atol=1e-5, rtol=0)
    assert chunks == [25, 15]


def test_without_gradients_the_values_are_the_same(base: SharedBase) -> None:
    add_random_adapter(base, "policy", trainable=True)
    with base.using("policy"):
        tracked = response_logprobs(base, PROMPTS, RESPONSES)
        with torch.no_grad():
            untracked = response_logprobs(base, PROMPTS, RESPONSES)
    assert tracked.logprobs.requires_grad
    assert not tracked.entropy.requires_grad
    assert not untracked.logprobs.requires_grad
    assert torch.equal(tracked.logprobs.detach(), untracked.logprobs)
    assert torch.equal(tracked.entropy, untracked.entropy)


def test_a_row_does_not_depend_on_its_batch(base: SharedBase) -> None:
    together = response_logprobs(base, PROMPTS, RESPONSES)
    for row in range(len(PROMPTS)):
        alone = response_logprobs(base, PROMPTS[row : row + 1], RESPONSES[row : row + 1])
        length = len(RESPONSES[row])
        for whole, single in zip(together, alone, strict=True):
            torch.testing.assert_close(whole[row, :length], single[0], atol=1e-5, rtol=0)
            assert not whole[row, length:].any()


def test_what_padding_holds_does_not_matter(base: SharedBase, monkeypatch: pytest.MonkeyPatch) -> None:
    base.paths = Paths("padded")  # a stream has none
    before = response_logprobs(base, PROMPTS, RESPONSES)
    monkeypatch.setattr("backbone.hidden_states.pad_right", lambda sequences, pad_id: pad_right(sequences, 77))
    after = response_logprobs(base, PROMPTS, RESPONSES)
    assert torch.equal(before.logprobs, after.logprobs)
    assert torch.equal(before.entropy, after.entropy)


def test_entropy_of_equal_logits_is_the_logarithm_of_the_vocabulary(
    base: SharedBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "lm_head", lambda states: torch.zeros(len(states), 320))
    found = response_logprobs(base, PROMPTS, RESPONSES)
    expected = torch.log(torch.tensor(320.0)) * found.mask
    torch.testing.assert_close(found.entropy, expected)
    torch.testing.assert_close(found.logprobs, -expected)


def test_the_mask_marks_response_tokens() -> None:
    assert response_mask([[1, 2], [3], [4, 5, 6]]).tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 1]]
