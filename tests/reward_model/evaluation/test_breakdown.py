"""The accuracy taken apart, on rows whose answer is known by construction."""

from typing import Any

import numpy as np
import pytest

from foundation.errors import UserError
from reward_model.evaluation.annotator_agreement import agreement, position_bias
from reward_model.evaluation.breakdown import breakdown, by_value, drift, length_bias
from reward_model.evaluation.older_model import against
from reward_model.labels.records import Pair


def pair(prompt: str, chosen: int, rejected: int) -> Pair:
    """A pair whose responses have so many words."""
    return Pair(({"role": "user", "content": prompt},), "a " * chosen, "b " * rejected)


def voted(*votes: float, left: list[bool | None] | None = None) -> dict[str, Any]:
    return {"annotators": [f"annotator {at}" for at in range(len(votes))], "votes": list(votes), "chosen_left": left}


def test_subsets_are_measured_apart_and_the_largest_comes_first():
    found = by_value(["a", "b", "b", "b"], np.array([0.0, 1.0, 1.0, 0.5]), ["p", "q", "r", "s"])
    assert list(found) == ["b", "a"]
    assert found["b"]["accuracy"] == pytest.approx(2.5 / 3)
    assert (found["a"]["accuracy"], found["a"]["n"]) == (0.0, 1)


def test_a_model_of_length_alone_is_at_chance_whatever_people_like():
    pairs = [pair(str(i), 3, 1) for i in range(9)] + [pair("x", 1, 3), pair("y", 2, 2)]
    by_length = np.array([2.0] * 9 + [-2.0, 0.0])
    found = length_bias(pairs, by_length)
    assert found["length_controlled_accuracy"] == 0.5
    assert found["prefers_longer"] == 1.0
    assert found["length_bias"] == pytest.approx(0.1)


def test_a_model_that_is_right_has_no_length_bias():
    pairs = [pair("p", 3, 1), pair("q", 1, 3), pair("r", 5, 1)]
    found = length_bias(pairs, np.ones(3))
    assert found == {"length_controlled_accuracy": 1.0, "prefers_longer": pytest.approx(2 / 3), "length_bias": 0.0}


def test_where_only_longer_ones_are_preferred_length_cannot_be_controlled():
    assert length_bias([pair("p", 3, 1)], np.ones(1))["length_controlled_accuracy"] is None
    assert set(length_bias([pair("p", 2, 2)], np.ones(1)).values()) == {None}


def test_agreement_with_an_annotator_stands_beside_what_the_others_reach():
    # The model prefers chosen in the first two pairs and rejected in the third.
    rows = [voted(1, 1, 0), voted(1, 0.5, 0), voted(1)]
    found = agreement(rows, np.array([1.0, 1.0, 0.0]), ["p", "q", "r"])
    first, second, third = (found["annotators"][f"annotator {at}"] for at in range(3))
    assert (first["agreement"], first["n"], first["shared"]) == (pytest.approx(2 / 3), 3, 2)
    assert (first["model_agreement"], first["human_ceiling"]) == (1.0, pytest.approx((0.5 + 0.25) / 2))
    assert (second["n"], second["human_ceiling"]) == (1, 0.5)  # its tie is no vote to agree with
    assert (third["model_agreement"], third["human_ceiling"]) == (0.0, pytest.approx((0.0 + 0.25) / 2))
    assert found["shared"] == 5
    assert found["model_agreement"] == pytest.approx(3 / 5)


def test_one_annotator_has_no_ceiling():
    found = agreement([voted(1), voted(0)], np.array([1.0, 1.0]), ["p", "q"])
    assert (found["human_ceiling"], found["shared"]) == (None, 0)
    assert found["annotators"]["annotator 0"]["agreement"] == 0.5


def test_annotators_who_lean_left_are_told_by_the_votes_that_went_left():
    rng = np.random.default_rng(0)
    rows, right = [], []
    for _ in range(2000):
        better_left = rng.random() < 0.5
        vote_left = True if rng.random() < 0.3 else better_left  # three in ten go left whatever they read
        rows.append(voted(1, left=[bool(vote_left)]))
        right.append(float(vote_left == better_left))
    found = position_bias(rows, np.array(right), [str(i) for i in range(2000)])["position"]
    assert found["right"]["agreement"] == 1.0
    assert found["difference"] == pytest.approx(0.15 / 0.65, abs=0.03)
    assert found["left"]["n"] + found["right"]["n"] == 2000


