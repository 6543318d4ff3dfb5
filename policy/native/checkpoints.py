"""The native loop's checkpoints: all that the next step depends on, written whole or not at all."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import torch

from backbone.adapters import SharedBase
from backbone.training.running_moments import RunningMoments
from foundation.errors import UserError
from foundation.files import publish_folder
from policy.algorithms.advantages import RunningMean
from policy.algorithms.kl import AdaptiveKL
from policy.algorithms.length import LengthBand
from policy.finished import CHECKPOINTS
from policy.native.master_weights import Copies
from policy.native.training_state import Row, TrainState
from policy.training_log import LOG


def save_checkpoint(folder: Path, state: TrainState) -> None:
    """Write everything that the next step depends on, whole or not at all; older checkpoints go."""
    checkpoints = folder / CHECKPOINTS
    final = checkpoints / f"step-{state.step:06d}"
    partial = checkpoints / f".{final.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        torch.save(
            {
                "policy": state.policy.state(),
                "value": state.value.state() if state.value else None,
                "step": state.step,
                "baseline": asdict(state.baseline),
                "moments": asdict(state.moments),
                "kl": asdict(state.kl) if state.kl else None,
                "length": asdict(state.length) if state.length else None,
                "base_length": state.base_length,
                "mixture": state.mixture.state() if state.mixture else None,
            },
            partial / "state.pt",
        )
        publish_folder(partial, final)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise UserError(
            f"cannot write the checkpoint {final}: {error}. The one before it is intact; free some space and run again."
        ) from error
    for old in sorted(checkpoints.glob("step-*"))[:-1]:
        shutil.rmtree(old)


def restore_checkpoint(folder: Path, state: TrainState, base: SharedBase) -> list[Row]:
    """Continue from the last whole checkpoint, if there is one; returns the log up to it."""
    saved = sorted((folder / CHECKPOINTS).glob("step-*"))
    if saved:
        loaded = torch.load(saved[-1] / "state.pt", map_location=base.device, weights_only=True)
        state.policy.restore(loaded["policy"])
        if state.value:
            state.value.restore(loaded["value"])
        state.step = loaded["step"]
        state.baseline = RunningMean(**loaded["baseline"])
        state.moments = RunningMoments(**loaded["moments"])
        state.kl = AdaptiveKL(**loaded["kl"]) if loaded["kl"] else None
        state.length = LengthBand(**loaded["length"]) if loaded["length"] else None
        state.base_length = loaded["base_length"]
        if state.mixture:
            state.mixture.restore(loaded["mixture"])
    rows: list[Row] = []
    path = folder / LOG
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            if len(rows) == state.step:
                break
            rows.append(json.loads(line))
    return rows


def restore_weights(folder: Path, state: TrainState, start: Copies, base: SharedBase) -> int:
    """Give the policy the weights of the last whole checkpoint, or those of its `start`; returns their step."""
    saved = sorted((folder / CHECKPOINTS).glob("step-*"))
    if not saved:
        state.policy.put(start)
        return 0
    loaded = torch.load(saved[-1] / "state.pt", map_location=base.device, weights_only=True)
    state.policy.put(loaded["policy"]["master"])
    return int(loaded["step"])
