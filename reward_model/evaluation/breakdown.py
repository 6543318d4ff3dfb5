"""Where a reward model is right, and whom it agrees with: the accuracy on pairs, taken apart.

Reads what rows say besides the two responses, and leaves out what they do not say:

    subset, source or origin   the kind of pair
    annotators, votes          ids; what each said: 1 for the chosen response, 0 for the rejected one, 0.5 for a tie
    chosen_left                for each vote, whether the chosen response was shown on the left; null where not known
    round                      the round of the loop that the responses are from

The model itself is blind to sides: whether the annotators were not shows in whom it agrees with.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import erfc, sqrt
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from foundation.errors import UserError
from reward_model.evaluation.accuracy import credit, mean_interval, mean_variance, share
from reward_model.evaluation.baselines import longer_wins
from reward_model.labels.data import Pair, Row

SUBSET_FIELDS = ("subset", "source", "origin")
Found = dict[str, Any]


def breakdown(rows: Sequence[Row], pairs: Sequence[Pair], differences: np.ndarray) -> Found:
    """Every part below for which the rows say enough; `differences` (pairs,) are scores of chosen less rejected."""
    prompts, right = [pair.prompt_key for pair in pairs], credit(differences)
    found: Found = {}
    field = next((name for name in SUBSET_FIELDS if any(name in row for row in rows)), None)
    if field:
        found["subsets"] = by_value([_value(row, field) for row in rows], right, prompts)
    if any("round" in row for row in rows):
        found |= drift([row.get("round") for row in rows], right, prompts)
    if any(row.get("votes") for row in rows):
        found |= agreement(rows, right, prompts)
        found |= position_bias(rows, right, prompts)
    return found


def by_value(values: Sequence[str], right: np.ndarray, prompts: Sequence[str]) -> dict[str, dict[str, float]]:
    """The accuracy on the pairs of each value, the most frequent value first."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, value in enumerate(values):
        rows_of[value].append(row)
    ranked = sorted(rows_of.items(), key=lambda item: -len(item[1]))
    return {value: share(right[rows], [prompts[row] for row in rows]) for value, rows in ranked}


def length_bias(pairs: Sequence[Pair], differences: np.ndarray) -> dict[str, float | None]:
    """What length does to the model, over the pairs that differ in their number of words.

    `length_controlled_accuracy`: the mean of the accuracy where the longer response is preferred and where the
    shorter one is, so that preferring by length alone gets 0.5 whatever people like; None where either is missing.
    `prefers_longer`: share of pairs in which the model does. `length_bias`: that, less the share in which people do.
    """
    longer, right = longer_wins(pairs), credit(differences)
    sides = [right[longer > 0], right[longer < 0]]
    both = all(len(side) for side in sides)
    unequal = longer != 0
    prefers = float(credit(differences * np.sign(longer))[unequal].mean()) if unequal.any() else None
    return {
        "length_controlled_accuracy": float(np.mean([side.mean() for side in sides])) if both else None,
        "prefers_longer": prefers,
        "length_bias": None if prefers is None else prefers - float((longer > 0)[unequal].mean()),
    }


def agreement(rows: Sequence[Row], right: np.ndarray, prompts: Sequence[str]) -> Found:
    """How often the model says what each annotator says, beside how often the other annotators do.

    By annotator: `agreement` with the model and its interval over `n` votes that are no ties, and over the
    `shared` of them that others voted on as well, `model_agreement` and `human_ceiling`: the mean agreement of those
    others with this annotator. A tie of the model or of another annotator is one half. On top, `model_agreement` and
    `human_ceiling` over all shared votes: no model of the majority can be expected to be far above the latter.
    """
    votes: dict[str, list[tuple[int, float, float, list[float]]]] = defaultdict(list)
    for number, row in enumerate(rows):
        said = _votes(row, number)
        for place, (annotator, vote) in enumerate(said):
            if vote != 0.5:
                others = [1 - abs(vote - other) for at, (_, other) in enumerate(said) if at != place]
                votes[annotator].append((number, 1 - abs(vote - right[number]), vote, others))
    by_annotator: dict[str, Found] = {}
    every: list[tuple[float, float]] = []
    for annotator, given in sorted(votes.items()):
        agreed = np.array([model for _, model, _, _ in given])
        shared = [(model, float(np.mean(others))) for _, model, _, others in given if others]
        every += shared
        by_annotator[annotator] = {
            **share(agreed, [prompts[row] for row, *_ in given], "agreement"), **_ceiling(shared)
        }  # fmt: skip
    return {**_ceiling(every), "annotators": by_annotator} if by_annotator else {}


