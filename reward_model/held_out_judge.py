"""A second judge of the tuned policy, from labels that the reward model has never seen.

A policy finds the errors of the reward model that it is tuned towards. Another model, whose errors are its own, tells a
gain from an exploit (Gao et al. 2022; Coste et al. 2023). This one costs next to nothing: a linear head on the frozen
base's states, fitted on the held-out pairs. The pairs that the reward model learned from say how often it is right.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from backbone.adapters import SharedBase
from foundation.files import read_json
from reward_model.evaluation.accuracy import credit, share
from reward_model.evaluation.gate import linear_head
from reward_model.labels.records import Pair
from reward_model.reward_folder import FIGURES
from reward_model.scorer import RewardScorer

FILE = "held_out_judge.safetensors"
_FEWEST = 8  # pairs it is fitted on, and tried on


@dataclass(frozen=True)
class HeldOutJudge(RewardScorer):
    """A head with these `weights` (d,) on the base without any adapter. Its scores have no unit: compare them."""

    name: str | None = None
    weights: torch.Tensor = field(default_factory=lambda: torch.zeros(0))

    @property
    def head(self) -> torch.Tensor:
        """The head's weights: (d,), float32 on the CPU."""
        return self.weights


def fit_held_out_judge(
    held_out: Sequence[Pair], learned: Sequence[Pair], differences: np.ndarray, folder: Path
) -> dict[str, float]:
    """Fit the judge on `held_out` and try it on `learned` pairs; returns `judge_accuracy`, its interval and `judge_n`.

    `differences` (held-out and learned pairs, d) are the frozen base's states, chosen less rejected.
    It is written to `folder` if it is right more often than chance, by the lower end of the interval. Nothing is done
    with too few pairs.
    """
    if min(len(held_out), len(learned)) < _FEWEST:
        return {}
    head = linear_head(differences[: len(held_out)])
    right = credit(differences[len(held_out) :] @ head)
    found = share(right, [pair.conversation_key for pair in learned])
    if found["accuracy_low"] > 0.5:
        save_file({"head": torch.from_numpy(np.ascontiguousarray(head)).float()}, folder / FILE)
    return {"judge_" + name: value for name, value in found.items()}


def load_held_out_judge(folder: Path, base: SharedBase) -> HeldOutJudge | None:
    """The judge of a reward folder, on `base`; None if it has none: too few labels, or no better than chance."""
    if not (folder / FILE).is_file():
        return None
    longest = read_json(folder / FIGURES)["max_length"]
    return HeldOutJudge(base, max_length=longest, weights=load_file(folder / FILE)["head"])
