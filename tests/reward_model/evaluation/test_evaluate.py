"""Figures on numbers worked by hand, and baselines that can be fooled only by what they measure."""

import json
from functools import partial

import numpy as np
import pytest

from foundation.errors import UserError
from foundation.intervals import clustered_share_interval
from reward_model.bag_of_words import BagOfWords
from reward_model.evaluation.accuracy import credit
from reward_model.evaluation.baselines import cross_validated, longer_wins
from reward_model.evaluation.evaluate import evaluate_reward, figures
from reward_model.evaluation.older_model import older_scorer
from reward_model.evaluation.score_differences import decided, score_differences
from reward_model.labels.records import Pair
from reward_model.scorer import RewardScorer
from tests.reward_model.planted import planted


def pair(prompt: str, chosen: str, rejected: str) -> Pair:
    return Pair(({"role": "user", "content": prompt},), chosen, rejected)


def test_a_tie_is_worth_one_half():
    assert credit(np.array([2.0, 0.0, -1.0])).tolist() == [1.0, 0.5, 0.0]


def test_independent_pairs_give_the_exact_interval():
    right = np.array([1.0] * 80 + [0.0] * 20)
    low, high = clustered_share_interval(right, [str(i) for i in range(100)])
    assert (low, high) == pytest.approx((0.7082, 0.8733), abs=1e-4)  # Clopper and Pearson's for 80 of 100


