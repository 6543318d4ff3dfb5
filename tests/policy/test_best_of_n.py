"""Best-of-n: what it chooses, what it is worth by enumeration, and how far it is from what it samples."""

import itertools
import math
import random
from collections.abc import Sequence

import pytest
import torch

from backbone.adapters import SharedBase
from backbone.sampling import sample
from backbone.sampling_config import SamplingConfig
from foundation.errors import UserError
from policy.algorithms.kl import best_of_n_kl
from policy.best_of_n import best_of_n, chances, measured_kl
from tests.shared_base import PROMPTS

SAMPLING = SamplingConfig(max_new_tokens=6, temperature=1.0)


class LongestFirst:
    """Likes large first tokens; remembers how many responses it was asked about."""

    asked = 0

    def score(self, prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        assert len(prompt_ids) == len(response_ids)
        self.asked += len(response_ids)
        return torch.tensor([float(ids[0]) for ids in response_ids])


def test_it_keeps_the_best_of_each_prompts_own_responses(base: SharedBase) -> None:
    scorer, told = LongestFirst(), []
    chosen = best_of_n(base, scorer, PROMPTS, SAMPLING, 5, seed=2, progress=told.append)
    drawn = sample(base, PROMPTS, SAMPLING, group=5, seed=2)
    assert [one.prompt for one in chosen] == [0, 1, 2, 3]
    for prompt, one in enumerate(chosen):
        own = [each for each in drawn if each.prompt == prompt]
        assert one in own
        assert one.response_ids[0] == max(each.response_ids[0] for each in own)
    assert scorer.asked == sum(told) == 20


def test_the_best_of_one_is_the_sample_itself(base: SharedBase) -> None:
    assert best_of_n(base, LongestFirst(), PROMPTS, SAMPLING, 1, seed=2) == sample(base, PROMPTS, SAMPLING, seed=2)


def test_a_score_that_is_not_a_number_is_refused(base: SharedBase) -> None:
    class Broken:
        def score(self, prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]]) -> torch.Tensor:
            return torch.full((len(response_ids),), math.nan)

    with pytest.raises(UserError, match="not finite"):
        best_of_n(base, Broken(), PROMPTS, SAMPLING, 2)


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_chances_are_those_of_every_subset(n: int) -> None:
    scores = [0.3, -1.0, 2.0, 0.3, 0.3, 5.0]
    kept = [0.0] * 6
    subsets = list(itertools.combinations(range(6), n))
    for subset in subsets:
        best = [i for i in subset if scores[i] == max(scores[j] for j in subset)]
        for i in best:
            kept[i] += 1 / len(best) / len(subsets)
    assert chances(torch.tensor(scores), n).tolist() == pytest.approx(kept, abs=1e-12)


def test_chances_with_replacement_are_those_of_every_sequence() -> None:
    scores = [0.3, -1.0, 2.0, 0.3]
    kept = [0.0] * 4
    for drawn in itertools.product(range(4), repeat=3):
        best = [i for i in drawn if scores[i] == max(scores[j] for j in drawn)]
        for i in best:
            kept[i] += 1 / len(best) / 4**3
    found = chances(torch.tensor([scores, scores[::-1]]), 3, replace=True)
    assert found[0].tolist() == pytest.approx(kept, abs=1e-12)
    assert found[1].tolist() == pytest.approx(kept[::-1], abs=1e-12)


def test_no_more_can_be_chosen_among_than_there_are() -> None:
    with pytest.raises(ValueError, match="best of 5"):
        chances(torch.zeros(4), 5)


@pytest.mark.parametrize("n", [1, 4, 16, 64])
def test_the_measured_kl_nears_the_formula(n: int) -> None:
    scores = torch.tensor(random.Random(0).sample(range(10_000), 2000), dtype=torch.float64)
    assert best_of_n_kl(n) == pytest.approx(math.log(n) - (n - 1) / n)
    assert float(measured_kl(scores, n)) == pytest.approx(best_of_n_kl(n), abs=0.005)


def test_ties_lower_the_kl() -> None:
    # Two of four are equally best: best-of-n can tell halves apart, at most log 2, whatever n is.
    scores = torch.tensor([1.0, 1.0, 0.0, 0.0])
    assert float(measured_kl(scores, 50)) == pytest.approx(math.log(2), abs=1e-9)
    assert float(measured_kl(torch.ones(4), 50)) == pytest.approx(0.0, abs=1e-12)
