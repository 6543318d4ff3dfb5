"""One stream for many responses gives what padded rows give."""

from typing import Any

import pytest
import torch

from backbone import hidden_states
from backbone.adapters import SharedBase
from backbone.hidden_states import last_states, pooled_states, probed_block, shares_prompts, states_before
from backbone.own_function import Paths
from tests.shared_base import add_random_adapter

PROMPTS = [[1, 5, 6, 7, 8]] * 3 + [[1, 200, 30]] + [[1, 9, 10, 11]] * 2 + [[1, 200, 30]]
RESPONSES = [[30, 31, 2], [7], [9, 9, 9, 200, 2], [100, 2], [40, 41, 42], [43, 2], [5, 5, 5, 5, 5, 2]]


def _both(base: SharedBase, states: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """What `states` gives in a stream and in padded rows."""
    base.paths = Paths("stream")
    stream = states(base, PROMPTS, RESPONSES)
    base.paths = Paths("padded")
    return stream, states(base, PROMPTS, RESPONSES)


@pytest.mark.parametrize("states", [states_before, last_states])
def test_a_stream_gives_the_states_and_gradients_of_padded_rows(base: SharedBase, states: Any) -> None:
    add_random_adapter(base, "policy", trainable=True)
    weights = list(base.parameters("policy").values())
    with base.using("policy"):
        ours, padded = _both(base, states)
        torch.testing.assert_close(ours, padded, atol=1e-5, rtol=1e-5)
        along = torch.linspace(-1, 2, ours.numel()).view_as(ours)
        for mine, theirs in zip(
            torch.autograd.grad((ours * along).sum(), weights),
            torch.autograd.grad((padded * along).sum(), weights),
            strict=True,
        ):
            assert theirs.abs().max() > 1e-3
            torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-4)


def test_responses_to_one_prompt_do_not_see_one_another(base: SharedBase) -> None:
    base.paths = Paths("stream")
    before = last_states(base, [[1, 5, 6]] * 2, [[30, 31], [7, 8, 9]])
    after = last_states(base, [[1, 5, 6]] * 2, [[30, 31], [200, 201]])
    torch.testing.assert_close(before[0], after[0], atol=1e-6, rtol=0)
    assert (before[1] - after[1]).abs().max() > 1e-3


def test_rows_of_one_length_at_a_time_give_the_states_and_gradients_of_padded_rows(base: SharedBase) -> None:
    add_random_adapter(base, "policy", trainable=True)
    found = []
    for way in ("alone", "padded"):
        base.paths = Paths(way)
        with base.using("policy"):
            states = states_before(base, PROMPTS, RESPONSES)
            found.append((states, torch.autograd.grad(states.square().sum(), list(base.parameters("policy").values()))))
    torch.testing.assert_close(found[0], found[1], atol=1e-3, rtol=1e-4)


def test_long_rows_go_the_ordinary_way(base: SharedBase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hidden_states, "LONGEST", 9)
    assert not shares_prompts(base, PROMPTS, RESPONSES)
    assert shares_prompts(base, PROMPTS[3:4], RESPONSES[3:4])


@pytest.mark.parametrize("way", ["stream", "padded", "alone"])
def test_what_a_probe_reads(base: SharedBase, way: Any) -> None:
    base.paths = Paths("padded")
    plain = pooled_states(base, PROMPTS, RESPONSES)
    base.paths = Paths(way)
    assert (probed_block(base) is None) == (way == "alone")
    found = pooled_states(base, PROMPTS, RESPONSES)
    torch.testing.assert_close(found[:, 0], last_states(base, PROMPTS, RESPONSES), atol=1e-5, rtol=1e-5)
    if way == "alone":
        torch.testing.assert_close(found[:, 1], found[:, 0])
        return
    torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-5)
    assert (found[:, 1] - found[:, 0]).abs().max() > 1e-2
    assert (found[0, 1] - found[0, 2]).abs().max() > 1e-2
    torch.testing.assert_close(found[1, 1], found[1, 2])  # of one token
    short = pooled_states(base, PROMPTS, RESPONSES, final=False)
    torch.testing.assert_close(short[:, 1:], found[:, 1:], atol=1e-6, rtol=0)
    torch.testing.assert_close(short[:, 0], found[:, 1], atol=1e-6, rtol=0)
    assert not any(module._forward_hooks for module in base.base.modules())
