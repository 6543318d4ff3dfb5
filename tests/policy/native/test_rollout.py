from collections.abc import Sequence

import pytest
import torch

from backbone.adapters import SharedBase
from backbone.logprobs import response_logprobs
from backbone.sampling_config import SamplingConfig
from foundation.errors import UserError
from policy.native.rollout import Rollout, roll_out
from policy.scorer_protocol import Scorer
from tests.policy.tiny_run import LowIds
from tests.shared_base import PROMPTS, add_random_adapter

SAMPLING = SamplingConfig(max_new_tokens=6, temperature=0.8)


def _roll_out(base: SharedBase, scorer: Scorer, *, micro_batch: int = 3, merge: bool = False) -> Rollout:
    rows = [2 * row for row in range(len(PROMPTS))]
    return roll_out(
        base, "policy", scorer, PROMPTS, SAMPLING, group=2, seed=0, rows=rows, micro_batch=micro_batch, merge=merge
    )


class Fixed:
    """Returns what it was given, whatever it is asked."""

    def __init__(self, scores: torch.Tensor) -> None:
        self.scores = scores

    def score(self, prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        return self.scores


@pytest.mark.parametrize("merge", [False, True])
def test_a_rollout_holds_the_logprobs_of_the_policy_and_of_the_reference(base: SharedBase, merge: bool) -> None:
    add_random_adapter(base, "policy", trainable=True)
    rollout = _roll_out(base, LowIds(), merge=merge)
    assert rollout.prompt_ids == [prompt for prompt in PROMPTS for _ in range(2)]
    for name, found in [("policy", rollout.logprobs), (None, rollout.ref_logprobs)]:
        with torch.no_grad(), base.using(name):
            expected = response_logprobs(base, rollout.prompt_ids, rollout.response_ids, 0.8)
        torch.testing.assert_close(found, expected.logprobs, atol=1e-4, rtol=0)
        assert torch.equal(rollout.mask, expected.mask)
    assert (rollout.logprobs - rollout.ref_logprobs).abs().max() > 0.1
    assert torch.equal(rollout.scores, LowIds().score(rollout.prompt_ids, rollout.response_ids))
    assert rollout.finished.tolist() == [ids[-1] == base.renderer.eos_ids[0] for ids in rollout.response_ids]
    assert set(rollout.seconds) == {"sample", "score", "reference"}


def test_micro_batches_make_no_difference(base: SharedBase) -> None:
    add_random_adapter(base, "policy", trainable=True)
    one, all_ = _roll_out(base, LowIds(), micro_batch=1), _roll_out(base, LowIds(), micro_batch=99)
    assert one.response_ids == all_.response_ids
    torch.testing.assert_close(one.ref_logprobs, all_.ref_logprobs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_not_finite_is_refused_with_the_response(base: SharedBase, bad: float) -> None:
    add_random_adapter(base, "policy", trainable=True)
    scores = torch.zeros(8)
    culprit = base.renderer.text(_roll_out(base, Fixed(scores)).response_ids[5])[:80]
    scores[5] = bad
    with pytest.raises(UserError, match="the score of 1 of 8 responses is not finite") as caught:
        _roll_out(base, Fixed(scores))
    assert culprit in str(caught.value)


@pytest.mark.parametrize("shape", [(7,), (8, 1), ()])
def test_scores_of_another_number_are_refused(base: SharedBase, shape: tuple[int, ...]) -> None:
    add_random_adapter(base, "policy", trainable=True)
    with pytest.raises(UserError, match="the scorer returned shape"):
        _roll_out(base, Fixed(torch.zeros(shape)))
