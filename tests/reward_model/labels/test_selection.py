"""What is learned from, and what the epoch is chosen by."""

import pytest

from foundation.errors import UserError
from reward_model.config import RewardConfig
from reward_model.labels.records import Pair
from reward_model.labels.selection import select
from tests.reward_model.planted import planted

CONFIG = RewardConfig(patience=1, validation=0.5, ties=True)


def rating(number: int, **more: object) -> dict[str, object]:
    return {"prompt": f"prompt {number}", "response": "one", "score": 1, "scale": 5, "annotator": "ann", **more}


@pytest.mark.parametrize("seed", range(8))
def test_a_scale_an_aspect_and_ties_that_one_prompt_has_are_learned_from(seed: int) -> None:
    """Validation asks for no parameter that training does not fit; a rater of a known scale needs none of their own."""
    rows = planted(12)
    few = [
        [rating(0), rating(0, response="two", score=3)], [rating(1, aspect="kind", scale=7)],
        [{"prompt": "prompt 2", "chosen": "yes", "rejected": "no", "p_chosen": 0.5, "p_tie": 1.0}],
        [{"prompt": "prompt 3", "chosen": "yes", "rejected": "no", "aspect": "brief"}],
    ]  # fmt: skip
    found = select(CONFIG, rows, seed, planted(3, seed=9))
    for more in few:
        chosen = select(CONFIG, [*rows, *more], seed, planted(3, seed=9))
        assert len(chosen.train) == len(found.train) + len(more)
        assert chosen.validation == found.validation


def test_no_validation_is_left_is_told() -> None:
    rows = [{"prompt": f"prompt {n}", "chosen": "yes", "rejected": "no", "aspect": f"aspect {n}"} for n in range(4)]
    with pytest.raises(UserError, match=r"reward.patience=null"):
        select(CONFIG, rows, 0, planted(3, seed=9))


@pytest.mark.parametrize("weights", [True, False])
def test_without_ties_a_pair_weighs_as_much_as_the_votes_that_preferred_a_side(weights: bool) -> None:
    # One of five preferred a, four neither.
    said = {"prompt": "q", "chosen": "a", "rejected": "b", "weight": 5.0, "p_chosen": 0.6, "p_tie": 0.8}
    other = {"prompt": "another", "chosen": "a", "rejected": "b"}
    found = select(RewardConfig(ties=False, weights=weights, patience=None), [said], seed=0, held_out=[other])
    (pair,) = found.pairs
    assert (pair.weight, pair.p_chosen) == (pytest.approx(1.0), pytest.approx(1.0))


@pytest.mark.parametrize("decided", [True, False])
def test_without_ties_an_even_split_stays_what_it_is_whether_or_not_others_found_the_two_equal(decided: bool) -> None:
    both: dict[str, object] = {"prompt": "q", "chosen": "a", "rejected": "b", "p_chosen": 0.5, "decided": decided}
    rows = [both | {"weight": 2.0}, both | {"weight": 5.0, "p_tie": 0.6}, both | {"weight": 3.0, "p_tie": 1.0}]
    clear = {"prompt": "another", "chosen": "a", "rejected": "b"}
    found = select(RewardConfig(ties=False, patience=None), [*rows, clear], 0, held_out=[clear | {"prompt": "third"}])
    pairs = [label for label in found.train if isinstance(label, Pair)]
    said = [(pair.p_chosen, pair.p_tie, pair.weight) for pair in pairs]
    assert said == [(0.5, 0.0, 2.0), pytest.approx((0.5, 0.0, 2.0)), (1.0, 0.0, 1.0)]
