"""The one-coin model: crowd-kit's, on every kind of crowd."""

import random
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd  # type: ignore[import-untyped]
import pytest
from crowdkit.aggregation import OneCoinDawidSkene

from labeling_ui.quality.one_coin import better_response

Numbers = npt.NDArray[np.intp]
First = npt.NDArray[np.bool_]


def peer(unit: Numbers, annotator: Numbers, first: First) -> list[float]:
    """What crowd-kit finds of the choices, and of the mirror image of each: so neither response is the better one."""
    told = [*zip(unit, annotator, first.astype(int), strict=True)]
    told += [(-1 - one, who, 1 - said) for one, who, said in told]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its own use of pandas
        model = OneCoinDawidSkene(n_iter=100).fit(pd.DataFrame(told, columns=["task", "worker", "label"]))
    probabilities: Any = model.probas_
    return [float(probabilities[1][number]) for number in range(unit.max() + 1)]


def choices(seed: int, accuracies: list[float], units: int, each: int) -> tuple[Numbers, Numbers, First]:
    """`each` annotators, drawn anew, choose in each unit, right with a probability of their own."""
    draw = random.Random(seed)
    rows = []
    for number in range(units):
        truth = draw.random() < 0.5
        for who in sorted(draw.sample(range(len(accuracies)), each)):
            rows.append((number, who, truth == (draw.random() < accuracies[who])))
    unit, annotator, first = (np.array(column) for column in zip(*rows, strict=True))
    return unit, np.unique(annotator, return_inverse=True)[1], first


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("accuracies", "units", "each"),
    [
        ([0.9, 0.8, 0.7, 0.6, 0.95, 0.75], 80, 3),
        ([0.95, 0.55, 0.5, 0.1], 60, 4),  # a guesser and a liar among them
        ([0.8, 0.6], 40, 2),  # a pair, which cannot be told apart
        ([1.0, 1.0, 1.0], 30, 3),  # perfect agreement
        ([0.7] * 12, 15, 2),  # hardly any overlap
        ([0.8] * 5, 1, 3),
    ],
)
def test_it_is_crowd_kits_model(seed: int, accuracies: list[float], units: int, each: int) -> None:
    given = choices(seed, accuracies, units, each)
    assert better_response(*given) == pytest.approx(peer(*given), abs=1e-9)


def test_a_unit_counts_every_choice_of_one_annotator() -> None:
    unit, who = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 0, 1])
    first = np.array([True, True, False, True, True])
    assert better_response(unit, who, first) == pytest.approx(peer(unit, who, first), abs=1e-9)


def test_a_majority_is_believed_more_in_every_round() -> None:
    # Three on one unit, two of them for the first. At first 2/3: accuracies 2/3, 2/3 and 1/3, whose odds are 2, 2 and
    # 1/2. The majority is believed at odds of 2 * 2 * 2; from there on it is believed more and more.
    found = better_response(np.zeros(3, int), np.arange(3), np.array([True, True, False]))
    assert found[0] > 8 / 9
