"""Settings that have no effect under TRL's trainers: where somebody set them, they are refused or told, never ignored.

Those that the same algorithm would follow in the native loop are refused. DPO has no use for many more: what a run was
set to for another algorithm stays, so that the two can be compared, and DPO says what it leaves out.

What is at its default was not asked for. Left out is what other stages read as well: `max_new_tokens`, for which
prompts must leave room, and `kl_target`, a limit of promotion.
"""

from collections.abc import Iterable

from foundation.errors import UserError
from policy.alarms import JUDGE
from policy.config import PolicyConfig

OF_OTHER_ALGORITHMS = ("baseline", "discount", "gae_lambda", "value_network", "value_learning_rate", "value_clip")
"""They are for reinforce, reinforce_plus_plus and ppo, which TRL does not run."""

OF_SAMPLING = (
    "group", "epochs", "minibatches", "temperature", "vllm", "stop", "kl_in", "kl_estimator", "missing_eos_penalty",
    "length_penalty", "length_control", "normalise_rewards", "score_clip", "whiten_advantages", "clip", "clip_high",
    "importance_cap", "entropy_bonus", "aggregation", "merge_for_sampling",
)  # fmt: skip
"""What DPO, which samples nothing and has no rewards, has no use for either."""

_DPO_ALARMS = {"entropy"}


def refuse_for_policy_gradients(config: PolicyConfig) -> None:
    """`UserError` for what is set and none of the algorithms that TRL runs has a use for."""
    _refuse(config, OF_OTHER_ALGORITHMS)


def unused_by_dpo(config: PolicyConfig) -> list[str]:
    """What is set and DPO has no use for, each with its value."""
    alarms = ("stop_on",) if set(config.stop_on) - _DPO_ALARMS else ()  # its log has no figure for the others
    return _changed(config, (*OF_OTHER_ALGORITHMS, *OF_SAMPLING, *alarms))


def stops_on_judge(config: PolicyConfig) -> bool:
    """Whether a training is asked to stop on the held-out judge, which asks the native loop's checkpoints alone."""
    return JUDGE in config.stop_on and bool(_changed(config, ("stop_on",)))


def _refuse(config: PolicyConfig, names: Iterable[str]) -> None:
    if found := _changed(config, names):
        raise UserError(
            f"policy.algorithm={config.algorithm}, as TRL trains it, has no use for {' and '.join(found)}. Leave it at "
            "its default."
        )


def _changed(config: PolicyConfig, names: Iterable[str]) -> list[str]:
    """Those that are not at their defaults, each with its value."""
    fields = PolicyConfig.model_fields
    return [f"policy.{name}={getattr(config, name)}" for name in names if getattr(config, name) != fields[name].default]
