import pytest
import torch

from backbone.cpu.shared_prompt_attention import _Parts
from backbone.cpu.shared_prompts import ROUND, Stream

PROMPTS = [[1, 5, 6, 7, 8]] * 3 + [[1, 200, 30]] + [[1, 9, 10, 11]] * 2 + [[1, 200, 30]]
RESPONSES = [[30, 31, 2], [7], [9, 9, 9, 200, 2], [100, 2], [40, 41, 42], [43, 2], [5, 5, 5, 5, 5, 2]]


def test_a_prompt_lies_in_the_stream_once_for_its_responses() -> None:
    stream = Stream.of(PROMPTS, RESPONSES)
    prompts = 5 + 3 + 4 + 3  # the second prompt comes back later, and is computed again
    used = prompts + sum(map(len, RESPONSES))
    assert stream.input_ids.shape == (1, -(-used // ROUND) * ROUND)
    assert not stream.input_ids[0, used:].any()
    assert stream.prompt_ends[:3] == [4, 4, 4]


@pytest.mark.parametrize("scale", [0.125, 0.1])
def test_probabilities_in_half_precision_are_those_of_fp32_rounded_once(scale: float) -> None:
    stream = Stream.of([[1] * 40] * 2 + [[2] * 21], [[3] * 9, [4] * 5, [5] * 12])
    drawn = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(heads, stream.home.shape[0], 64, generator=drawn).bfloat16() for heads in (6, 3, 3))
    parts = _Parts.of(q, k, v, stream, scale)
    alone, _ = parts.probabilities()
    scores = (parts.q @ parts.k.transpose(-1, -2)).float().unflatten(2, (2, -1)) * scale
    causal = torch.full(scores.shape[-2:], -torch.inf).triu(1)
    torch.testing.assert_close(
        alone.unflatten(2, (2, -1)), torch.softmax(scores + causal, -1).bfloat16(), rtol=0, atol=0
    )
