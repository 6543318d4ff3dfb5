"""All that the next step of training depends on, how it begins, and how it is kept on disk.

A checkpoint is whole or not there. What to do with the state is `train.py`'s and `update.py`'s.
"""

import json
import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from backbone.adapters import SharedBase, lora_config
from foundation.errors import UserError
from foundation.files import publish_folder
from policy.algorithms.objectives import AdaptiveKL, RunningMean, RunningMoments
from policy.config import PolicyConfig, algorithm_of
from policy.native.master_weights import Trained
from policy.native.rollout import Mixture
from policy.native.value_network import ValueNetwork, start_value

ADAPTER = "policy"
LOG = "log.jsonl"
Row = dict[str, Any]


@dataclass
class TrainState:
    """All that the next step depends on, besides the seed."""

    policy: Trained
    value: ValueNetwork | None = None
    step: int = 0
    baseline: RunningMean = field(default_factory=RunningMean)
    moments: RunningMoments = field(default_factory=RunningMoments)
    kl: AdaptiveKL | None = None
    mixture: Mixture | None = None

    def kl_coefficient(self, config: PolicyConfig) -> float:
        """Beta in this step: adapted, or as configured."""
        return self.kl.coefficient if self.kl else config.kl_coefficient


def start(config: PolicyConfig, base: SharedBase, seed: int, initial: Path | None = None) -> TrainState:
    """A new adapter on the base, or `initial` with its own rank and layers; a value network where one is needed."""
    if initial is not None:
        base.load_adapter(ADAPTER, initial, trainable=True)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            base.add_adapter(
                ADAPTER, lora_config(config.lora_rank, config.lora_alpha, config.lora_targets), trainable=True
            )
    state = TrainState(Trained((config.learning_rate, base.parameters(ADAPTER))))
    if config.kl_target is not None:
        state.kl = AdaptiveKL(config.kl_coefficient, config.kl_target, config.kl_horizon)
    if algorithm_of(config).needs_values:
        state.value = start_value(config, base, seed)
    base.check_trainable(ADAPTER)
    return state


def save_checkpoint(folder: Path, state: TrainState) -> None:
    """Write everything that the next step depends on, whole or not at all; older checkpoints go."""
    checkpoints = folder / "checkpoints"
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
                "kl_coefficient": state.kl.coefficient if state.kl else None,
                "mixture": state.mixture.state() if state.mixture else None,
            },
            partial / "state.pt",
        )
        publish_folder(partial, final)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise UserError(
            f"cannot write the checkpoint {final}: {error}. The one before it is whole; free some space and run again."
        ) from error
    for old in sorted(checkpoints.glob("step-*"))[:-1]:
        shutil.rmtree(old)


def resume(folder: Path, state: TrainState, base: SharedBase) -> list[Row]:
    """Go on from the last whole checkpoint, if there is one; returns the log up to it."""
    saved = sorted((folder / "checkpoints").glob("step-*"))
    if saved:
        loaded = torch.load(saved[-1] / "state.pt", map_location=base.device, weights_only=True)
        state.policy.restore(loaded["policy"])
        if state.value:
            state.value.restore(loaded["value"])
        state.step = loaded["step"]
        state.baseline = RunningMean(**loaded["baseline"])
        state.moments = RunningMoments(**loaded["moments"])
        if state.kl:
            state.kl = replace(state.kl, coefficient=loaded["kl_coefficient"])
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
