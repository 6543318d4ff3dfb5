"""The gate before tuning: whether scores know anything of people's preferences that length and words do not.

A policy that is tuned towards a reward model without such knowledge learns to be short, long, or full of certain words.
The trained model is asked first, on its held-out pairs. If they are too few to tell, the labels are asked, all of them:
a linear head on the frozen base's states, fitted on the other conversations, is what the trained model has learned at
least.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from foundation.intervals import clustered_share_interval
from reward_model.bag_of_words import BagOfWords
from reward_model.evaluation.accuracy import credit
from reward_model.evaluation.baselines import cross_validated, longer_wins
from reward_model.labels.records import Pair

_CHANCE = 0.0025  # of a pass by scores that know nothing, in each of the two questions
_FOLDS = 5
_PRIOR = 1e-2  # N(0, 10^2) on the coefficients of the controls: finite where they decide every pair
_PENALTIES = np.logspace(-2, 4, 13)
_HOPELESS = 0.5


@dataclass(frozen=True)
class Evidence:
    """What scores know beyond the controls: `statistic` is about Student's, with conversations as clusters, if nothing.

    `accuracy` is theirs, `length` and `words` are that of the two controls, on the same `n` pairs.
    """

    statistic: float
    needed: float
    n: int
    accuracy: float
    length: float
    words: float

    @property
    def passed(self) -> bool:
        """Whether it is more than chance gives."""
        return self.statistic > self.needed and self.accuracy > 0.5


def weigh(scores: np.ndarray, lengths: np.ndarray, words: np.ndarray, conversations: Sequence[str]) -> Evidence:
    """What `scores` know beyond `lengths` and `words`: differences (pairs,), chosen less rejected, held out all three.

    A score test of the coefficient of `scores` in a logistic regression of the preference on all three, robust to
    conversations with several pairs (Boos 1992, "On generalized score tests"): what the controls leave unexplained has
    to go with what the scores do not share with them. It takes sizes of differences into account, so it needs far fewer
    pairs than a comparison of accuracies, and being self-normalised it promises no more on few.
    """
    x = np.stack([_scaled(lengths), _scaled(words)], axis=1)
    p = _preferred(x)
    curvature = p * (1 - p)
    own = _scaled(scores)
    shared = np.linalg.lstsq(x * np.sqrt(curvature)[:, None], own * np.sqrt(curvature), rcond=None)[0]
    terms = (1 - p) * (own - x @ shared)
    _, of_pair = np.unique(np.array(conversations), return_inverse=True)
    sums = np.bincount(of_pair, weights=terms)
    size = float(np.sqrt((sums**2).sum()))
    shorter = max(float(credit(lengths).mean()), float(credit(-lengths).mean()))
    return Evidence(
        statistic=float(sums.sum()) / size if size > 0 else 0.0,
        needed=float(stdtrit(max(len(sums) - 1, 1), 1 - _CHANCE)),
        n=len(scores),
        accuracy=float(credit(scores).mean()),
        length=shorter,
        words=float(credit(words).mean()),
    )


def gate(
    held_out: Sequence[Pair], scores: np.ndarray, words: BagOfWords, pairs: Sequence[Pair], frozen: np.ndarray
) -> dict[str, Any]:
    """`gate`, "passed" or "weak", and `gate_reason`, of a model with these `scores` (pairs,) of the held-out pairs.

    Neither it nor the bag of `words` was trained on those. `pairs` are labels that either was trained on or not, with
    the differences of their `frozen` states (pairs, d): what a head on them knows, for each pair fitted on other
    conversations, is in the figures `head_accuracy`, `head_low`, `head_high` (95%), `head_n`, `head_length` and
    `head_words`.
    """
    trained = weigh(scores, longer_wins(held_out), words.differences(held_out), _conversations(held_out))
    differences = cross_fitted_head(frozen, pairs)
    head = weigh(differences, longer_wins(pairs), cross_validated(pairs), _conversations(pairs))
    low, high = clustered_share_interval(credit(differences), _conversations(pairs))
    figures = {
        "head_accuracy": head.accuracy, "head_low": low, "head_high": high, "head_n": head.n,
        "head_length": head.length, "head_words": head.words,
    }  # fmt: skip
    if trained.passed:
        return {"gate": "passed", "gate_reason": _told("the reward model", trained), **figures}
    if head.passed:
        reason = _told("a head on the base that was fitted on other conversations", head)
        return {"gate": "passed", "gate_reason": reason, **figures}
    return {"gate": "weak", "gate_reason": f"{_told('the reward model', trained)} {_remedy(trained, head)}", **figures}


def cross_fitted_head(features: np.ndarray, pairs: Sequence[Pair]) -> np.ndarray:
    """Score differences (pairs,) of a linear head on `features` (pairs, d), for each fitted on other conversations.

    Ridge regression of the preference, its penalty by generalised cross-validation. All 0 with only one conversation.
    """
    from sklearn.model_selection import GroupKFold

    groups, found = np.array([pair.conversation_key for pair in pairs]), np.zeros(len(pairs))
    folds = min(_FOLDS, len(set(groups)))
    if folds < 2:
        return found
    for fit, judged in GroupKFold(folds).split(groups, groups=groups):
        found[judged] = features[judged] @ linear_head(features[fit])
    return found


def linear_head(features: np.ndarray) -> np.ndarray:
    """A head (d,) fitted on differences (pairs, d), chosen less rejected, by ridge regression: `cross_fitted_head`."""
    from sklearn.linear_model import RidgeCV

    scale = np.sqrt((features**2).mean(0)) + 1e-9
    signs = np.where(np.arange(len(features)) % 2, -1.0, 1.0)  # a target that varies: a pair says the same either way
    head = RidgeCV(alphas=_PENALTIES * len(features) / 100, fit_intercept=False)
    head.fit(features / scale * signs[:, None], signs)
    return np.asarray(head.coef_ / scale)


def of_first_prompts(pairs: Sequence[Pair], most: int) -> list[Pair]:
    """At most so many of the pairs, those of one prompt together."""
    return sorted(pairs, key=lambda pair: pair.prompt_key)[:most]


def _conversations(pairs: Sequence[Pair]) -> list[str]:
    return [pair.conversation_key for pair in pairs]


def _preferred(x: np.ndarray, steps: int = 25) -> np.ndarray:
    """The probability of each preference by logistic regression on x (pairs, k) alone: (pairs,)."""
    b = np.zeros(x.shape[1])
    for _ in range(steps):
        p = 1 / (1 + np.exp(-np.clip(x @ b, -500, 500)))
        slope = x.T @ (1 - p) - _PRIOR * b
        curvature = (x * (p * (1 - p))[:, None]).T @ x + _PRIOR * np.eye(len(b))
        b = b + np.clip(np.linalg.solve(curvature, slope), -1, 1)
    return np.asarray(1 / (1 + np.exp(-np.clip(x @ b, -500, 500))))


def _scaled(differences: np.ndarray) -> np.ndarray:
    size = float(np.sqrt((differences**2).mean())) if len(differences) else 0.0
    return np.asarray(differences / size if size > 0 else differences, dtype=float)


def _told(who: str, found: Evidence) -> str:
    beyond = "it knows more than both" if found.passed else "so many pairs do not show that it knows more than both"
    return (
        f"On {found.n} pairs, {who} is right in {found.accuracy:.1%}, length alone in {found.length:.1%}, a bag of "
        f"words in {found.words:.1%}: {beyond}."
    )


def _remedy(trained: Evidence, head: Evidence) -> str:
    if head.statistic > _HOPELESS:
        more = head.n * ((head.needed / head.statistic) ** 2 - 1)
        return f"If further labels are like these, about {_rounded(more)} more judged pairs would show a difference."
    return (
        "More labels like these would not help: see whether annotators agree, whether the guidelines say what is "
        "better, and whether the two responses of a pair differ in it."
    )


def _rounded(number: float) -> int:
    """To one digit, so that no more is promised than is known."""
    size = 10 ** max(1, len(str(int(number))) - 1)
    return max(10, int(-(-number // size) * size))
