"""Several reward models that differ in nothing but chance, as adapters on one base: where they differ, they are unsure.

The first member is an ordinary reward folder, and is what tools that know nothing of ensembles load; the others lie in
it. Each begins from other random adapter weights and sees the labels in another order (Lakshminarayanan et al. 2017),
but all are measured on the same held-out prompts. Unlike the Laplace approximation (`uncertainty.py`), which takes the
features as given, this sees doubt in the features too, at the price of that many trainings and forward passes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch

from backbone.adapters import SharedBase
from foundation.errors import UserError
from foundation.files import content_id, read_json, write_json
from reward_model.config import RewardConfig
from reward_model.evaluation.accuracy import credit
from reward_model.evaluation.evaluate import decided, measure
from reward_model.labels.data import Pair, Row, split_by_prompt
from reward_model.labels.selection import select
from reward_model.scorer import ADAPTER, FIGURES, Ids, RewardScorer
from reward_model.training.train import train_reward

FOLDER, FILE = "ensemble", "ensemble.json"


@dataclass(frozen=True)
class Ensemble:
    """Reward models on one base. `centres` are their mean scores of the same responses: a score has no zero of its own,
    and what two members set it to differently is no doubt about a response.
    """

    members: tuple[RewardScorer, ...]
    centres: tuple[float, ...]

    @property
    def unsure(self) -> bool:
        """Whether it can say how sure it is: see `RewardScorer.unsure`."""
        return True

    @property
    def base(self) -> SharedBase:
        """What all members are on."""
        return self.members[0].base

    @overload
    def score(
        self, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids], *, return_std: Literal[False] = False
    ) -> torch.Tensor: ...

    @overload
    def score(
        self, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids], *, return_std: Literal[True]
    ) -> tuple[torch.Tensor, torch.Tensor]: ...

    def score(
        self, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids], *, return_std: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """The members' mean score (n,), float32, and with `return_std` their standard deviation as well."""
        scores = torch.stack([member.score(prompt_ids, response_ids) for member in self.members])
        centred = scores - torch.tensor(self.centres)[:, None]
        return (centred.mean(0), centred.std(0)) if return_std else centred.mean(0)

    def aspect_scores(self, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids]) -> dict[str, torch.Tensor]:
        """The members' mean scores (n,) by rated aspect, float32."""
        each = [member.aspect_scores(prompt_ids, response_ids) for member in self.members]
        return {name: torch.stack([scores[name] for scores in each]).mean(0) for name in each[0]}

    def accuracy(self, rows: Sequence[Row]) -> float:
        """Share of the preferences in `rows` that the members' mean score has in the right order."""
        return float(_together(self.members, decided(rows)[1])["accuracy"])


def load_scorer(
    folder: Path | str, base: SharedBase | None = None, *, dtype: str = "auto", device: str = "auto"
) -> RewardScorer | Ensemble:
    """What a reward folder holds: one reward model, or several."""
    folder = Path(folder)
    if not (folder / FILE).is_file():
        return RewardScorer.load(folder, base, dtype=dtype, device=device)
    try:
        centres = tuple(float(centre) for centre in read_json(folder / FILE)["centres"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / FILE} is damaged ({error!r}). Train the reward model again.") from error
    return Ensemble(_members(folder, len(centres), base, dtype, device), centres)


def train_ensemble(
    config: RewardConfig,
    model: str,
    rows: Sequence[Row],
    folder: Path,
    *,
    seed: int = 0,
    dtype: str = "auto",
    device: str = "auto",
    on_step: Callable[[Mapping[str, Any]], None] = lambda row: None,
) -> dict[str, Any]:
    """Train `config.ensemble` reward models, the first into `folder` itself; returns the first one's figures.

    With more than one, the figures have `ensemble_accuracy` (of the mean score) and `ensemble_seconds` (all trainings).
    Members that a killed call had finished are not trained again.
    """
    count = config.ensemble
    alone = config.model_copy(update={"ensemble": 1})
    if count == 1:
        return train_reward(alone, model, rows, folder, seed=seed, dtype=dtype, device=device, on_step=on_step)
    measured_on = select(alone, rows, seed).test
    train, test = split_by_prompt(rows, config.held_out, seed)  # the same for all, whatever their own seeds
    basis = content_id(config.model_dump(mode="json"), model, seed, [dict(row) for row in rows])
    if not (folder / FILE).is_file() or read_json(folder / FILE).get("basis") != basis:
        write_json(folder / FILE, {"basis": basis, "finished": 0})
    figures: list[dict[str, Any]] = []
    for number in range(count):
        path = _member(folder, number)
        if number >= read_json(folder / FILE)["finished"]:

            def shown(row: Mapping[str, Any], before: int = number) -> None:
                on_step({**row, "step": row["step"] + before * row["steps"], "steps": count * row["steps"]})

            train_reward(
                alone, model, train, path, seed=seed + number, dtype=dtype, device=device, held_out=test, on_step=shown
            )
            write_json(folder / FILE, {"basis": basis, "finished": number + 1})
        figures.append(read_json(path / FIGURES))
    found = _together(_members(folder, count, None, dtype, device), measured_on)
    write_json(folder / FILE, {"basis": basis, "finished": count, "centres": found["centres"]})
    result = {
        **figures[0],
        "ensemble_accuracy": found["accuracy"],
        "ensemble_seconds": round(sum(each["seconds"] for each in figures), 1),
    }
    write_json(folder / FIGURES, result)
    return {name: value for name, value in result.items() if not isinstance(value, list)}


def _together(members: Sequence[RewardScorer], pairs: Sequence[Pair]) -> dict[str, Any]:
    """The members' mean scores of all these responses, and the accuracy of their mean."""
    measured = [measure(member, pairs) for member in members]
    mean = np.mean([each.differences for each in measured], axis=0)
    return {"accuracy": float(credit(mean).mean()), "centres": [each.centre for each in measured]}


def _members(folder: Path, count: int, base: SharedBase | None, dtype: str, device: str) -> tuple[RewardScorer, ...]:
    first = RewardScorer.load(folder, base, dtype=dtype, device=device)
    others = (RewardScorer.load(_member(folder, n), first.base, name=f"{ADAPTER}-{n}") for n in range(1, count))
    return first, *others


def _member(folder: Path, number: int) -> Path:
    return folder / FOLDER / str(number) if number else folder
