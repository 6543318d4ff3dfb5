"""What a round's policy starts from: the champion where the round before was decided on, else the last policy.

Once a round has begun, it goes on with what it began with, whatever is decided meanwhile.
"""

import re
from pathlib import Path

from foundation.errors import UserError
from pipeline.champion.history import current, history
from pipeline.config.config import Config
from pipeline.runs.folder import Run

_POLICY = re.compile(r"round-\d{3}/(policy|superseded/policy-\d+)")


def begins_with(run: Run, config: Config) -> Path | None:
    """The adapter that the round's candidates are sampled from and its training starts from; None for the base.

    Raises `UserError` if it is gone, or if it is a champion that `current` refuses.
    """
    if _begun(run):
        return _there(run, began_with(run, config))
    if run.round and any(decision.round == run.round - 1 for decision in history(run)):
        return current(run, config).adapter
    return _there(run, began_with(run, config))


def began_with(run: Run, config: Config) -> Path | None:
    """As `begins_with`, of a round that has begun, whether the adapter is still there or not."""
    if run.round == 0:
        return config.policy.initial
    if not _begun(run):
        return run.at(run.round - 1).folder / "policy"
    made = run.record("collect") or run.record("policy")
    name = next(filter(_POLICY.fullmatch, made.basis.inputs), None) if made else None
    return run.path / name if name else None


def _begun(run: Run) -> bool:
    return run.round > 0 and bool(run.record("collect") or run.record("policy"))


def _there(run: Run, adapter: Path | None) -> Path | None:
    if run.round and adapter and not adapter.is_dir():
        raise UserError(
            f"{run.folder.name} starts from {adapter}, which is gone. Put the folder back from a copy, or move "
            f"{run.folder} away and choose what the next round starts from: "
            f"`rlhf rollback --reason ... --run {run.argument}`."
        )
    return adapter
