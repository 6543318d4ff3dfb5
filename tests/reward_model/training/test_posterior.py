"""The posterior of many pairs, from the features of some."""

from typing import Any

import pytest
import torch

from reward_model.labels.reading import to_pair
from reward_model.training import posterior
from reward_model.training.posterior import computed_for, fit_posterior
from tests.reward_model.planted import planted


def test_many_pairs_are_stood_for_by_some_with_the_curvature_of_all(scorer: Any, monkeypatch: pytest.MonkeyPatch):
    pairs = [to_pair(row, "row") for row in planted(120, seed=8)]
    whole = fit_posterior(scorer, pairs)
    monkeypatch.setattr(posterior, "_MOST", 60)
    chosen = computed_for(pairs)
    assert len(chosen) == 60
    part = fit_posterior(scorer, pairs)
    assert float(part.eigenvalues.sum()) == pytest.approx(float(whole.eigenvalues.sum()), rel=0.15)
    alone = fit_posterior(scorer, chosen)
    torch.testing.assert_close(part.eigenvalues, 2 * alone.eigenvalues, rtol=1e-3, atol=1e-4)


def test_few_pairs_are_all_asked(scorer: Any):
    pairs = [to_pair(row, "row") for row in planted(30, seed=8)]
    assert len(computed_for(pairs)) == 30
