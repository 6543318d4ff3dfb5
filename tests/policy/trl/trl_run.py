"""The policy stage by TRL on the tiny model, to be started by `accelerate launch`.

    python -m tests.policy.trl.trl_run MODEL FOLDER [NAME=VALUE ...]

Writes FOLDER/log.jsonl and the adapter, as `train_with_trl` does, and what each process was asked to score. The scorer
computes with an adapter of the shared base, as a reward model does.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import DistributedType, PartialState
from torch.distributed.tensor import DTensor

from backbone.adapters import SharedBase
from policy.config import PolicyConfig
from policy.trl.train_rloo_grpo import train_with_trl
from tests import shared_base
from tests.policy.tiny_run import CONFIG, PROMPTS, load_base

TRL = PolicyConfig(**(CONFIG.model_dump() | {"engine": "trl", "steps": 3, "micro_batch": 4}))


class OnTheBase:
    """A score from the states that another adapter of the base gives; `asked` keeps prompt, response and score."""

    def __init__(self, base: SharedBase) -> None:
        shared_base.add_random_adapter(base, "reward")
        self.base = base
        self.asked: list[tuple[list[int], list[int], float]] = []

    @torch.no_grad()
    def score(self, prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        scores = []
        with self.base.using("reward"):
            for prompt, response in zip(prompt_ids, response_ids, strict=True):
                ids = torch.tensor([[*prompt, *response]], device=self.base.device)
                scores.append(self.base.hidden_states(ids, torch.ones_like(ids))[0, -1].float().mean().cpu() * 10)
                self.asked.append((list(prompt), list(response), float(scores[-1])))
        return torch.stack(scores)


def cpus_as_gpus() -> None:
    """Let accelerate shard weights among processes on CPUs, which it refuses to; torch itself can."""
    state: Any = PartialState
    state._prepare_backend = lambda *args, **kwargs: ("gloo", DistributedType.MULTI_GPU)
    state.set_device = lambda self: setattr(self, "device", torch.device("cpu"))


def _main(model: str, folder: str, *settings: str) -> None:
    torch.set_num_threads(1)
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        cpus_as_gpus()
    given = {name: json.loads(value) for name, value in (pair.split("=", 1) for pair in settings)}
    base = load_base(Path(model))
    scorer = OnTheBase(base)
    config = PolicyConfig(**(TRL.model_dump() | given))
    Path(folder).mkdir(parents=True, exist_ok=True)
    train_with_trl(config, base, scorer, PROMPTS, Path(folder), seed=3)
    state = PartialState()
    (Path(folder) / f"asked-{state.process_index}.json").write_text(json.dumps(scorer.asked))
    shards = sum(isinstance(weight, DTensor) for weight in base.base.parameters())
    print(f"process {state.process_index} of {state.num_processes}, {shards} sharded weights")


if __name__ == "__main__":
    _main(*sys.argv[1:])
