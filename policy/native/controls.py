"""What holds the policy in its bounds while it is tuned: the KL coefficient and the price of a token.

Their rules are in `algorithms/kl.py` and `algorithms/length.py`; here they begin, once the first rewards are known, and
follow each step.
"""

from collections.abc import Sequence

import torch

from backbone.adapters import SharedBase
from backbone.sampling import sample
from backbone.sampling_config import SamplingConfig
from backbone.tokens import Ids
from policy.algorithms.kl import AdaptiveKL
from policy.algorithms.length import LengthBand
from policy.algorithms.registry import Algorithm
from policy.config import PolicyConfig
from policy.metrics import score_spread
from policy.native.rollout import Rollout
from policy.native.training_state import TrainState

_RESPONSES = 64  # that the base's mean length is taken from: to about 6%
_STILL = 1e-9


def base_length(config: PolicyConfig, base: SharedBase, prompts: Sequence[Ids], seed: int) -> float:
    """The mean length of the base's responses to training prompts, in tokens, sampled as the policy is."""
    asked = [prompts[number % len(prompts)] for number in range(_RESPONSES)]
    first = config.steps * config.prompts_per_step * config.group  # streams that training does not use
    with base.using(None):
        drawn = sample(base, asked, sampling_of(config), seed=seed, rows=range(first, first + _RESPONSES))
    return sum(len(one.response_ids) for one in drawn) / len(drawn)


def sampling_of(config: PolicyConfig) -> SamplingConfig:
    """How the policy's responses are drawn in training."""
    return SamplingConfig(max_new_tokens=config.max_new_tokens, temperature=config.temperature, stop=config.stop)


def begin_controls(
    config: PolicyConfig, algorithm: Algorithm, state: TrainState, rewards: torch.Tensor, advantages: torch.Tensor,
    mask: torch.Tensor,
) -> None:  # fmt: skip
    """Begin the controls that have not begun, on the scale of this step's rewards without a KL penalty.

    rewards, advantages, mask: (n, T). Where the KL is a term of the loss, it is weighed against the advantages as they
    are there, scaled or whitened; in the reward, against the rewards. If rewards do not differ, there is no scale yet.
    """
    gains, lengths = rewards.sum(1), mask.sum(1)
    spread = score_spread(gains.tolist(), config.group)
    if spread < _STILL:
        return
    if state.length is None and config.length_control == "band":
        varied = score_spread(lengths.tolist(), config.group)
        state.length = LengthBand(state.base_length, spread / max(varied, 1.0))
    if state.kl is None and config.kl_target is not None and config.kl_coefficient:
        if algorithm.kl_in == "loss":
            spread = float(((advantages * mask).sum(1) / lengths).std(correction=0))
        state.kl = AdaptiveKL(config.kl_target, max(spread, _STILL))


def follow(state: TrainState, whole: Rollout) -> None:
    """Let the controls follow a step's responses, those of all processes."""
    n = len(whole.rows)
    if state.kl:
        state.kl = state.kl.after(float(((whole.logprobs - whole.ref_logprobs) * whole.mask).sum(1).mean()), n)
    if state.length:
        state.length = state.length.after(float(whole.mask.sum(1).mean()), n)
