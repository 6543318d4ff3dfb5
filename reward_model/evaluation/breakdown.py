"""Where a reward model is right: the accuracy on pairs, taken apart.

Reads what rows say besides the two responses, and leaves out what they do not say:

    subset, source or origin   the kind of pair
    votes                      what each annotator said: `annotator_agreement.py`
    round                      the round of the loop that the responses are from
"""

from collections import defaultdict
from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
from scipy.special import stdtr

from foundation.intervals import mean_variance
from reward_model.evaluation.accuracy import credit, share
from reward_model.evaluation.annotator_agreement import agreement, position_bias
from reward_model.evaluation.baselines import longer_wins
from reward_model.labels.records import Pair, Row

SUBSET_FIELDS = ("subset", "source", "origin")

Found = dict[str, Any]


def breakdown(rows: Sequence[Row], pairs: Sequence[Pair], differences: np.ndarray) -> Found:
    """Every part below for which the rows say enough; `differences` (pairs,) are scores of chosen less rejected."""
    conversations, right = [pair.conversation_key for pair in pairs], credit(differences)
    found: Found = {}
    field = next((name for name in SUBSET_FIELDS if any(name in row for row in rows)), None)
    if field:
        found["subsets"] = by_value([_value(row, field) for row in rows], right, conversations)
    if any("round" in row for row in rows):
        found |= drift([row.get("round") for row in rows], right, conversations)
    if any(row.get("votes") for row in rows):
        found |= agreement(rows, right, conversations)
        found |= position_bias(rows, right, conversations)
    return found


def by_value(values: Sequence[str], right: np.ndarray, conversations: Sequence[str]) -> dict[str, dict[str, float]]:
    """The accuracy on the pairs of each value, the most frequent value first."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, value in enumerate(values):
        rows_of[value].append(row)
    ranked = sorted(rows_of.items(), key=lambda item: -len(item[1]))
    return {value: share(right[rows], [conversations[row] for row in rows]) for value, rows in ranked}


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


def drift(rounds: Sequence[Any], right: np.ndarray, conversations: Sequence[str]) -> Found:
    """`rounds`: the accuracy on the responses of each round; `drift`: that of the last round less that of all before.

    The policy moves away from what the reward model was trained on (Gao et al. 2022). `drift` has its `difference` and
    `p_value` (two-sided, that there is none), if there are two rounds or more. Two conversations are added to either
    part, one all right and one all wrong, and Student's law is that of the part with fewer (Agresti and Caffo 2000,
    "Simple and effective confidence intervals for proportions and differences of proportions"): a round of a few
    prompts, all right, say, has no variance to go by.
    """
    known = [row for row, value in enumerate(rounds) if isinstance(value, int)]
    numbers = sorted({rounds[row] for row in known})
    found: Found = {"rounds": {}}
    for number in numbers:
        at = [row for row in known if rounds[row] == number]
        found["rounds"][str(number)] = share(right[at], [conversations[row] for row in at])
    if len(numbers) > 1:
        parts = [[row for row in known if (rounds[row] == numbers[-1]) == last] for last in (True, False)]
        now, before = ((right[part], [conversations[row] for row in part]) for part in parts)
        added = [_with_both_ways(*part) for part in (now, before)]
        apart = added[0][0].mean() - added[1][0].mean()
        error = sqrt(sum(mean_variance(*part) for part in added))
        freedom = min(len(set(of_part)) for _, of_part in added) - 1
        found["drift"] = {
            "difference": float(now[0].mean() - before[0].mean()),
            "p_value": float(2 * stdtr(freedom, -abs(apart) / error)),
        }
    return found if numbers else {}


def _with_both_ways(right: np.ndarray, conversations: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """And two conversations of the usual number of pairs, one all right and one all wrong."""
    size = max(1, round(len(right) / len(set(conversations))))
    return np.append(right, np.repeat([1.0, 0.0], size)), [*conversations, *["all right"] * size, *["all wrong"] * size]


def _value(row: Row, field: str) -> str:
    value = row.get(field)
    return value if isinstance(value, str) and value else "none"
