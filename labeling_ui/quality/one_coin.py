"""The one-coin model of Dawid and Skene (1979): what answers agree on where each annotator has a skill.

Expectation and maximisation in turn, as in Zhang et al. 2016 (arXiv:1406.3824, section 2), for two responses of which
neither is the better one beforehand. crowd-kit's model gives the same, which a test holds this against; it takes two
seconds to load. Left out on purpose: what an annotator's skill is, which is measured by the others alone (`skill.py`).
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import entr, expit, logit

_Array = npt.NDArray[np.float64]
_SURE = 1e-10
"""Nobody is right, or wrong, more often than all but this."""
_ROUNDS, _GAIN = 100, 1e-5


def better_response(
    unit: npt.NDArray[np.intp], annotator: npt.NDArray[np.intp], first: npt.NDArray[np.bool_]
) -> _Array:
    """The probability that the first response is the better one, by unit: (units,).

    Each choice is of a unit and by an annotator, both numbered from 0, for the first response or against it; all:
    (choices,). It ends when the bound on the log-likelihood grows by less than 1e-5 nats a choice, or after 100 rounds.
    """
    given, side = np.bincount(annotator), np.where(first, 1.0, -1.0)
    better: _Array = np.bincount(unit, first) / np.bincount(unit)
    right = _right(better, unit, first)
    accuracy, bound = _accuracy(right, annotator, given), -np.inf
    for _ in range(_ROUNDS):
        better = expit(np.bincount(unit, side * logit(accuracy)[annotator]))
        right = _right(better, unit, first)
        accuracy = _accuracy(right, annotator, given)
        said = right * np.log(accuracy)[annotator] + (1 - right) * np.log1p(-accuracy)[annotator]
        reached = float(said.sum() + (entr(better) + entr(1 - better)).sum()) / len(unit)
        if reached - bound < _GAIN:
            break
        bound = reached
    return better


def _right(better: _Array, unit: npt.NDArray[np.intp], first: npt.NDArray[np.bool_]) -> _Array:
    """The probability that each choice is right: (choices,)."""
    return np.where(first, better[unit], 1 - better[unit])


def _accuracy(right: _Array, annotator: npt.NDArray[np.intp], given: npt.NDArray[Any]) -> _Array:
    """How often each annotator is right: (annotators,)."""
    accuracy: _Array = np.bincount(annotator, right) / given
    return accuracy.clip(_SURE, 1 - _SURE)
