"""How good a reward model is on pairs that it was not trained on.

Accuracy with a 95% interval, calibration, and two controls on the same pairs. Nothing here trains
the reward model; whoever calls sees to it that the pairs are held out.
"""

from collections.abc import Sequence
from math import sqrt
from pathlib import Path

import numpy as np

from rlhf_pipeline.errors import UserError
from rlhf_pipeline.reward_model.controls import BagOfWords, cross_validated, longer_wins
from rlhf_pipeline.reward_model.data import Pair, Row, to_dataset, to_pairs
from rlhf_pipeline.reward_model.scorer import RewardScorer

_Z = 1.959964  # the 97.5% point of a standard normal


def evaluate_reward(reward: RewardScorer | Path | str, rows: Sequence[Row]) -> dict[str, float]:
    """Figures of a reward model (or the folder of one) on `rows`.

    Returns `accuracy, accuracy_low, accuracy_high, n, longer_wins, bag_of_words, ece`: all shares between
    0 and 1 but `n`, the number of pairs. A tie counts one half everywhere. The bag of words is the one
    saved beside the reward model at training; where there is none, it is fitted on `rows` by
    cross-validation over prompts.
    """
    pairs = to_pairs(rows)
    if not pairs:
        raise UserError("there are no pairs to evaluate the reward model on. Give at least one preference.")
    scorer = reward if isinstance(reward, RewardScorer) else RewardScorer.load(Path(reward))
    return figures(pairs, score_differences(scorer, pairs), scorer.bag_of_words)


def score_differences(scorer: RewardScorer, pairs: Sequence[Pair]) -> np.ndarray:
    """Score of chosen less score of rejected: (pairs,), both rendered and cut as in training."""
    renderer = scorer.base.renderer
    longest = min(scorer.max_length or renderer.max_length, renderer.max_length)
    data = to_dataset([pair.row() for pair in pairs], renderer, longest).dataset
    sequences = [*data["chosen_ids"], *data["rejected_ids"]]
    chosen, rejected = scorer.score_sequences(sequences).chunk(2)
    return (chosen.double() - rejected.double()).numpy()


def figures(pairs: Sequence[Pair], differences: np.ndarray, words: BagOfWords | None = None) -> dict[str, float]:
    """The figures of `evaluate_reward` from score differences (pairs,), chosen less rejected."""
    right = credit(differences)
    low, high = clustered_interval(right, [pair.prompt_key for pair in pairs])
    by_words = words.differences(pairs) if words else cross_validated(pairs)
    return {
        "accuracy": float(right.mean()),
        "accuracy_low": low,
        "accuracy_high": high,
        "n": len(pairs),
        "longer_wins": float(credit(longer_wins(pairs)).mean()),
        "bag_of_words": float(credit(by_words).mean()),
        "ece": calibration_error(differences),
    }


def credit(differences: np.ndarray) -> np.ndarray:
    """1 where the chosen response scores higher, one half for a tie, else 0: (pairs,)."""
    return np.asarray((np.sign(differences) + 1) / 2)


def clustered_interval(right: np.ndarray, prompts: Sequence[str]) -> tuple[float, float]:
    """A 95% interval for the mean of `right` (pairs,) when pairs of one prompt resemble one another.

    Wilson's interval (Wilson 1927) on the effective number of pairs, n / design effect, with the variance
    between prompts by linearisation (Korn and Graubard 1998). Unlike a bootstrap over prompts it does not shrink to a
    point when every answer is right. Where the variance between prompts is zero or unknown, the number of prompts
    is the effective number.
    """
    _, prompt = np.unique(np.array(prompts), return_inverse=True)
    n, k, mean = len(right), int(prompt.max()) + 1, float(right.mean())
    residuals = np.bincount(prompt, weights=right - mean)
    variance = k / (k - 1) * float((residuals**2).sum()) / n**2 if k > 1 else 0.0
    effective = min(n, mean * (1 - mean) / variance) if variance > 0 else k
    centre = (mean + _Z**2 / (2 * effective)) / (1 + _Z**2 / effective)
    half = _Z * sqrt(mean * (1 - mean) / effective + _Z**2 / (4 * effective**2)) / (1 + _Z**2 / effective)
    return max(0.0, centre - half), min(1.0, centre + half)


def calibration_error(differences: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error of sigmoid(difference) as the probability that chosen is preferred.

    Every pair counts in both orders, as (p, preferred) and (1 - p, not preferred), since which response comes
    first is arbitrary; then the usual mean over `bins` equal bins of |mean p - share preferred|
    (Guo et al. 2017, eq. 3).
    """
    p = 1 / (1 + np.exp(-np.clip(differences, -500, 500)))
    forecast = np.concatenate([p, 1 - p])
    outcome = np.repeat([1.0, 0.0], len(p))
    bin_of = np.minimum((forecast * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_of, weights=forecast - outcome, minlength=bins)
    return float(np.abs(gaps).sum() / len(forecast))


def reliability(differences: np.ndarray, bins: int = 5) -> list[tuple[float, float, int]]:
    """For the pairs in each of `bins` equal bins of confidence, 0.5 to 1: mean confidence, share right, pairs.

    The confidence of a pair is sigmoid(|difference|). Empty bins are left out.
    """
    sure = 1 / (1 + np.exp(-np.clip(np.abs(differences), 0, 500)))
    bin_of = np.minimum(((sure - 0.5) * 2 * bins).astype(int), bins - 1)
    right = credit(differences)
    chosen = [bin_of == i for i in range(bins) if (bin_of == i).any()]
    return [(float(sure[one].mean()), float(right[one].mean()), int(one.sum())) for one in chosen]
