"""Labels and folders that cannot be used: one clear message each, and before a model is loaded wherever that is known.

Own reward functions that hang or print are in test_user_function.py, empty and equal responses in test_reading.py.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from foundation.errors import UserError
from reward_model.config import RewardConfig
from reward_model.evaluation.evaluate import evaluate_reward
from reward_model.labels.selection import select
from reward_model.rewards.registry import build
from reward_model.scorer import RewardScorer
from reward_model.training.train import train_reward
from tests.reward_model.conftest import CONFIG
from tests.reward_model.planted import planted

NO_MODEL = "/no/such/model"
Rows = list[dict[str, Any]]


def ratings(prompts: int, responses: str = "xy", annotators: str = "a", score: int | None = None) -> Rows:
    """By each annotator, of each response to each prompt; y is better than x by two."""
    return [
        {"prompt": f"question {number}", "response": f"{response} {number}", "scale": 5, "aspect": "helpful",
         "score": score or (2 if response == "x" else 4), "annotator": annotator}
        for number in range(prompts) for response in responses for annotator in annotators
    ]  # fmt: skip


def swapped(rows: Rows) -> Rows:
    return [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in rows]


def tied(rows: Rows) -> Rows:
    return [{**row, "p_chosen": 0.5, "p_tie": 1.0} for row in rows]


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (tied(planted(20)), {}, "every comparison is a tie: nothing says which response is better"),
        (ratings(20, responses="x"), {}, "no prompt has two responses that were rated differently"),
        (ratings(20, score=3), {}, "no prompt has two responses that were rated differently"),
        (ratings(20), {"aspects": ("honest",)}, r'nobody rated the aspect "honest" .*; rated: helpful. Correct'),
        ([{**row, "weight": 0} for row in planted(20)], {}, "no label has a weight above 0"),
        ([*planted(20), *swapped(planted(20))], {}, "preferred as often as the other: .* Get more"),
        ([{"prompt": "p", "responses": ["a"], "ranks": [1]}], {}, 'preference 1: .*two or more "responses"'),
        ([{"prompt": "p", "response": "a", "score": 9, "scale": 5}], {}, 'preference 1: .* "score" from 1 to'),
        ([{**planted(1)[0], "weight": float("nan")}], {}, 'preference 1: the field "weight" must be a number'),
    ],
    ids=["ties", "one response", "all rated alike", "aspect", "no weight", "contradictions", "ranking", "score", "nan"],
)  # fmt: skip
def test_labels_that_teach_nothing_are_refused_before_a_model_is_loaded(
    rows: Rows, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        train_reward(RewardConfig(held_out=0.3, **settings), NO_MODEL, rows, tmp_path)
    assert not any(tmp_path.iterdir())


def test_held_out_prompts_with_ties_alone_cannot_measure(tmp_path: Path) -> None:
    rows = planted(20)
    with pytest.raises(UserError, match="no held-out prompt has two responses of which one was preferred"):
        train_reward(RewardConfig(), NO_MODEL, rows[:15], tmp_path, held_out=tied(rows[15:]))


def test_contradictory_duplicates_are_kept_and_counted() -> None:
    rows = planted(20)
    selection = select(RewardConfig(), [*rows, *swapped(rows[:3])], 0, held_out=planted(4, seed=9))
    assert len(selection.train) == 23
    assert selection.counts()["contradictions"] == 3


def test_one_annotator_is_enough_to_learn_from(tiny_model: Path, tmp_path: Path) -> None:
    figures = train_reward(CONFIG, str(tiny_model), ratings(20), tmp_path, dtype="float32", device="cpu")
    assert figures["training_ratings"] > 20
    assert figures["n"] > 0


def test_one_annotator_has_no_other_to_be_held_against(trained: tuple[Path, dict[str, Any]]) -> None:
    rows = [{**row, "annotators": ["only"], "votes": [1]} for row in planted(8, seed=4)]
    found = evaluate_reward(trained[0], rows)
    assert found["annotators"]["only"]["agreement"] == found["accuracy"]
    assert found.get("human_ceiling") is None


@pytest.mark.parametrize(
    ("shape", "message"),
    [((2, 32), "gives 2 scores"), ((32,), "gives 32 scores"), ((1, 48), "48 wide")],
    ids=["two scores", "no matrix", "another width"],
)
def test_a_score_head_of_another_size(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path, shape: tuple[int, ...], message: str
) -> None:
    folder = shutil.copytree(trained[0], tmp_path / "reward")
    weights = load_file(folder / "adapter_model.safetensors")
    weights = {name: torch.ones(shape) if ".score." in name else w for name, w in weights.items()}
    save_file(weights, folder / "adapter_model.safetensors")
    with pytest.raises(UserError, match=f"the score head in .*{message}"):
        RewardScorer.load(folder)


@pytest.mark.parametrize("name", ["bleu", "chrf", "rouge"])
def test_a_reward_that_compares_needs_references(name: str) -> None:
    with pytest.raises(UserError, match=f'"{name}" needs references, and row 2 has none. Give every'):
        build({"name": name})(prompts=["p", "q"], completions=["x", "y"], references=[["x"], []])
