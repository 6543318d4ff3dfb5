"""Several reward models that differ in nothing but chance, as adapters on one base: where they differ, they are unsure.

The first member is an ordinary reward folder, and is what tools that know nothing of ensembles load; the others lie in
it. They are trained in `training/train_ensemble.py` (Lakshminarayanan et al. 2017). Unlike the Laplace approximation
(`uncertainty.py`), which takes the features as given, an ensemble sees doubt in the features too, at the price of that
many trainings and forward passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch

from backbone.adapters import SharedBase
from backbone.loading.settings import Quantization
from backbone.tokens import Ids
from foundation.errors import UserError
from foundation.files import read_json
from reward_model.evaluation.accuracy import credit
from reward_model.evaluation.score_differences import decided, measure
from reward_model.labels.records import Pair, Row
from reward_model.scorer import ADAPTER, RewardScorer

FOLDER, FILE = "ensemble", "ensemble.json"


@dataclass(frozen=True)
class Ensemble:
    """Reward models on one base. `centres` are their mean scores of the same responses: a score has no zero of its own,
    so a constant difference between members says nothing about a response.
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
        return float(joint_figures(self.members, decided(rows)[1])["accuracy"])


def load_scorer(
    folder: Path | str,
    base: SharedBase | None = None,
    *,
    dtype: str = "auto",
    device: str = "auto",
    quantization: Quantization | None = None,
) -> RewardScorer | Ensemble:
    """What a reward folder holds: one reward model, or several."""
    folder = Path(folder)
    if not (folder / FILE).is_file():
        return RewardScorer.load(folder, base, dtype=dtype, device=device, quantization=quantization)
    try:
        centres = tuple(float(centre) for centre in read_json(folder / FILE)["centres"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / FILE} is damaged ({error!r}). Train the reward model again.") from error
    return Ensemble(load_members(folder, len(centres), base, dtype, device, quantization), centres)


def joint_figures(members: Sequence[RewardScorer], pairs: Sequence[Pair]) -> dict[str, Any]:
    """The members' mean scores of all these responses, and the accuracy of their mean."""
    measured = [measure(member, pairs) for member in members]
    mean = np.mean([each.differences for each in measured], axis=0)
    return {"accuracy": float(credit(mean).mean()), "centres": [each.centre for each in measured]}


def load_members(
    folder: Path, count: int, base: SharedBase | None, dtype: str, device: str, quantization: Quantization | None
) -> tuple[RewardScorer, ...]:
    """The `count` members of a reward folder, on one base."""
    first = RewardScorer.load(folder, base, dtype=dtype, device=device, quantization=quantization)
    others = (RewardScorer.load(member_folder(folder, n), first.base, name=f"{ADAPTER}-{n}") for n in range(1, count))
    return first, *others


def member_folder(folder: Path, number: int) -> Path:
    """Where a member lies; the first is the reward folder itself."""
    return folder / FOLDER / str(number) if number else folder
