"""One stream for many responses gives what padded rows give."""

import pytest
import torch

from backbone.adapters import SharedBase
from backbone.cpu import shared_prompts as packed
from backbone.cpu.shared_prompts import Stream, batches, last_states, packs, states_before
from tests.shared_base import add_random_adapter

PROMPTS = [[1, 5, 6, 7, 8]] * 3 + [[1, 200, 30]] + [[1, 9, 10, 11]] * 2 + [[1, 200, 30]]
RESPONSES = [[30, 31, 2], [7], [9, 9, 9, 200, 2], [100, 2], [40, 41, 42], [43, 2], [5, 5, 5, 5, 5, 2]]


def _both(base: SharedBase, states: packed.Any) -> tuple[torch.Tensor, torch.Tensor]:
    """What `states` gives in a stream and in padded rows."""
    base.packs = True
    stream = states(base, PROMPTS, RESPONSES)
    base.packs = False
    return stream, states(base, PROMPTS, RESPONSES)


@pytest.mark.parametrize("states", [states_before, last_states])
def test_a_stream_gives_the_states_and_gradients_of_padded_rows(base: SharedBase, states: packed.Any) -> None:
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
    base.packs = True
    before = last_states(base, [[1, 5, 6]] * 2, [[30, 31], [7, 8, 9]])
    after = last_states(base, [[1, 5, 6]] * 2, [[30, 31], [200, 201]])
    torch.testing.assert_close(before[0], after[0], atol=1e-6, rtol=0)
    assert (before[1] - after[1]).abs().max() > 1e-3


def test_a_prompt_lies_in_the_stream_once_for_its_responses() -> None:
    stream = Stream.of(PROMPTS, RESPONSES)
    prompts = 5 + 3 + 4 + 3  # the second prompt comes back later, and is computed again
    used = prompts + sum(map(len, RESPONSES))
    assert stream.input_ids.shape == (1, -(-used // packed.ROUND) * packed.ROUND)
    assert not stream.input_ids[0, used:].any()
    assert stream.prompt_ends[:3] == [4, 4, 4]


def test_a_model_with_other_attention_goes_the_ordinary_way(base: SharedBase, monkeypatch: pytest.MonkeyPatch) -> None:
    assert packs(base, PROMPTS, RESPONSES)
    base.packs = None
    monkeypatch.setattr(base.base.config, "layer_types", ["sliding_attention", "full_attention"], raising=False)
    assert not packs(base, PROMPTS, RESPONSES)


def test_a_model_that_gives_other_states_in_a_stream_goes_the_ordinary_way(
    base: SharedBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "last_states", lambda *args: torch.randn(3, base.hidden_size))
    assert not packs(base, PROMPTS, RESPONSES)


def test_long_rows_go_the_ordinary_way(base: SharedBase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "LONGEST", 9)
    assert not packs(base, PROMPTS, RESPONSES)
    assert packs(base, PROMPTS[3:4], RESPONSES[3:4])


def test_batches_hold_every_row_once_and_keep_groups_together() -> None:
    found = batches(PROMPTS, RESPONSES, 4)
    assert sorted(row for batch in found for row in batch) == list(range(7))
    assert all(len(batch) <= 4 for batch in found)
    assert any({0, 1, 2} <= set(batch) for batch in found)
    assert batches(PROMPTS, RESPONSES, 2) != found
    assert all(len(batch) <= 2 for batch in batches(PROMPTS, RESPONSES, 2))


def test_rows_of_similar_length_go_together() -> None:
    assert batches([[0] * 3, [1], [0] * 2, [0] * 9], [[0], [0], [0], [0]], 2) == [[1, 2], [0, 3]]