def test_repeating_every_pair_of_a_prompt_adds_no_certainty():
    right = np.array([1.0] * 80 + [0.0] * 20)
    once = clustered_share_interval(right, [str(i) for i in range(100)])
    often = clustered_share_interval(np.repeat(right, 10), [str(i // 10) for i in range(1000)])
    assert often == pytest.approx(once, abs=2e-3)


def test_all_right_is_not_all_certain():
    low, high = clustered_share_interval(np.ones(20), ["a"] * 10 + ["b"] * 10)
    assert low < 0.5
    assert high == pytest.approx(1.0)


def test_the_interval_covers_the_truth_when_prompts_differ():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        skill = rng.beta(3, 2, size=60)
        right = (rng.random((60, 8)) < skill[:, None]).astype(float).ravel()
        low, high = clustered_share_interval(right, [str(i // 8) for i in range(480)])
        covered += low <= 0.6 <= high
    assert 0.92 <= covered / 400 <= 0.98


def test_longer_counts_words():
    assert longer_wins([pair("p", "a b c", "d"), pair("p", "a", "bbbbbb")]).tolist() == [2.0, 0.0]


def test_a_bag_of_words_learns_the_telling_word_and_not_the_order():
    pairs = [pair(str(i), f"fine answer {i % 3}", f"poor answer {i % 3}") for i in range(20)]
    words = BagOfWords.fit(pairs)
    assert words.weights["fine"] > 0 > words.weights["poor"]
    assert words.weights["answer"] == pytest.approx(0.0, abs=1e-6)
    assert words.score("answer fine") == words.score("fine answer")


def test_cross_validation_never_sees_the_prompt_that_it_judges():
    pairs = [pair(f"prompt {i}", f"yes{i}", f"no{i}") for i in range(10) for _ in range(3)]
    assert cross_validated(pairs).tolist() == [0.0] * 30


def test_saved_words_score_as_fitted(tmp_path):
    words = BagOfWords.fit([pair(str(i), "good good day", "bad day") for i in range(5)])
    words.save(tmp_path / "words.json")
    assert BagOfWords.load(tmp_path / "words.json") == words


def test_exactly_the_agreed_figures():
    pairs = [pair("p", "one two", "one"), pair("q", "one", "one two")]
    assert figures(pairs, np.array([1.0, -1.0]))["longer_wins"] == 0.5
    assert list(figures(pairs, np.array([1.0, -1.0]))) == [
        "accuracy", "accuracy_low", "accuracy_high", "n", "same_score", "longer_wins", "bag_of_words", "ece",
        "ece_after", "brier", "brier_after", "temperature",
    ]  # fmt: skip


def test_the_folder_is_judged_with_the_words_of_its_training(trained):
    folder, measured = trained
    found = evaluate_reward(folder, planted(20, seed=9))
    assert found["n"] == 20
    assert found["accuracy"] > 0.8
    assert found["bag_of_words"] == 1.0
    assert measured["accuracy"] > 0.8


def test_no_pairs_is_an_error(trained):
    with pytest.raises(UserError, match="no pairs"):
        evaluate_reward(trained[0], [])


def test_all_that_rows_say_is_reported_with_calibration_and_uncertainty(trained):
    rows = [
        {**row, "subset": "even" if i % 2 else "odd", "round": i % 2, "annotators": ["a", "b"], "votes": [1, i % 2],
         "chosen_left": [True, False]}
        for i, row in enumerate(planted(60, seed=9))
    ]  # fmt: skip
    found = evaluate_reward(trained[0], rows)
    assert found["subsets"].keys() == {"odd", "even"}
    assert found["annotators"]["a"]["agreement"] == found["accuracy"]
    assert found["human_ceiling"] == 0.5
    assert {"rounds", "drift", "position", "length_controlled_accuracy"} <= found.keys()
    assert found["temperature"] > 0
    assert trained[1]["temperature"] > 0
    assert 0 <= found["ece_as_saved"] <= 0.5
    assert 0 <= found["coverage"] <= 1
    assert found["error_least_uncertain"] <= found["error_most_uncertain"]
    assert sum(count for _, _, count in found["reliability_after"]) == 60
    json.dumps(found, allow_nan=False)


def test_rows_that_people_found_equal_are_left_out(trained):
    scorer = RewardScorer.load(trained[0], dtype="float32", device="cpu")
    rows = planted(6, seed=9)
    ties = [{**row, "p_chosen": 0.5, "p_tie": 1.0} for row in planted(4, seed=11)]
    assert evaluate_reward(scorer, [*ties, *rows]) == evaluate_reward(scorer, rows)
    with pytest.raises(UserError, match="no pairs"):
        evaluate_reward(scorer, ties)


def test_rows_of_annotators_who_guess_are_left_out():
    rows = planted(8, seed=11)
    guessed = [{**row, "weight": 0.0, "chosen": row["rejected"], "rejected": row["chosen"]} for row in rows[:4]]
    assert decided([*guessed, *rows[4:]]) == decided(rows[4:])


def test_rows_that_people_split_on_are_left_out(trained):
    scorer = RewardScorer.load(trained[0], dtype="float32", device="cpu")
    rows = planted(6, seed=9)
    split = [{**row, "p_chosen": 0.6, "decided": False} for row in planted(4, seed=11)]
    assert evaluate_reward(scorer, [*split, *rows]) == evaluate_reward(scorer, rows)
    with pytest.raises(UserError, match="no pairs"):
        evaluate_reward(scorer, split)


def test_a_row_that_prefers_its_second_response_counts_as_the_same_row_turned_round(trained):
    scorer = RewardScorer.load(trained[0], dtype="float32", device="cpu")
    rows = [
        {**row, "p_chosen": 0.8, "annotators": ["a", "b"], "votes": [1, i % 2], "chosen_left": [True, False]}
        for i, row in enumerate(planted(12, seed=9))
    ]
    turned = [
        {**row, "chosen": row["rejected"], "rejected": row["chosen"], "p_chosen": 0.2, "margin": -row["margin"],
         "votes": [1 - vote for vote in row["votes"]], "chosen_left": [False, True]}
        for row in rows
    ]  # fmt: skip
    assert evaluate_reward(scorer, turned) == evaluate_reward(scorer, rows)
    assert evaluate_reward(scorer, [{**row, "chosen_left": None} for row in turned])["accuracy"] > 0.5


def test_an_older_model_on_the_same_base_changes_nothing_of_the_figures(trained):
    scorer = RewardScorer.load(trained[0], dtype="float32", device="cpu")
    rows = planted(20, seed=9)
    alone = evaluate_reward(scorer, rows)
    older = older_scorer(scorer, trained[0])
    assert older.base is scorer.base
    beside = evaluate_reward(scorer, rows, partial(score_differences, older))
    assert beside.pop("against")["gain"] == 0
    assert beside == alone


def test_a_model_that_was_trained_on_the_opposite_is_seen_against_the_new_one(trained):
    scorer = RewardScorer.load(trained[0], dtype="float32", device="cpu")
    older = older_scorer(scorer, trained[0])
    older.base.heads[older.name].weight.data.mul_(-2)
    found = evaluate_reward(scorer, planted(20, seed=9), partial(score_differences, older))["against"]
    assert found["gain"] > 0.6
    assert found["rank_correlation"] == pytest.approx(-1)
    assert found["scale"] == pytest.approx(0.5)
