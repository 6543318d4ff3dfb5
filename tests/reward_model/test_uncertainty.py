import math
from pathlib import Path

import pytest
import torch

from foundation.errors import UserError
from reward_model.uncertainty import FILE, Laplace, log_evidence, preference_probability


def bradley_terry(pairs: int, d: int, seed: int = 0, scale: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Feature differences (chosen less rejected) of simulated comparisons, and the head that decided them."""
    generator = torch.Generator().manual_seed(seed)
    head = torch.randn(d, generator=generator, dtype=torch.float64) * scale / math.sqrt(d)
    x = torch.randn(pairs, d, generator=generator, dtype=torch.float64)
    wins = torch.rand(pairs, generator=generator, dtype=torch.float64) < torch.sigmoid(x @ head)
    return torch.where(wins[:, None], x, -x), head


def map_head(x: torch.Tensor, prior: float) -> torch.Tensor:
    """The head of the largest posterior density, by Newton's method."""
    w = torch.zeros(x.shape[1], dtype=torch.float64)
    for _ in range(50):
        p = torch.sigmoid(x @ w)
        hessian = (x * (p * (1 - p))[:, None]).T @ x + prior * torch.eye(len(w))
        w = w + torch.linalg.solve(hessian, x.T @ (1 - p) - prior * w)
    return w


def test_the_variance_is_that_of_the_hessian_of_the_log_posterior() -> None:
    x, _ = bradley_terry(40, 3)
    prior, w = 0.7, map_head(x, 0.7)

    def negative_log_posterior(head: torch.Tensor) -> torch.Tensor:
        return -torch.nn.functional.logsigmoid(x @ head).sum() + prior / 2 * head @ head

    covariance = torch.linalg.inv(torch.autograd.functional.hessian(negative_log_posterior, w))
    probe = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = ((probe @ covariance) * probe).sum(1)
    found = Laplace.fit(x, w, prior_precision=prior).variance(probe)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)


def test_by_hand_in_one_dimension() -> None:
    # p = 1/2 at w = 0, so each of the four pairs adds 1/4 * 2^2 = 1; with a prior of 1 the variance is 1/5.
    posterior = Laplace.fit(torch.full((4, 1), 2.0), torch.zeros(1), prior_precision=1.0)
    assert posterior.variance(torch.ones(1, 1)).item() == pytest.approx(1 / 5)


def test_a_pair_of_weight_two_is_a_pair_that_came_twice() -> None:
    x, w = bradley_terry(10, 4)
    twice = torch.cat([x, x[:1]])
    weights = torch.ones(10)
    weights[0] = 2
    one = Laplace.fit(x, w, weights=weights, prior_precision=1.0).variance(x)
    torch.testing.assert_close(one, Laplace.fit(twice, w, prior_precision=1.0).variance(x), rtol=1e-4, atol=0)


def test_it_is_less_sure_where_no_comparison_has_looked() -> None:
    x, w = bradley_terry(200, 6)
    x[:, -1] = 0
    posterior = Laplace.fit(x, w)
    seen, unseen = torch.eye(6)[0:1], torch.eye(6)[-1:]
    assert posterior.variance(unseen) > 3 * posterior.variance(seen)
    assert posterior.variance(unseen).item() == pytest.approx(1 / posterior.prior_precision, rel=1e-4)


def test_more_comparisons_make_it_surer() -> None:
    x, w = bradley_terry(400, 5)
    few, many = (Laplace.fit(x[:n], w, prior_precision=1.0).variance(torch.eye(5)) for n in (40, 400))
    assert (many < few / 3).all()


def test_the_prior_is_the_one_of_the_largest_evidence() -> None:
    x, w = bradley_terry(300, 8)
    found = Laplace.fit(x, w)
    likelihood = float(torch.nn.functional.logsigmoid(x @ w).sum())
    values = found.eigenvalues.double()
    best = log_evidence(values, found.prior_precision, likelihood, float(w @ w))
    others = [
        log_evidence(values, found.prior_precision * factor, likelihood, float(w @ w)) for factor in (0.5, 0.9, 1.1, 2)
    ]
    assert best > max(others)


def test_the_prior_finds_the_scale_of_the_head_that_made_the_data() -> None:
    found = []
    for scale in (0.5, 4.0):
        x, _ = bradley_terry(4000, 20, scale=scale)
        prior = 1.0
        for _ in range(10):  # the head depends on the prior, and the prior on the head
            prior = Laplace.fit(x, map_head(x, prior)).prior_precision
        found.append(prior * scale**2 / 20)  # each weight was drawn with variance scale^2 / 20
    assert found == pytest.approx([1.0, 1.0], rel=0.5)


def test_drawn_heads_have_the_posterior_variance() -> None:
    x, w = bradley_terry(50, 4)
    posterior = Laplace.fit(x, w)
    heads = posterior.heads(w.float(), 20_000, torch.Generator().manual_seed(0))
    scores = heads @ x[:3].float().T
    torch.testing.assert_close(scores.mean(0), (x[:3] @ w).float(), rtol=0, atol=0.05)
    torch.testing.assert_close(scores.var(0), posterior.variance(x[:3]), rtol=0.05, atol=0)


def test_an_unsure_model_forecasts_nearer_to_one_half() -> None:
    sure, unsure = preference_probability(torch.tensor([2.0, 2.0]), torch.tensor([0.0, 9.0]))
    assert sure.item() == pytest.approx(1 / (1 + math.exp(-2)))
    assert 0.5 < unsure < sure


def test_saved_and_loaded(tmp_path: Path) -> None:
    assert Laplace.load(tmp_path) is None
    x, w = bradley_terry(30, 4)
    posterior = Laplace.fit(x, w)
    posterior.save(tmp_path)
    loaded = Laplace.load(tmp_path)
    assert loaded is not None
    assert torch.equal(loaded.eigenvectors, posterior.eigenvectors)
    assert torch.equal(loaded.eigenvalues, posterior.eigenvalues)
    assert loaded.prior_precision == posterior.prior_precision
    (tmp_path / FILE).write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match="damaged"):
        Laplace.load(tmp_path)
