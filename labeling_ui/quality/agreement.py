"""How far annotators agree beyond chance: Krippendorff's alpha of all, Cohen's kappa of two.

Works on plain data, `{unit: {annotator: category}}`; a unit is a tuple that begins with its task. What a category
is, a winner by its id and never by its side, is decided in `assessment.py`. evalica and statsmodels have the same
measures, and the tests hold these against theirs: with pandas, they take seconds to load.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt

from foundation.intervals import mean_variance, share_interval
from labeling_ui.assignment.answer_comparison import Category, Unit

Said = Mapping[Unit, Mapping[str, Category]]
Level = Literal["nominal", "ordinal"]
_Matrix = npt.NDArray[np.float64]
_FEWEST_SHARED = 10


@dataclass(frozen=True, slots=True)
class Agreement:
    """Krippendorff's alpha over the units that two annotators or more judged.

    1 is perfect agreement, 0 what chance gives, below 0 is worse than chance. `alpha` is None if no unit was
    judged twice or everybody always gave the same answer; then there is nothing to measure. `low` and `high` bound its
    95% interval. `judgements` counts the answers in these units; what somebody says of several units of a task is one.
    """

    alpha: float | None
    low: float | None
    high: float | None
    tasks: int
    judgements: int


@dataclass(frozen=True, slots=True)
class Kappa:
    """Cohen's kappa of two annotators (by id) over `tasks` shared units."""

    first: str
    second: str
    kappa: float
    tasks: int


def krippendorff(said: Said, level: Level = "nominal", confidence: float = 0.95) -> Agreement:
    """Alpha of `said` (Krippendorff 2018, chapter 12); ordinal categories are numbers in their order.

    The interval is the exact one of the observed disagreement, on as many cases as the tasks are worth, over the
    disagreement by chance. Krippendorff's own bootstrap (2006), which evalica offers, draws pairs of answers as if they
    were independent, and a bootstrap over tasks covers too little on few.
    """
    shared = {unit: list(said[unit].values()) for unit in sorted(said) if len(said[unit]) > 1}
    tasks = len({unit[0] for unit in shared})
    judgements = len({(unit[0], annotator) for unit in shared for annotator in said[unit]})
    categories = sorted({category for given in shared.values() for category in given})
    if len(categories) < 2:
        return Agreement(None, None, None, tasks, judgements)
    codes = {category: code for code, category in enumerate(categories)}
    return Agreement(*_alpha(shared, codes, level, confidence), tasks, judgements)


def _alpha(
    shared: Mapping[Unit, list[Category]], codes: Mapping[Category, int], level: Level, confidence: float
) -> tuple[float, float, float]:
    """Alpha and its interval."""
    size = len(codes)
    by_task: dict[str, _Matrix] = defaultdict(lambda: np.zeros((size, size)))
    for unit, given in shared.items():
        counts = np.bincount([codes[category] for category in given], minlength=size)
        by_task[unit[0]] += (np.outer(counts, counts) - np.diag(counts)) / (len(given) - 1)
    coincidences = np.stack(list(by_task.values()))
    tasks, answers = len(coincidences), sum(len(given) for given in shared.values())
    totals = coincidences.sum(axis=(0, 1))
    n, distance = totals.sum(), _distance(totals, level)
    expected = float(totals @ distance @ totals / (n * (n - 1)))
    # Of each task's answers: how many, how far from one another, and how far from everybody's.
    of_task = coincidences.sum(axis=2)
    weight, from_all = of_task.sum(axis=1), of_task @ distance @ totals / n
    apart = (coincidences * distance).sum(axis=(1, 2))
    observed = float(apart.sum() / n)
    residuals = apart - weight * observed - 2 * observed / expected * (from_all - weight * from_all.sum() / n)
    share = observed / float(distance.max())
    variance = mean_variance(residuals * tasks / n / float(distance.max()), range(tasks))
    # An answer beyond a unit's first is one case at most, and a task is two; where nothing varies, it is one.
    worth = share * (1 - share) / variance * tasks / (tasks - 1) if variance > 0 else float(tasks)
    worth = min(worth, answers - len(shared), 2 * tasks)
    low, high = share_interval(share * worth, worth, confidence)
    scale, alpha = float(distance.max()) / expected, 1 - observed / expected
    return alpha, min(max(-1.0, 1 - high * scale), alpha), max(1 - low * scale, alpha)


def _distance(totals: _Matrix, level: Level) -> _Matrix:
    ranks = np.cumsum(totals) - totals / 2
    return 1 - np.eye(len(totals)) if level == "nominal" else (ranks[:, None] - ranks[None, :]) ** 2


def kappas(said: Said, fewest: int = _FEWEST_SHARED) -> list[Kappa]:
    """Cohen's kappa (1960) of each two annotators who share `fewest` units, unless both gave one answer to all."""
    tables: dict[tuple[str, str], list[tuple[Category, Category]]] = defaultdict(list)
    for given in said.values():
        for first, second in combinations(sorted(given), 2):
            tables[first, second].append((given[first], given[second]))
    return [
        _kappa(first, second, pairs)
        for (first, second), pairs in sorted(tables.items())
        if len(pairs) >= fewest and len({category for pair in pairs for category in pair}) > 1
    ]


def _kappa(first: str, second: str, pairs: list[tuple[Category, Category]]) -> Kappa:
    categories = sorted({category for pair in pairs for category in pair})
    table = np.zeros((len(categories), len(categories)))
    for one, other in pairs:
        table[categories.index(one), categories.index(other)] += 1
    share = table / len(pairs)
    by_chance = float(share.sum(axis=1) @ share.sum(axis=0))
    return Kappa(first, second, (float(share.trace()) - by_chance) / (1 - by_chance), len(pairs))
