"""How sure a skill is where nobody knows the right answers: its interval, over all that the others' skills may be.

The one-coin model of `skill.py`, sampled: the right answers are drawn from everybody's skills, and the skills from the
right answers, in turn (Gibbs sampling; Kim and Ghahramani 2012, section 2). To take the others' skills for known would
promise too much wherever they are guessers or few answers are in. Nothing is taken from the pool here, so that whoever
differs from it is covered, too.
"""

import numpy as np
import numpy.typing as npt
from scipy.special import betaln, expit, logit

_Array = npt.NDArray[np.float64]
_Indices = npt.NDArray[np.intp]
_UNTIL_SETTLED, _KEPT, _APART = 600, 200, 5  # sweeps before the first draw that is kept, draws, sweeps between them
_ACCURACIES: _Array = (np.arange(400) + 0.5) / 400
_SURELY = 1e-6
_SEED = 0


def skill_intervals(
    who: _Indices, unit: _Indices, vote: _Array, size: _Array, known: _Array, accuracy: _Array
) -> tuple[_Array, _Array]:
    """The bounds of each annotator's 95% interval: (annotators,), twice.

    A choice is `who` made it, of which `unit`, its `vote` (1 for the first response, -1 for the second) and its `size`,
    what it counts: (choices,). `known` is 1 or -1 where the right answer is known, else 0: (units,). The sampling
    begins at `accuracy`: (annotators,).
    """
    made = np.asarray(np.bincount(who, size, minlength=len(accuracy)), dtype=np.float64)
    right = _draws_of_right(who, unit, vote, size, known, accuracy, made)
    bounds = [_bounds(*np.unique(own, return_counts=True), total) for own, total in zip(right.T, made, strict=True)]
    return np.array([low for low, _ in bounds]), np.array([high for _, high in bounds])


def _draws_of_right(
    who: _Indices, unit: _Indices, vote: _Array, size: _Array, known: _Array, accuracy: _Array, made: _Array
) -> _Array:
    """How much of what each annotator said is right, in draws from the posterior: (draws, annotators)."""
    generator, skill = np.random.default_rng(_SEED), np.clip(accuracy, _SURELY, 1 - _SURELY)
    kept = []
    for sweep in range(_UNTIL_SETTLED + _KEPT * _APART):
        odds = np.bincount(unit, logit(skill)[who] * vote, minlength=len(known))
        drawn = np.where(generator.random(len(known)) < expit(odds), 1.0, -1.0)
        truth = np.where(known == 0, drawn, known)
        right = np.bincount(who, size * (truth[unit] == vote), minlength=len(accuracy))
        skill = np.clip(generator.beta(1 + right, 1 + made - right), _SURELY, 1 - _SURELY)
        if sweep >= _UNTIL_SETTLED and (sweep - _UNTIL_SETTLED) % _APART == 0:
            kept.append(right)
    return np.array(kept)


def _bounds(right: _Array, times: npt.NDArray[np.intp], made: float) -> tuple[float, float]:
    """Of a mixture of posteriors, one for each number of right answers, which came up so many `times`.

    With the priors 1 / s and 1 / (1 - s), the bounds are Clopper and Pearson's where the number is certain.
    """
    wrong = np.maximum(made - right, 0.0)
    logs = right[:, None] * np.log(_ACCURACIES) + wrong[:, None] * np.log(1 - _ACCURACIES)
    density = times @ np.exp(logs - betaln(1 + right, 1 + wrong)[:, None])
    low, high = np.cumsum(density / _ACCURACIES), np.cumsum(density / (1 - _ACCURACIES))
    return (
        float(_ACCURACIES[np.searchsorted(low, 0.025 * low[-1])]),
        float(_ACCURACIES[np.searchsorted(high, 0.975 * high[-1])]),
    )
