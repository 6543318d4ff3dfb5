"""A reward model beside an older one, on the same pairs: what has changed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from backbone.loading.base_identity import published_name
from backbone.loading.model_name import resolve_model
from backbone.loading.settings import Quantization
from foundation.intervals import paired_interval
from reward_model.evaluation.accuracy import credit
from reward_model.reward_folder import check_reward_folder
from reward_model.scorer import RewardScorer


def older_scorer(scorer: RewardScorer, folder: Path, quantization: Quantization | None = None) -> RewardScorer:
    """The reward model of another folder, on the same base in memory if it was made for it."""
    same = published_name(resolve_model(check_reward_folder(folder))) == published_name(scorer.base.name)
    return RewardScorer.load(
        folder,
        scorer.base if same else None,
        dtype=str(scorer.base.base.dtype).removeprefix("torch."),
        device=str(scorer.base.device),
        quantization=quantization,
        name="older",
    )


def against(new: np.ndarray, old: np.ndarray, conversations: Sequence[str]) -> dict[str, float]:
    """A reward model beside an older one on the same pairs, from both models' differences (pairs,).

    `accuracy` of the older one; `gain`, the accuracy of the new one less that, with a 95% interval over pairs judged by
    both; `same_preference`, share of pairs; `rank_correlation` (Spearman) of the differences; `scale`, ratio of their
    root mean squares, new over old: far from 1, the same KL coefficient weighs differently.
    """
    gained = credit(new) - credit(old)
    low, high = paired_interval(gained, conversations)
    varied = len(set(new.tolist())) > 1 and len(set(old.tolist())) > 1
    spread = float(np.sqrt((old**2).mean()))
    return {
        "accuracy": float(credit(old).mean()),
        "gain": float(gained.mean()),
        "gain_low": low,
        "gain_high": high,
        "same_preference": float((np.sign(new) == np.sign(old)).mean()),
        "rank_correlation": float(spearmanr(new, old).statistic) if varied else 0.0,
        "scale": float(np.sqrt((new**2).mean())) / spread if spread else 0.0,
    }
