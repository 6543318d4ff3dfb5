"""Whom a reward model agrees with: each annotator, beside the other annotators, and by the side that was chosen.

Reads of each row its `annotators` (ids), its `votes` (1 for the chosen response, 0 for the rejected one, 0.5 for a tie)
and `chosen_left` (for each vote, whether the chosen response was shown on the left; null if unknown). The model itself
is blind to sides: whether the annotators were not shows in whom it agrees with.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foundation.errors import UserError
from reward_model.evaluation.accuracy import share
from reward_model.labels.records import Row

Found = dict[str, Any]


def agreement(rows: Sequence[Row], right: np.ndarray, conversations: Sequence[str]) -> Found:
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
            **share(agreed, [conversations[row] for row, *_ in given], "agreement"), **_ceiling(shared)
        }  # fmt: skip
    return {**_ceiling(every), "annotators": by_annotator} if by_annotator else {}


def position_bias(rows: Sequence[Row], right: np.ndarray, conversations: Sequence[str]) -> Found:
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
        side: share(np.array([agreed for _, agreed in given]), [conversations[row] for row, _ in given], "agreement")
        for side, given in sides.items()
    }
    return {"position": {**found, "difference": found["right"]["agreement"] - found["left"]["agreement"]}}


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
