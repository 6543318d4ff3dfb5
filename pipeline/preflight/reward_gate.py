"""The gate before tuning: a reward model that knows no more than length and words is not tuned towards unasked.

What it knows is measured when it is trained (`reward_model/evaluation/gate.py`).
"""

from foundation.errors import UserError
from pipeline.config.config import Config
from pipeline.runs.folder import Run
from pipeline.runs.manifest import StageRecord


def is_weak(reward: StageRecord | None, config: Config) -> bool:
    """Whether no policy is tuned towards this reward model as the configuration is."""
    if reward is None or config.policy.accept_weak_reward or not config.learned_reward or config.offline:
        return False
    return bool(reward.figures.get("gate") == "weak")


def refuse_weak(run: Run, config: Config) -> None:
    """A `UserError` if the round's reward model is weak, unless that was accepted or it was tuned towards already."""
    reward, tuned = run.record("reward"), run.record("policy")
    if reward is None or not is_weak(reward, config):
        return
    if tuned is not None and tuned.basis.inputs.get(f"{run.folder.name}/reward") == reward.output_sha256:
        return
    raise UserError(
        "the reward model is weak, and a policy that is tuned towards it learns accidents of its labels. "
        f"{reward.figures['gate_reason']} To tune towards it all the same, add --accept-weak-reward."
    )
