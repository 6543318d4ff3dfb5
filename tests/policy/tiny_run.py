"""The policy stage on the tiny model, to be killed or to be one of several processes (`tests/suite/forked.py`).

    python -m tests.policy.tiny_run MODEL FOLDER [--kill PLACE] [NAME=VALUE ...]

Writes FOLDER/log.jsonl and the adapter, as `train_policy` does. PLACE is where the process kills itself with SIGKILL.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from backbone.adapters import SharedBase
from policy.config import PolicyConfig
from policy.native import checkpoints
from policy.native.master_weights import MasterWeights
from policy.native.train import train_policy
from tests import shared_base

PROMPTS = [[1, 5 + i, 6, *range(40, 40 + i % 4), 8] for i in range(12)]
CONFIG = PolicyConfig(
    steps=9,
    prompts_per_step=4,
    group=4,
    max_new_tokens=8,
    temperature=1.0,
    learning_rate=1e-2,
    kl_coefficient=0.05,
    missing_eos_penalty=0.0,
    micro_batch=5,
    lora_rank=4,
    lora_alpha=8,
    checkpoint_every=4,
    kl_target=None,
    length_control="none",
    stop_on=(),
)
EVERYTHING = {  # all that a step can leave behind for the next one
    "algorithm": "ppo",
    "epochs": 2,
    "minibatches": 2,
    "kl_target": 1.0,
    "length_control": "band",
    "normalise_rewards": True,
    "entropy_bonus": 0.01,
    "importance_cap": 2.0,
    "length_penalty": 0.01,
}
Row = dict[str, Any]


class LowIds:
    """A score that can be learned: the share of a response's tokens whose id is below 160."""

    def score(self, prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        return torch.tensor([sum(token < 160 for token in ids) / len(ids) for ids in response_ids])


class Killed(LowIds):
    """The same score in a process that is killed in this step, counted from one."""

    def __init__(self, step: int = 7) -> None:
        self.step, self.calls = step, 0

    def score(self, prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        self.calls += 1
        if self.calls == self.step:
            raise KeyboardInterrupt
        return super().score(prompt_ids, response_ids)


def load_base(model: Path) -> SharedBase:
    """The tiny model with larger embeddings: as it is, its logits are too small for any adapter to move them far."""
    base = shared_base.load(model)
    next(base.base.parameters()).data.mul_(10)
    return base


def run(
    model: Path, folder: Path, config: PolicyConfig = CONFIG, on_step: Callable[[Row], None] = lambda row: None
) -> list[Row]:
    """Train on the CPU in fp32."""
    folder.mkdir(parents=True, exist_ok=True)
    return train_policy(config, load_base(model), LowIds(), PROMPTS, folder, seed=3, on_step=on_step)


def die() -> None:
    """End as `kill -9` ends a process."""
    os.kill(os.getpid(), signal.SIGKILL)


def main(*given: str) -> None:
    """What the command line of this module does with these arguments."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--kill", choices=["step 7", "amid update", "before rename", "after rename"])
    arguments = parser.parse_args(given)
    torch.set_num_threads(1)
    publish = checkpoints.publish_folder

    def publishing(partial: Path, final: Path) -> None:
        second = final.name == "step-000008"
        if second and arguments.kill == "before rename":
            die()
        publish(partial, final)
        if second and arguments.kill == "after rename":
            die()

    checkpoints.publish_folder = publishing
    step, updates = MasterWeights.step, 0

    def stepping(self: MasterWeights, *args: Any, **options: Any) -> float:
        nonlocal updates
        updates += 1
        if arguments.kill == "amid update" and updates == 6 * 4 + 2:  # four updates a step
            die()
        return step(self, *args, **options)

    MasterWeights.step = stepping  # type: ignore[method-assign]
    settings = {name: json.loads(value) for name, value in (pair.split("=", 1) for pair in arguments.settings)}

    def on_step(row: Row) -> None:
        if arguments.kill == "step 7" and row["step"] == 7:
            die()

    run(arguments.model, arguments.folder, PolicyConfig(**(CONFIG.model_dump() | settings)), on_step)
    state = PartialState()
    print(f"process {state.process_index} of {state.num_processes}")


if __name__ == "__main__":
    main(*sys.argv[1:])
