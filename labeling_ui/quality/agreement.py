"""How far annotators agree beyond chance: Krippendorff's alpha of all, Cohen's kappa of two.

Works on plain data, `{unit: {annotator: category}}`; a unit is a tuple that begins with its task. What a category
is, a winner by its id and never by its side, is decided in `assessment.py`.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, zip_longest
from typing import Any, Literal

import evalica
import numpy as np
import numpy.typing as npt
import pandas as pd  # type: ignore[import-untyped]
from scipy.stats import norm
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint

Unit = tuple[str, ...]
Category = str | int
Said = Mapping[Unit, Mapping[str, Category]]
Level = Literal["nominal", "ordinal"]
_Matrix = npt.NDArray[np.float64]
_RESAMPLES = 1000
_FEWEST_SHARED = 10


@dataclass(frozen=True, slots=True)
class Agreement:
    """Krippendorff's alpha over the units that two annotators or more judged.

    1 is perfect agreement, 0 what chance gives, below 0 is worse than chance. `alpha` is None if no unit was
    judged twice or everybody always gave the same answer; then there is nothing to measure. `low` and `high` bound the
    95% interval of a bootstrap over tasks. `judgements` counts the answers in these units.
    """

    alpha: float | None
    low: float | None
    high: float | None
    tasks: int
    judgements: int


@dataclass(frozen=True, slots=True)
class Kappa:
    """Cohen's kappa of two annotators (by id) over `tasks` shared units, with its asymptotic 95% interval."""

    first: str
    second: str
    kappa: float
    low: float
    high: float
    tasks: int


def krippendorff(said: Said, level: Level = "nominal") -> Agreement:
    """Alpha of `said` (Krippendorff 2018, chapter 12); ordinal categories are numbers in their order.

    The interval resamples whole tasks. Krippendorff's own bootstrap (2006), which evalica offers, draws pairs of
    answers as if they were independent: with 20 answers a task its interval is about six times too narrow.
    """
    shared = {unit: list(said[unit].values()) for unit in sorted(said) if len(said[unit]) > 1}
    tasks = len({unit[0] for unit in shared})
    judgements = sum(len(given) for given in shared.values())
    categories = sorted({category for given in shared.values() for category in given})
    if len(categories) < 2:
        return Agreement(None, None, None, tasks, judgements)
    # Alpha does not ask who said what: answers are packed to the left, which keeps the table as narrow as the overlap.
    codes = {category: code for code, category in enumerate(categories)}
    rows = [[codes[category] for category in given] for given in shared.values()]
    table = pd.DataFrame(zip_longest(*rows), dtype=float)
    alpha = float(evalica.alpha(table, level).alpha)
    low, high = _interval(shared, codes, level)
    return Agreement(alpha, min(low, alpha), max(high, alpha), tasks, judgements)


def _interval(
    shared: Mapping[Unit, list[Category]], codes: Mapping[Category, int], level: Level
) -> tuple[float, float]:
    size = len(codes)
    by_task: dict[str, _Matrix] = defaultdict(lambda: np.zeros((size, size)))
    for unit, given in shared.items():
        counts = np.bincount([codes[category] for category in given], minlength=size)
        by_task[unit[0]] += (np.outer(counts, counts) - np.diag(counts)) / (len(given) - 1)
    coincidences = np.stack(list(by_task.values()))
    tasks, whole = len(coincidences), coincidences.sum(axis=0)
    if np.trace(whole) == whole.sum():
        # A bootstrap of agreement without exception knows of no exception: bound their share instead.
        exceptions = proportion_confint(0, tasks, method="wilson")[1]
        return 1 - float(exceptions) / _expected(whole), 1.0
    generator, flat = np.random.default_rng(0), coincidences.reshape(tasks, -1)
    draws = []
    for _ in range(_RESAMPLES):
        times = np.bincount(generator.integers(tasks, size=tasks), minlength=tasks)
        drawn = _alpha((times @ flat).reshape(size, size), level)
        if drawn is not None:
            draws.append(drawn)
    low, high = np.quantile(draws, (0.025, 0.975)) if draws else (-1.0, 1.0)
    return float(low), float(high)


def _expected(coincidences: _Matrix) -> float:
    """Share of pairs of answers that differ if answers are shuffled over all units."""
    totals = coincidences.sum(axis=1)
    n = totals.sum()
    return float(1 - (totals * (totals - 1)).sum() / (n * (n - 1)))


def _alpha(coincidences: _Matrix, level: Level) -> float | None:
    """1 − observed / expected disagreement of a matrix of coincidences (categories, categories)."""
    totals = coincidences.sum(axis=1)
    ranks = np.cumsum(totals) - totals / 2
    distance = 1 - np.eye(len(totals)) if level == "nominal" else (ranks[:, None] - ranks[None, :]) ** 2
    expected = float((np.outer(totals, totals) * distance).sum()) / (totals.sum() - 1)
    return 1 - float((coincidences * distance).sum()) / expected if expected > 0 else None


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
    found: Any = cohens_kappa(table)
    kappa, spread = float(found.kappa), float(norm.ppf(0.975)) * float(found.std_kappa)
    return Kappa(first, second, kappa, max(-1.0, kappa - spread), min(1.0, kappa + spread), len(pairs))
