"""Win rates with their interval, and what responses look like: length, endings, diversity."""

from collections.abc import Hashable, Sequence

import numpy as np
from scipy.special import stdtrit

from foundation.files import Row
from foundation.intervals import Interval, clustered_share_interval, mean_variance
from reward_model.evaluation.accuracy import credit


def win_rate(policy: Sequence[float], base: Sequence[float], conversations: Sequence[Hashable]) -> dict[str, float]:
    """Share of prompts on which the policy scores higher, ties one half; 95% interval over their `conversations`.

    Both answer each prompt, so a case is the pair of them. The interval is exact: on one conversation it is
    nearly everything.
    """
    wins = credit(np.subtract(policy, base))
    low, high = clustered_share_interval(wins, conversations)
    return {"win_rate": float(wins.mean()), "low": low, "high": high, "n": len(wins)}


def mean_interval(values: np.ndarray, clusters: Sequence[Hashable] | None = None) -> Interval:
    """95% interval of the mean of measured quantities (n,), by Student's law over clusters; unbounded for a single one.

    Without `clusters` (n,), each is one of its own.
    """
    clusters = range(len(values)) if clusters is None else clusters
    number = len(set(clusters))
    if number < 2:
        return -np.inf, np.inf
    half = float(stdtrit(number - 1, 0.975) * np.sqrt(mean_variance(values, clusters)))
    return float(values.mean()) - half, float(values.mean()) + half


def ratio_interval(
    numerators: np.ndarray, denominators: np.ndarray, clusters: Sequence[Hashable] | None = None
) -> Interval:
    """95% interval of the ratio of the means of two quantities (n,) that were measured on the same n cases.

    By Student's law on what is left of each pair at that ratio (the delta method), over clusters as `mean_interval`:
    unbounded for a single one, or where the denominators are all zero.
    """
    mean = float(denominators.mean())
    if not mean:
        return -np.inf, np.inf
    ratio = float(numerators.mean()) / mean
    low, high = mean_interval((numerators - ratio * denominators) / mean, clusters)
    return ratio + low, ratio + high


def measures(rows: Sequence[Row]) -> dict[str, float]:
    """Length in words, share that ended by itself, and distinct-n (Li et al. 2016): different n-grams / n-grams."""
    texts = [row["response"].split() for row in rows]
    return {
        "words": float(np.mean([len(words) for words in texts])),
        "finish_rate": float(np.mean([row["finish_reason"] == "stop" for row in rows])),
        "distinct_1": distinct(texts, 1),
        "distinct_2": distinct(texts, 2),
    }


def distinct(texts: Sequence[Sequence[str]], n: int) -> float:
    """Different n-grams over all n-grams of all texts; 0 if there are none."""
    grams = [tuple(words[i : i + n]) for words in texts for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0
