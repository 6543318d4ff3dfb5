"""How sure a reward model is: a Laplace approximation over the weights of its score head.

The adapter is taken as given, and the head's posterior as a Gaussian around the trained weights. With few labels that
is wide in every direction of feature space that no comparison has looked into; the variance of a score
difference says how wide. Features are computed in `scorer.py`.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from scipy.optimize import minimize_scalar

from foundation.errors import UserError

FILE = "uncertainty.safetensors"
_LOG_PRIOR = (math.log(1e-4), math.log(1e6))


@dataclass(frozen=True)
class Laplace:
    """N(w, S) over head weights w (d,), with S^-1 = sum_i c_i p_i (1 - p_i) x_i x_i^T + prior_precision I.

    x_i is the difference of two responses' features, p_i the probability that the model gives to the preference, c_i
    the pair's weight: the exact Hessian of the Bradley-Terry log-likelihood with a Gaussian prior. MacKay 1992, "The
    evidence framework applied to classification networks"; Daxberger et al. 2021, "Laplace Redux", section 2. Kept as
    eigenvectors (d, d) and eigenvalues (d,) of the sum.
    """

    eigenvectors: torch.Tensor
    eigenvalues: torch.Tensor
    prior_precision: float

    @classmethod
    def fit(
        cls,
        differences: torch.Tensor,
        head: torch.Tensor,
        weights: torch.Tensor | None = None,
        prior_precision: float | None = None,
    ) -> Self:
        """The posterior after comparisons whose feature differences, chosen less rejected, are (n, d); `head` is (d,).

        Without a `prior_precision` (per squared unit of weight) the one of the largest marginal likelihood is taken
        (MacKay 1992; Immer et al. 2021, "Scalable marginal likelihood estimation").
        """
        x, w = differences.double(), head.double()
        c = torch.ones(len(x), dtype=torch.float64) if weights is None else weights.double()
        logits = x @ w
        curvature = c * torch.sigmoid(logits) * torch.sigmoid(-logits)
        values, vectors = torch.linalg.eigh((x * curvature[:, None]).T @ x)
        values = values.clamp(min=0)
        if prior_precision is None:
            likelihood = float((c * torch.nn.functional.logsigmoid(logits)).sum())
            prior_precision = _best_prior(values, likelihood, float(w @ w))
        return cls(vectors.float(), values.float(), prior_precision)

    def variance(self, features: torch.Tensor) -> torch.Tensor:
        """Posterior variance of features @ w: (n,), squared score units; features (n, d) of responses or differences.

        Of a single response it depends on where scores have their zero; of a difference it does not.
        """
        return ((features.float() @ self.eigenvectors).square() / (self.eigenvalues + self.prior_precision)).sum(1)

    def heads(self, head: torch.Tensor, n: int, generator: torch.Generator) -> torch.Tensor:
        """`n` heads drawn from the posterior around `head` (d,): (n, d). For Thompson sampling."""
        noise = torch.randn(n, len(self.eigenvalues), generator=generator)
        return head + (noise / (self.eigenvalues + self.prior_precision).sqrt()) @ self.eigenvectors.T

    def save(self, folder: Path) -> None:
        """Write the posterior beside the head."""
        prior = torch.tensor(self.prior_precision, dtype=torch.float64)
        tensors = {"eigenvectors": self.eigenvectors, "eigenvalues": self.eigenvalues, "prior_precision": prior}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """The posterior of a reward folder; None if it has none."""
        if not (folder / FILE).is_file():
            return None
        try:
            tensors = load_file(folder / FILE)
            return cls(tensors["eigenvectors"], tensors["eigenvalues"], float(tensors["prior_precision"]))
        except (SafetensorError, KeyError) as error:
            raise UserError(f"{folder / FILE} is damaged ({error}). Train the reward model again.") from error


def preference_probability(differences: torch.Tensor, variances: torch.Tensor) -> torch.Tensor:
    """P(first preferred) with the head integrated out: (n,), from score differences and their variances, both (n,).

    sigmoid(m / sqrt(1 + pi v / 8)), MacKay 1992: the surer the model, the nearer to sigmoid(m).
    """
    return torch.sigmoid(differences / torch.sqrt(1 + math.pi / 8 * variances))


def log_evidence(eigenvalues: torch.Tensor, prior_precision: float, likelihood: float, squared_norm: float) -> float:
    """Laplace's log marginal likelihood of the comparisons, for a head of this squared norm and log-likelihood."""
    d = len(eigenvalues)
    fit = likelihood - prior_precision * squared_norm / 2
    return fit + d / 2 * math.log(prior_precision) - float((eigenvalues + prior_precision).log().sum()) / 2


def _best_prior(eigenvalues: torch.Tensor, likelihood: float, squared_norm: float) -> float:
    found = minimize_scalar(
        lambda log_prior: -log_evidence(eigenvalues, math.exp(log_prior), likelihood, squared_norm),
        bounds=_LOG_PRIOR,
        method="bounded",
    )
    return math.exp(float(found.x))
