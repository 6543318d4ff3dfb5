"""What each chooser asks about, and that no question is asked twice in other words."""

import numpy as np
import pytest

from reward_model.acquisition.choosers import CHOOSERS, take
from reward_model.acquisition.linear_head import LinearHead

PROMPTS = np.repeat(np.arange(6), 4)
PAIRS = np.array([(a, b) for a in range(24) for b in range(a + 1, 24) if a // 4 == b // 4])
RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.standard_normal((24, 8))
TRUE = np.array([2.0, 0, 0, 0, 0, 0, 0, 0])


@pytest.fixture(scope="module")
def head() -> LinearHead:
    """It has seen what the first four features do, and nothing of the last four."""
    seen = RANDOM.standard_normal((500, 8)) * np.array([1, 1, 1, 1, 0, 0, 0, 0])
    return LinearHead.fit(FEATURES, seen, (seen @ TRUE > 0).astype(float), np.ones(500))


def first(name: str, head: LinearHead, features: np.ndarray, prompts: np.ndarray, pairs: np.ndarray) -> tuple[int, int]:
    worth = CHOOSERS[name](head, features, prompts, pairs, np.random.default_rng(1))
    one, other = pairs[int(np.argmax(worth))]
    return int(one), int(other)


def test_of_one_prompt_each_asks_about_what_it_is_for(head: LinearHead) -> None:
    features = np.zeros((4, 8))
    features[:, 0] = [3.0, 2.9, 0.0, -3.0]  # two that are nearly the best, one in the middle, one that is the worst
    prompts, pairs = np.zeros(4, dtype=int), np.array([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)])
    assert first("thompson", head, features, prompts, pairs) == (0, 1)
    assert first("d_optimal", head, features, prompts, pairs) == (0, 1)
    assert first("farthest", head, features, prompts, pairs) == (0, 3)
    assert first("best_and_worst", head, features, prompts, pairs) in {(0, 3), (1, 3)}


def test_the_unsure_ask_about_directions_that_no_answer_has_looked_into(head: LinearHead) -> None:
    features = np.zeros((4, 8))
    features[1, 1], features[3, 6] = 3.0, 3.0
    prompts, pairs = np.array([0, 0, 1, 1]), np.array([(0, 1), (2, 3)])
    assert first("variance", head, features, prompts, pairs) == (2, 3)
    assert first("d_optimal", head, features, prompts, pairs) == (2, 3)
    assert first("farthest", head, features, prompts, pairs) == (2, 3)


@pytest.mark.parametrize("name", CHOOSERS)
def test_the_order_within_a_pair_and_of_the_pairs_makes_no_difference(name: str, head: LinearHead) -> None:
    def worth(pairs: np.ndarray) -> np.ndarray:
        return CHOOSERS[name](head, FEATURES, PROMPTS, pairs, np.random.default_rng(2))

    found = worth(PAIRS)
    assert found.shape == (len(PAIRS),)
    assert worth(PAIRS[:, ::-1]) == pytest.approx(found)
    assert worth(PAIRS[::-1])[::-1] == pytest.approx(found)
    assert worth(PAIRS[:0]).shape == (0,)


@pytest.mark.parametrize("name", CHOOSERS)
def test_before_anybody_has_answered_there_is_something_to_choose_by(name: str) -> None:
    worth = CHOOSERS[name](LinearHead.prior(FEATURES), FEATURES, PROMPTS, PAIRS, np.random.default_rng(3))
    assert np.isfinite(worth).all()
    assert len(set(worth.round(6))) > 3


@pytest.mark.parametrize("name", CHOOSERS)
def test_responses_that_no_head_tells_apart_are_asked_about_last(name: str, head: LinearHead) -> None:
    alike, different = np.ones((8, 8)), np.eye(8)[6:]
    features, prompts = np.concatenate([alike, different]), np.repeat([0, 1], [8, 2])
    pairs = np.array([(0, 1), (2, 7), (8, 9)])
    assert first(name, head, features, prompts, pairs) == (8, 9)


def test_what_is_asked_first_is_not_asked_again_in_other_words() -> None:
    features = np.array([[0.0, 0], [1, 0], [0, 0], [1.001, 0.001], [0, 0], [0, 1]])
    pairs = np.array([(0, 1), (2, 3), (4, 5)])
    worth = np.array([3.0, 2.9, 1.0])
    assert take(features, pairs, worth, 2).tolist() == [0, 2]
    assert take(features, pairs, worth, 3).tolist() == [0, 2, 1]  # where nothing else is left, it is
    assert take(features, pairs, worth, 9).tolist() == [0, 2, 1]
    assert take(features, pairs, worth, 0).tolist() == []
