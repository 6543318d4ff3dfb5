"""Which labels to ask for next: those that a head is least sure of, or any.

A Bradley-Terry head is fitted anew on features that never change, each time some more pairs have been labelled. That
compares two ways to choose with thousands of fits instead of trainings, and says nothing of what an adapter would make
of the labels.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from reward_model.uncertainty import Laplace

WAYS = ("random", "uncertain")


def curves(
    features: torch.Tensor, prompts: Sequence[str], counts: Sequence[int], repeats: int
) -> dict[str, np.ndarray]:
    """Accuracy on held-out pairs after each of `counts` labels, by way of choosing: (repeats, counts).

    `features` (pairs, d) are those of the chosen response less those of the other. In each repeat a third of the
    prompts is held out anew, and both ways begin with the same labels.
    """
    found = {way: np.zeros((repeats, len(counts))) for way in WAYS}
    for repeat in range(repeats):
        draw = np.random.default_rng(repeat)
        names = draw.permutation(np.unique(np.array(prompts)))
        held_out = np.isin(np.array(prompts), names[: len(names) // 3])
        test, pool = features[torch.from_numpy(held_out)], features[torch.from_numpy(~held_out)]
        order = draw.permutation(len(pool))
        for way in WAYS:
            found[way][repeat] = _one(pool, test, order, counts, way)
    return found


def _one(pool: torch.Tensor, test: torch.Tensor, order: np.ndarray, counts: Sequence[int], way: str) -> list[float]:
    labelled = order[: counts[0]].tolist()
    accuracies = []
    prior = 1.0
    for count, following in zip(counts, [*counts[1:], counts[-1]], strict=True):
        head = map_head(pool[labelled], prior)
        posterior = Laplace.fit(pool[labelled], head)
        prior = posterior.prior_precision
        accuracies.append(float(((test @ head).sign() + 1).mean() / 2))
        more = following - count
        if way == "random":
            labelled = order[:following].tolist()
        else:
            left = sorted(set(range(len(pool))) - set(labelled))
            labelled += [left[i] for i in most_informative(pool[left], head, posterior, more)]
    return accuracies


def map_head(x: torch.Tensor, prior: float, steps: int = 8) -> torch.Tensor:
    """The head (d,) of the largest posterior density given feature differences (n, d), by Newton's method."""
    w = torch.zeros(x.shape[1], dtype=x.dtype)
    for _ in range(steps):
        p = torch.sigmoid(x @ w)
        hessian = (x * (p * (1 - p))[:, None]).T @ x
        hessian.diagonal().add_(prior)
        w = w + torch.linalg.solve(hessian, x.T @ (1 - p) - prior * w)
    return w


def most_informative(x: torch.Tensor, head: torch.Tensor, posterior: Laplace, n: int) -> list[int]:
    """Positions of `n` pairs that together tell most about the head, chosen one by one.

    Of x (pairs, d), the pair with the largest log(1 + p (1 - p) v), v its posterior variance after those chosen before:
    the information that its label would give about a Gaussian posterior (MacKay 1992, "Information-based objective
    functions for active data selection", eq. 4).
    """
    scaled = (x @ posterior.eigenvectors.to(x)) / (posterior.eigenvalues.to(x) + posterior.prior_precision).sqrt()
    covariance = scaled @ scaled.T
    p = torch.sigmoid(x @ head)
    curvature = p * (1 - p)
    chosen: list[int] = []
    for _ in range(n):
        gain = curvature * covariance.diagonal()
        gain[chosen] = -1
        best = int(gain.argmax())
        chosen.append(best)
        column = covariance[:, best].clone()
        covariance -= torch.outer(column, column) * (curvature[best] / (1 + curvature[best] * column[best]))
    return chosen


def summary(found: Mapping[str, np.ndarray], counts: Sequence[int]) -> dict[str, object]:
    """Means over repeats by number of labels, and the mean gain of choosing over all numbers but the first.

    The gain's interval is over repeats (other held-out prompts, other first labels), which share their pairs.
    """
    gains = (found["uncertain"] - found["random"])[:, 1:].mean(1)
    draws = np.random.default_rng(0).integers(len(gains), size=(2000, len(gains)))
    low, high = np.quantile(gains[draws].mean(1), (0.025, 0.975))
    means = {way: found[way].mean(0).tolist() for way in WAYS}
    spread = {f"{way}_sd": found[way].std(0, ddof=1).tolist() if len(gains) > 1 else None for way in WAYS}
    gain = {"gain": float(gains.mean()), "gain_low": float(low), "gain_high": float(high)}
    return {"labels": list(counts), **means, **spread, **gain, "repeats": len(gains)}
