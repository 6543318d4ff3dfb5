"""Which pairs of responses to ask about next: acquisition functions over a head's posterior.

Every chooser gives each pair a number, the larger the more worth asking; `take` then takes the first of them without
asking the same twice. They are held against choosing at random in `benchmarks/label_choice.py`.
"""

from collections.abc import Callable, Mapping

import numpy as np
from scipy.special import expit

from reward_model.acquisition.linear_head import LinearHead

_DRAWS = 64
_ALIKE = 0.95  # pairs whose feature differences have a cosine beyond this ask the same
_AHEAD = 4  # so many times the pairs that are wanted are looked at, the most worth asking first
_CHUNK = 8192

Worth = Callable[[LinearHead, np.ndarray, np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
"""Of a head; features (n, d) and prompts (n,) of responses; pairs (m, 2) of their places; random numbers: (m,)."""


def farthest(
    head: LinearHead, features: np.ndarray, prompts: np.ndarray, pairs: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """The largest difference that scores may well have: |mean| plus a deviation (DeltaUCB, ActiveUltraFeedback 2026).

    What people see to be different teaches more than what nobody can tell apart.
    """
    del prompts, random
    scores = head.scores(features)
    return np.asarray(np.abs(scores[pairs[:, 0]] - scores[pairs[:, 1]]) + deviations(head, features, pairs))


def best_and_worst(
    head: LinearHead, features: np.ndarray, prompts: np.ndarray, pairs: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """How likely one is the prompt's best by a head that is drawn from the posterior, and the other its worst by
    another: double reversed Thompson sampling (ActiveUltraFeedback 2026).
    """
    best, worst = _extremes(head, features, prompts, random)
    one, other = pairs[:, 0], pairs[:, 1]
    return np.asarray(best[one] * worst[other] + best[other] * worst[one])


def thompson(
    head: LinearHead, features: np.ndarray, prompts: np.ndarray, pairs: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """How likely the two are the prompt's best by two heads that are drawn from the posterior: which of them is?

    Double Thompson sampling (Wu and Liu 2016, "Double Thompson sampling for dueling bandits"; with heads,
    Dwaracherla et al. 2024, "Efficient exploration for LLMs").
    """
    best, _ = _extremes(head, features, prompts, random)
    return np.asarray(2 * best[pairs[:, 0]] * best[pairs[:, 1]])


def variance(
    head: LinearHead, features: np.ndarray, prompts: np.ndarray, pairs: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """How unsure the difference of scores is: its posterior deviation."""
    del prompts, random
    return deviations(head, features, pairs)


def d_optimal(
    head: LinearHead, features: np.ndarray, prompts: np.ndarray, pairs: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """By how much an answer shrinks the posterior's volume: log(1 + p (1 - p) variance) / 2, in nats.

    The gain of D-optimal design (Das et al. 2024, "Active preference optimization for sample efficient RLHF").
    """
    del prompts, random
    scores = head.scores(features)
    p = expit(scores[pairs[:, 0]] - scores[pairs[:, 1]])
    return np.asarray(np.log1p(p * (1 - p) * deviations(head, features, pairs) ** 2) / 2)


CHOOSERS: Mapping[str, Worth] = {
    "farthest": farthest, "best_and_worst": best_and_worst, "thompson": thompson, "variance": variance,
    "d_optimal": d_optimal,
}  # fmt: skip


def take(features: np.ndarray, pairs: np.ndarray, worth: np.ndarray, number: int) -> np.ndarray:
    """The places of `number` pairs (m, 2), the most worth asking first, none alike to one before it: (number,).

    Where too few are unlike, the best of the others fill the number.
    """
    order = np.argsort(-worth, kind="stable")
    looked = order[: _AHEAD * number]
    x = features[pairs[looked, 0]] - features[pairs[looked, 1]]
    x = x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-12)
    taken: list[int] = []
    for place in range(len(looked)):
        if len(taken) == number:
            break
        if not taken or np.abs(x[taken] @ x[place]).max() < _ALIKE:
            taken.append(place)
    chosen = looked[taken]
    left = order[~np.isin(order, chosen)][: number - len(chosen)]
    return np.concatenate([chosen, left])


def deviations(head: LinearHead, features: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Posterior deviation of each pair's difference: (m,)."""
    parts = [pairs[start : start + _CHUNK] for start in range(0, len(pairs), _CHUNK)]
    found = [head.deviations(features[part[:, 0]] - features[part[:, 1]]) for part in parts]
    return np.concatenate(found) if found else np.zeros(0)


def _extremes(
    head: LinearHead, features: np.ndarray, prompts: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """How often each response is the best, and the worst, of its prompt by drawn heads: (n,) each, from 0 to 1.

    Those that share the highest score share it: what no head tells apart is not surely the best.
    """
    drawn = head.draws(features, _DRAWS, random)
    order = np.argsort(prompts, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(prompts[order]) != 0])
    group = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(order)]))
    sides = []
    for signed in (drawn, -drawn):
        top = np.maximum.reduceat(signed[:, order], starts, axis=1)
        first = (signed[:, order] >= top[:, group]).astype(np.float32)
        share = np.empty(len(order))
        share[order] = (first / np.add.reduceat(first, starts, axis=1)[:, group]).mean(0)
        sides.append(share)
    return sides[0], sides[1]