def test_sides_that_are_not_known_show_no_bias():
    assert position_bias([voted(1, left=[None]), voted(1)], np.ones(2), ["p", "q"]) == {}


def test_a_vote_for_the_rejected_response_is_for_the_other_side():
    rows = [voted(0, left=[True]), voted(1, left=[True])]
    found = position_bias(rows, np.array([1.0, 1.0]), ["p", "q"])["position"]
    assert (found["left"]["agreement"], found["right"]["agreement"]) == (1.0, 0.0)


def test_a_model_that_no_longer_fits_the_last_round_is_seen_to_drift():
    right = np.array([1.0] * 90 + [0.0] * 10 + [1.0] * 50 + [0.0] * 50)
    prompts = [str(i) for i in range(200)]
    found = drift([0] * 100 + [1] * 100, right, prompts)
    assert found["rounds"]["0"]["accuracy"] == 0.9
    assert found["drift"]["difference"] == pytest.approx(-0.4)
    assert found["drift"]["p_value"] < 1e-6
    shuffled = np.random.default_rng(0).permutation(right)
    assert drift([0] * 100 + [1] * 100, shuffled, prompts)["drift"]["p_value"] > 0.01


@pytest.mark.parametrize("prompts", [1, 3])
def test_a_last_round_of_a_few_prompts_says_little(prompts: int) -> None:
    """Five pairs of each, all wrong, after two hundred of which half are right."""
    right = np.array([0.0] * 5 * prompts + [1.0, 0.0] * 100)
    names = [str(i // 5) for i in range(5 * prompts)] + [f"before {i}" for i in range(200)]
    found = drift([1] * 5 * prompts + [0] * 200, right, names)["drift"]
    assert found["difference"] == -0.5
    assert found["p_value"] > 0.05


def test_one_round_cannot_drift_and_rows_without_a_round_are_left_out():
    assert list(drift([0, 0, None], np.ones(3), ["p", "q", "r"])) == ["rounds"]
    assert drift([None], np.ones(1), ["p"]) == {}


def test_an_older_model_is_compared_pair_by_pair():
    old, new = np.array([1.0, -2.0, 3.0, 4.0]), np.array([2.0, 4.0, 6.0, 8.0])
    found = against(new, old, ["p", "q", "r", "s"])
    assert (found["accuracy"], found["gain"], found["same_preference"]) == (0.75, 0.25, 0.75)
    assert found["scale"] == pytest.approx(2.0)
    assert found["gain_low"] < 0.25 < found["gain_high"]
    same = against(old, old, ["p", "q", "r", "s"])
    assert (same["rank_correlation"], same["gain"]) == (pytest.approx(1.0), 0.0)
    assert same["gain_low"] == pytest.approx(-same["gain_high"])  # four prompts alike say little of others
    assert same["gain_high"] > 0.5


def test_only_what_the_rows_say_is_reported():
    pairs = [pair("p", 3, 1), pair("q", 1, 3)]
    assert breakdown([{}, {}], pairs, np.ones(2)) == {}
    rows = [{"subset": "chat", "round": 0, **voted(1, left=[True])}, {"round": 1, **voted(1, left=[False])}]
    found = breakdown(rows, pairs, np.ones(2))
    assert found["subsets"].keys() == {"chat", "none"}
    assert {"rounds", "drift", "annotators", "human_ceiling", "position"} <= found.keys()


def test_votes_without_an_annotator_each_are_refused():
    with pytest.raises(UserError, match=r'preference 2: "votes" must hold'):
        agreement([voted(1), {"annotators": ["a"], "votes": [1, 0]}], np.ones(2), ["p", "q"])
    with pytest.raises(UserError, match="votes"):
        agreement([{"annotators": ["a"], "votes": [3]}], np.ones(1), ["p"])