def position_bias(rows: Sequence[Row], right: np.ndarray, prompts: Sequence[str]) -> Found:
    """`position`: agreement of the model with votes for the `left` and the `right` response, and their `difference`.

    The model does not know where responses were shown. Where annotators lean to the left, votes for the right had
    to overcome it, and the model agrees with them more often: `difference` (right less left) is then above 0.
    """
    sides: dict[str, list[tuple[int, float]]] = {"left": [], "right": []}
    for number, row in enumerate(rows):
        for (_, vote), left in zip(_votes(row, number), row.get("chosen_left") or (), strict=False):
            if vote != 0.5 and left is not None:
                sides["left" if bool(left) == (vote > 0.5) else "right"].append((number, 1 - abs(vote - right[number])))
    if not all(sides.values()):
        return {}
    found: Found = {
        side: share(np.array([agreed for _, agreed in given]), [prompts[row] for row, _ in given], "agreement")
        for side, given in sides.items()
    }
    return {"position": {**found, "difference": found["right"]["agreement"] - found["left"]["agreement"]}}


def drift(rounds: Sequence[Any], right: np.ndarray, prompts: Sequence[str]) -> Found:
    """`rounds`: the accuracy on the responses of each round; `drift`: that of the last round less that of all before.

    The policy moves away from what the reward model was trained on (Gao et al. 2022). `drift` has its `difference` and
    `p_value` (two-sided, that there is none, by the normal law over prompts), where there are two rounds or more.
    """
    known = [row for row, value in enumerate(rounds) if isinstance(value, int)]
    numbers = sorted({rounds[row] for row in known})
    found: Found = {"rounds": {}}
    for number in numbers:
        at = [row for row in known if rounds[row] == number]
        found["rounds"][str(number)] = share(right[at], [prompts[row] for row in at])
    if len(numbers) > 1:
        parts = [[row for row in known if (rounds[row] == numbers[-1]) == last] for last in (True, False)]
        now, before = ((right[part], [prompts[row] for row in part]) for part in parts)
        difference = float(now[0].mean() - before[0].mean())
        error = sqrt(mean_variance(*now) + mean_variance(*before))
        p_value = erfc(abs(difference) / error / sqrt(2)) if error > 0 else None
        found["drift"] = {"difference": difference, "p_value": p_value}
    return found if numbers else {}


def against(new: np.ndarray, old: np.ndarray, prompts: Sequence[str]) -> dict[str, float]:
    """A reward model beside an older one on the same pairs, from both models' differences (pairs,).

    `accuracy` of the older one; `gain`, the accuracy of the new one less that, with a 95% interval over pairs judged by
    both; `same_preference`, share of pairs; `rank_correlation` (Spearman) of the differences; `scale`, ratio of their
    root mean squares, new over old: far from 1, the same KL coefficient weighs differently.
    """
    gained = credit(new) - credit(old)
    low, high = mean_interval(gained, prompts)
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


def _votes(row: Row, number: int) -> list[tuple[str, float]]:
    """Who said what of a pair; a row without `votes` says nothing."""
    annotators, votes = row.get("annotators") or [], row.get("votes")
    if votes is None:
        return []
    if not isinstance(votes, list) or len(votes) != len(annotators) or any(vote not in (0, 0.5, 1) for vote in votes):
        raise UserError(
            f'preference {number + 1}: "votes" must hold 1, 0 or 0.5 for each of its "annotators". '
            "Export the labels again (`rlhf labels export`), or remove the field."
        )
    return [(str(annotator), float(vote)) for annotator, vote in zip(annotators, votes, strict=True)]


def _ceiling(shared: Sequence[tuple[float, float]]) -> Mapping[str, float | None]:
    model, others = np.array(shared).reshape(-1, 2).T
    return {
        "shared": len(shared),
        "model_agreement": float(model.mean()) if shared else None,
        "human_ceiling": float(others.mean()) if shared else None,
    }


def _value(row: Row, field: str) -> str:
    value = row.get(field)
    return value if isinstance(value, str) and value else "none"
