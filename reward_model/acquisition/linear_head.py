"""A linear reward on kept features, refitted in closed form while people answer; NumPy alone.

Features are the frozen base's states, which do not change while labels come in: what is fitted to thousands of answers
takes less than a second, and says how sure it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.special import expit, log_expit

_PRIORS = tuple(10.0 ** np.arange(-1.0, 4.5, 0.75))  # precisions of the weights, of features with a mean square of one
_FEWEST = 4  # comparisons; with fewer, nothing is known but the prior
_STEPS, _STILL = 30, 1e-2  # of Newton's method: it ends when no score moves by more


@dataclass(frozen=True)
class LinearHead:
    """Scores x @ w of features x (n, d), with a Gaussian posterior over w: Bradley and Terry 1952, Laplace's method.

    The posterior is kept in the space that comparisons have looked into: `basis` (d, r), and there the inverse of its
    lower Cholesky factor, `spread` (r, r). In every other direction it is the prior, of this `precision`. `weights`
    (d,), `basis` and `precision` are of features over their `scale` (d,).
    """

    scale: np.ndarray
    weights: np.ndarray
    basis: np.ndarray
    spread: np.ndarray
    precision: float
    n: int = 0

    @classmethod
    def prior(cls, features: np.ndarray) -> Self:
        """What is known of these features (n, d) before anybody has answered: every score is zero, give or take one."""
        scale = _scale(features)
        d = features.shape[1]
        return cls(scale, np.zeros(d), np.zeros((d, 0)), np.zeros((0, 0)), float(d))

    @classmethod
    def fit(cls, features: np.ndarray, differences: np.ndarray, p: np.ndarray, weights: np.ndarray) -> Self:
        """After comparisons with feature `differences` (m, d): a share `p` (m,) of those asked preferred the first.

        `weights` (m,) say for how many answers each counts. `features` (n, d) are of all responses, answered or not.
        The prior's precision is the one of the largest marginal likelihood (MacKay 1992, "The evidence framework
        applied to classification networks").
        """
        before = cls.prior(features)
        if len(differences) < _FEWEST:
            return before
        left, sizes, right = np.linalg.svd(differences / before.scale, full_matrices=False)
        inside = sizes > 1e-6 * max(float(sizes[0]), 1e-12)
        z, basis = left[:, inside] * sizes[inside], right[inside].T
        best, a = None, np.zeros(z.shape[1])
        for precision in sorted((each * z.shape[0] / 100 for each in _PRIORS), reverse=True):
            a, factor, evidence = _posterior(z, p, weights, precision, a)
            if best is None or evidence > best[0]:
                best = (evidence, precision, a, factor)
            elif evidence < best[0] - 3:
                break
        assert best is not None
        _, precision, a, factor = best
        spread = solve_triangular(factor, np.eye(len(a)), lower=True)
        return cls(before.scale, basis @ a, basis, spread, float(precision), len(differences))

    def scores(self, features: np.ndarray) -> np.ndarray:
        """(n,) of features, or of their differences, (n, d)."""
        return np.asarray((features / self.scale) @ self.weights)

    def deviations(self, differences: np.ndarray) -> np.ndarray:
        """Posterior standard deviation of the scores of differences (n, d): (n,)."""
        x = differences / self.scale
        inside = x @ self.basis
        outside = np.maximum((x**2).sum(1) - (inside**2).sum(1), 0) / self.precision
        return np.asarray(np.sqrt(((inside @ self.spread.T) ** 2).sum(1) + outside))

    def draws(self, features: np.ndarray, number: int, random: np.random.Generator) -> np.ndarray:
        """Scores of features (n, d) by so many heads drawn from the posterior: (number, n). For Thompson sampling."""
        x = (features / self.scale).astype(np.float32)
        noise = random.standard_normal((number, len(self.scale))) / np.sqrt(self.precision)
        noise -= noise @ self.basis @ self.basis.T
        noise += random.standard_normal((number, len(self.spread))) @ self.spread @ self.basis.T
        return np.asarray((self.weights + noise).astype(np.float32) @ x.T)


def _scale(features: np.ndarray) -> np.ndarray:
    centred = features - features.mean(0)
    return np.asarray(np.sqrt((centred**2).mean(0)) + 1e-6)


def _posterior(
    z: np.ndarray, p: np.ndarray, weights: np.ndarray, precision: float, a: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Mode (r,), lower Cholesky factor of the Hessian there (r, r), and log evidence; Newton's method from `a`."""
    for _ in range(_STEPS):
        chosen = expit(z @ a)
        hessian = (z * (weights * chosen * (1 - chosen))[:, None]).T @ z
        hessian[np.diag_indices_from(hessian)] += precision
        factor = cho_factor(hessian, lower=True)
        step = cho_solve(factor, z.T @ (weights * (p - chosen)) - precision * a)
        step *= min(1.0, 2 / max(float(np.abs(z @ step).max()), 1e-12))  # no score moves by more than two at once
        a = a + step
        if np.abs(z @ step).max() < _STILL:
            break
    logits = z @ a
    fit = float((weights * (p * log_expit(logits) + (1 - p) * log_expit(-logits))).sum())
    lower = np.tril(factor[0])
    evidence = fit - precision * float(a @ a) / 2 + len(a) / 2 * np.log(precision) - np.log(np.diag(lower)).sum()
    return a, lower, float(evidence)
