"""A head that is refitted in closed form: what it learns, how sure it says it is, and that swapping changes nothing."""

import numpy as np
import pytest
from scipy.special import expit

from reward_model.acquisition.linear_head import LinearHead

D = 24


def world(seed: int, comparisons: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features on very different scales, true weights, pairs of places, and who won each."""
    random = np.random.default_rng(seed)
    features = random.standard_normal((400, D)) * np.exp(random.standard_normal(D)) + 3
    true = random.standard_normal(D) / features.std(0) / np.sqrt(D) * 2
    pairs = np.array([random.choice(400, 2, replace=False) for _ in range(comparisons)], dtype=int).reshape(-1, 2)
    won = random.random(comparisons) < expit((features[pairs[:, 0]] - features[pairs[:, 1]]) @ true)
    return features, true, pairs, won.astype(float)


def fitted(features: np.ndarray, pairs: np.ndarray, won: np.ndarray) -> LinearHead:
    return LinearHead.fit(features, features[pairs[:, 0]] - features[pairs[:, 1]], won, np.ones(len(pairs)))


def test_it_learns_what_decides_and_learns_more_from_more() -> None:
    right = []
    for comparisons in (10, 100, 1000):
        features, true, pairs, won = world(1, comparisons)
        scores, truth = fitted(features, pairs, won).scores(features), features @ true
        right.append(np.corrcoef(scores, truth)[0, 1])
    assert right[0] < right[1] < right[2]
    assert right[2] > 0.95


def test_the_true_difference_lies_within_the_deviations_that_it_names() -> None:
    off = []
    for seed in range(20):
        features, true, pairs, won = world(seed, 300)
        head = fitted(features, pairs, won)
        asked = features[:100] - features[100:200]
        off.append(np.mean(((head.scores(asked) - asked @ true) / head.deviations(asked)) ** 2))
    assert 0.6 < np.mean(off) < 1.6  # 1 if it is right; the mean over 20 worlds has a deviation of about 0.1


def test_drawn_heads_have_the_deviations_that_it_names() -> None:
    features, _, pairs, won = world(2, 15)  # fewer comparisons than dimensions: the prior counts in the others
    head = fitted(features, pairs, won)
    drawn = head.draws(features[:40], 4000, np.random.default_rng(0))
    assert drawn.std(0) == pytest.approx(head.deviations(features[:40]), rel=0.08)
    assert np.abs(drawn.mean(0) - head.scores(features[:40])).max() < 0.1 * drawn.std()


def test_which_response_stands_first_makes_no_difference() -> None:
    features, _, pairs, won = world(3, 60)
    one, other = fitted(features, pairs, won), fitted(features, pairs[:, ::-1], 1 - won)
    assert one.scores(features) == pytest.approx(other.scores(features), abs=1e-6)


def test_a_tie_says_that_two_are_alike_and_a_weight_counts_like_answers() -> None:
    features, _, pairs, won = world(4, 60)
    x = features[pairs[:, 0]] - features[pairs[:, 1]]
    even = LinearHead.fit(features, x, np.full(60, 0.5), np.ones(60))
    assert even.scores(features) == pytest.approx(np.zeros(400), abs=1e-9)
    assert even.deviations(x).mean() < LinearHead.prior(features).deviations(x).mean()
    double = LinearHead.fit(features, x, won, np.full(60, 2.0))
    twice = LinearHead.fit(features, np.concatenate([x, x]), np.concatenate([won, won]), np.ones(120))
    # The precisions that are tried stand around the number of comparisons: the same one is found within a step.
    assert np.corrcoef(double.scores(features), twice.scores(features))[0, 1] > 0.99


@pytest.mark.parametrize("comparisons", [0, 1, 3])
def test_too_few_answers_leave_the_prior(comparisons: int) -> None:
    features, _, pairs, won = world(5, comparisons)
    head = fitted(features, pairs, won)
    assert head.scores(features) == pytest.approx(np.zeros(400))
    assert head.deviations(features - features.mean(0)).mean() == pytest.approx(1.0, abs=0.1)


def test_features_that_never_change_and_answers_that_all_agree_leave_numbers() -> None:
    features = np.ones((20, D))
    features[:, 0] = np.arange(20)
    pairs = np.array([(place + 1, place) for place in range(19)])
    head = fitted(features, pairs, np.ones(19))
    assert np.isfinite(head.scores(features)).all()
    assert np.isfinite(head.deviations(features)).all()
    assert (np.diff(head.scores(features)) > 0).all()
