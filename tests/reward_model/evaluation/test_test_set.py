"""Published test sets with several responses a prompt, and the scores that they define."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from foundation.errors import UserError
from reward_model.evaluation.test_set import best_of_k, figures, is_test_set, questions, ties_score

RIGHT = np.array([1.0, 0.0, 0.0, 0.0])


def by_digits(prompts: Any, responses: Any) -> np.ndarray:
    """The number that a response ends with is its score."""
    return np.array([float(text.split()[-1]) for text in responses])


def four(number: int, scores: list[float], subset: str = "Math") -> dict[str, Any]:
    """A row as RewardBench 2 has it; the first response is right."""
    texts = [f"says {score}" for score in scores]
    return {"id": str(number), "prompt": f"q{number}", "chosen": texts[:1], "rejected": texts[1:], "subset": subset}


def test_the_right_response_has_to_score_highest_and_equal_ones_share_it() -> None:
    rows = [four(1, [3, 2, 1, 0]), four(2, [0, 2, 1, 3]), four(3, [3, 3, 1, 0]), four(4, [5, 5, 5, 5])]
    found = figures(questions(list(enumerate(rows, 1)), "file"), by_digits)
    assert found["subsets"]["Math"]["score"] == (1 + 0 + 1 / 2 + 1 / 4) / 4
    assert found["subsets"]["Math"]["n"] == 4
    assert "curve" not in found["subsets"]["Math"]


def test_the_score_is_the_mean_of_subsets_of_any_size() -> None:
    rows = [four(1, [3, 2, 1, 0]), four(2, [0, 2, 1, 3], "Safety"), four(3, [0, 2, 1, 3], "Safety")]
    found = figures(questions(list(enumerate(rows, 1)), "file"), by_digits)
    assert found["score"] == 0.5


def test_ties_are_scored_by_their_accuracy_and_their_margins() -> None:
    one = np.array([1.0, 0, 0])
    two = np.array([1.0, 1, 0])
    judged = [
        ("ref:1", np.array([3.0, 1, 0]), one),  # 2 above
        ("tied:1", np.array([5.0, 4, 0]), two),  # 4 above, 1 apart: closer, and in both
        ("ref:2", np.array([1.0, 2, 0]), one),  # 1 below
        ("tied:2", np.array([9.0, 3, 2]), two),  # 1 above, 6 apart: not closer
    ]
    found = ties_score(judged)
    margin = (np.tanh(2 / 1 - 1) + np.tanh(-1 / 6 - 1)) / 2
    assert (found["ref_accuracy"], found["tied_accuracy"]) == (0.5, 1.0)
    assert (found["closer"], found["closer_in_both"]) == (0.5, 0.5)
    assert found["score"] == pytest.approx(0.3 * 1.5 + 0.2 * 1.0 + 0.01 * margin)


def test_right_responses_of_one_score_leave_the_ratio_out_where_it_is_not_defined() -> None:
    zeros = np.zeros(3)
    found = ties_score([("ref:1", zeros, np.array([1.0, 0, 0])), ("tied:1", zeros, np.array([1.0, 1, 0]))])
    assert found["score"] == 0


@pytest.mark.parametrize("equal", [False, True])
def test_best_of_k_is_the_mean_over_all_choices(equal: bool) -> None:
    draw = np.random.default_rng(int(equal))
    scores = draw.integers(0, 3, 6).astype(float) if equal else draw.normal(size=6)
    right = draw.integers(0, 2, 6).astype(float)
    found = best_of_k([(scores, right)])
    for k in range(1, 7):
        chosen = [list(some) for some in combinations(range(6), k)]
        tops = [[i for i in some if scores[i] == scores[some].max()] for some in chosen]
        expected = np.mean([right[top].mean() for top in tops])
        assert found["curve"][k - 1] == pytest.approx(expected, abs=1e-6)
    assert found["end"] == pytest.approx(found["curve"][-1], abs=1e-6)


def test_who_knows_what_is_right_makes_no_error() -> None:
    right = np.array([0, 1, 0, 1, 0.0])
    assert best_of_k([(right, right)])["error"] == 0
    assert best_of_k([(right, right)])["pair_accuracy"] == 1
    assert best_of_k([(-right, right)])["pair_accuracy"] == 0
    assert best_of_k([(-right, right)])["end"] == 0


def test_sets_of_ppe_are_read() -> None:
    row = {"question_id": "a", "prompt": "2 + 2?", "scores": [True, False, True]}
    row |= {f"response_{number}": f"says {number}" for number in (1, 2, 3)}
    assert is_test_set(row)
    found = figures(questions([(1, row)], "file"), by_digits)["subsets"]["all"]
    assert found["score"] == 1
    assert found["curve"] == pytest.approx([2 / 3, 2 / 3, 1])
    assert found["pair_accuracy"] == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": " "}, 'file, line 4: the field "prompt" must be a text'),
        ({"subset": "Ties", "id": "7"}, 'needs an "id" such as "ref:7"'),
        ({"chosen": None, "response_1": "a", "scores": [True, True]}, 'in "scores" how right each is'),
        ({"chosen": None, "response_1": "a", "scores": ["yes"]}, "must be true, false or numbers"),
        ({"chosen": None, "response_1": "a", "scores": [float("nan")]}, "must be true, false or numbers"),
        ({"rejected": []}, 'line 4: a question needs "chosen" and "rejected", each a list of one text or more'),
        ({"chosen": "one", "rejected": "two"}, "each a list of one text or more"),
        ({"chosen": None, "response_1": 3, "scores": [True]}, "every response must be a text"),
    ],
)
def test_bad_rows_are_refused_by_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        questions([(4, four(1, [3, 2, 1, 0]) | change)], "file")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["ref:7", "tied:7", "tied:07"], r"file, line 3: the question tied:07 is there already \(file, line 2\)"),
        (["ref:1", "ref:2", "tied:3"], 'file: "ties" needs questions with the ids "ref:N" and "tied:N" of the same'),
    ],
)
def test_ties_that_have_no_score_are_refused_before_anything_is_scored(ids: list[str], message: str) -> None:
    rows = [four(0, [3, 2, 1, 0], "Ties") | {"id": name} for name in ids]
    with pytest.raises(UserError, match=message):
        questions(list(enumerate(rows, 1)), "file")


@pytest.mark.parametrize("change", [{"chosen": []}, {"rejected": []}, {"chosen": "one text"}])
def test_a_first_question_without_right_or_wrong_responses_is_a_question_all_the_same(change: dict[str, Any]) -> None:
    row = four(1, [3, 2, 1, 0]) | change
    assert is_test_set(row)
    with pytest.raises(UserError, match=r"line 1: .* each a list of one text or more"):
        questions([(1, row)], "file")


def test_pairs_are_no_test_set() -> None:
    assert not is_test_set({"prompt": "a", "chosen": "b", "rejected": "c"})
    assert not is_test_set(
        {"chosen": [{"role": "user", "content": "b"}], "rejected": [{"role": "user", "content": "c"}]}
    )
