"""features.safetensors: what the frozen base makes of each candidate, computed once and read without torch."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from foundation.errors import UserError
from foundation.files import Row, read_rows
from pipeline.config.config import Config
from pipeline.runs.folder import Run
from pipeline.runs.manifest import StageRecord
from pipeline.terminal.progress import progress

FILE = "features.safetensors"


@dataclass(frozen=True)
class Features:
    """Of all rounds so far: `states` (n, d) of the candidates `ids`, and the number of each one's prompt (n,)."""

    ids: Sequence[str]
    prompts: np.ndarray
    states: np.ndarray

    def rows(self) -> dict[str, int]:
        """Where each candidate is."""
        return {each: row for row, each in enumerate(self.ids)}


def keep_features(run: Run, config: Config, console: Console) -> StageRecord:
    """The stage: the state of the base, without any adapter, at the end of each of the round's candidates."""

    def produce(folder: Path) -> dict[str, int]:
        from safetensors.numpy import save_file

        rows = list({row["id"]: row for row in read_rows(run.folder / "candidates.jsonl")}.values())
        with progress(console, "features", len(rows)) as advance:
            states = _states(config, rows, advance)
        names = {"ids": [row["id"] for row in rows], "prompts": [row["prompt_id"] for row in rows]}
        save_file(
            {"states": states.astype(np.float16)},
            folder / FILE,
            {key: json.dumps(value) for key, value in names.items()},
        )
        return {"candidates": len(rows), "dimensions": states.shape[1]}

    settings = {**config.base, "max_length": config.reward.max_length}
    return run.stage("features", FILE, [run.folder / "candidates.jsonl"], settings, produce)


def _states(config: Config, rows: Sequence[Row], advance: Callable[[int], None]) -> np.ndarray:
    from backbone.exactness import load_shared_base
    from reward_model.frozen_states import frozen_states

    base = load_shared_base(config.model, config.dtype, config.device, config.template, config.quantization)
    renderer, longest = base.renderer, min(config.reward.max_length, base.renderer.max_length)
    prompts, responses = [], []
    for row in rows:
        prompt, response = (
            renderer.prompt_ids(row["prompt"]),
            renderer.completed(renderer.response_ids(row["response"])),
        )
        prompt, response, _ = renderer.fit(prompt, response, longest)
        prompts.append(prompt)
        responses.append(response)
    return frozen_states(base, prompts, responses, advance)


def read_features(run: Run) -> Features:
    """Those of every round that has some; `UserError` if none has, or one is damaged."""
    from safetensors import SafetensorError, safe_open

    ids: list[str] = []
    prompts: list[str] = []
    states = []
    for file in (run.at(number).folder / FILE for number in run.rounds()):
        if not file.is_file():
            continue
        try:
            with safe_open(file, framework="np") as kept:
                states.append(kept.get_tensor("states").astype(np.float32))
                ids += json.loads(kept.metadata()["ids"])
                prompts += json.loads(kept.metadata()["prompts"])
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{file} is damaged ({error}). Delete it and run `rlhf collect` again.") from error
    if not states:
        raise UserError(f"the run {run.path} has no {FILE} yet: run `rlhf collect` with collect.chooser set.")
    if len({each.shape[1] for each in states}) > 1:
        raise UserError(
            f"the rounds of {run.path} were collected on bases of different sizes: a chooser needs one base."
        )
    known: dict[str, int] = {}
    return Features(ids, np.array([known.setdefault(each, len(known)) for each in prompts]), np.concatenate(states))
