"""The reward model's benchmarks on the tiny model: figures by hand, the shape of their files, going on after a stop."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import reward_training, soft_labels, uncertainty
from benchmarks.rewards import selection, simulated
from benchmarks.rewards.resampling import interval, resampled
from benchmarks.rewards.runs import Runs
from foundation.files import write_json, write_jsonl
from reward_model.uncertainty import Laplace
from tests.reward_model.planted import planted

# --- by hand ---


def test_prompts_are_resampled_with_all_their_pairs() -> None:
    times = resampled(["a", "a", "b"], draws=50)
    assert (times[:, 0] == times[:, 1]).all()
    assert (times[:, 0] + times[:, 2] == 2).all()
    low, high = interval(np.array([1.0, 1.0, 0.0]), ["a", "a", "b"])
    assert (low, high) == (0, 1)  # two prompts say next to nothing


def test_errors_are_counted_by_fifth_from_the_least_certain() -> None:
    certainty = np.array([[0.9, 0.1, 0.5, 0.3, 0.7]] * 2)
    wrong = np.array([[0.0, 1.0, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0, 0.0]])
    found = uncertainty._by_certainty(wrong, certainty, np.ones((3, 5), dtype=int))
    assert found["errors"] == [1.0, 0.5, 0.0, 0.5, 0.5]
    assert found["ratio"] == found["ratio_low"] == 2.0


def test_the_head_is_where_the_gradient_vanishes() -> None:
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    head = selection.map_head(x, prior=0.5)
    assert torch.allclose(x.T @ (1 - torch.sigmoid(x @ head)), 0.5 * head, atol=1e-9)


def test_pairs_that_say_the_same_are_not_both_asked_for() -> None:
    """The second pair repeats the first, the third is smaller and new."""
    x = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 1.5]], dtype=torch.float64)
    posterior = Laplace.fit(torch.zeros(1, 2), torch.zeros(2), prior_precision=0.5)
    assert selection.most_informative(x, torch.zeros(2, dtype=torch.float64), posterior, 2) == [0, 2]


def test_both_ways_of_choosing_begin_with_the_same_labels_and_learn() -> None:
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(150, 3, generator=draw, dtype=torch.float64)
    x = torch.where((x @ torch.ones(3, dtype=torch.float64) > 0)[:, None], x, -x)
    found = selection.curves(x, [str(i) for i in range(150)], [4, 30], repeats=3)
    assert (found["random"][:, 0] == found["uncertain"][:, 0]).all()
    assert min(found["random"][:, 1].min(), found["uncertain"][:, 1].min()) > 0.85


def test_finished_runs_are_not_run_again_and_not_mixed_with_others(tmp_path: Path) -> None:
    results = tmp_path / "found.json"
    assert Runs(results, {"limit": 1}, 2).once("first", lambda: 5) == 5
    assert Runs(results, {"limit": 1}, 2).once("first", lambda: 6) == 5
    with pytest.raises(SystemExit, match="other settings"):
        Runs(results, {"limit": 2}, 2)


# --- simulated labels ---


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with questions and answers as in the published file, made up."""
    topics = ["bread", "tides", "glass", "bees", "clocks", "salt", "rivers", "paper", "kites", "wool", "ink", "snow"]
    rows = [
        {"question": f"Where does {topic} come from?", "gold": f"People say that {topic} comes from many far places. "
         f"Nobody knows more about {topic} than that."}
        for topic in topics
    ]  # fmt: skip
    write_json(tmp_path / "finegrained_qa_feedback_dev" / "dev_feedback.json", rows)
    return tmp_path


def test_weights_from_the_store_give_better_labels_than_a_majority(data: Path) -> None:
    asked = simulated.questions(data, 12, seed=0)
    rows = simulated.pair_rows(asked, seed=0, overlap=3, each=6, skills=soft_labels.CROWDS["five"])
    right = {name: simulated.share_right(found) for name, found in rows.items()}
    assert right["weighed"] > right["majority"] == right["votes"]
    assert all(row["p_chosen"] == 1 for row in rows["majority"])
    assert any(row["p_chosen"] < 1 for row in rows["votes"])
    assert simulated.share_right(simulated.clean_pairs(asked)) == 1


def test_the_same_responses_are_labelled_as_pairs_rankings_and_ratings(data: Path) -> None:
    asked = simulated.questions(data, 4, seed=0)
    rows = {kind: simulated.rows_of_kind(asked, kind, seed=0) for kind in soft_labels.KINDS}
    assert 12 <= len(rows["pairs"]) <= 24  # without ties
    assert [sorted(row["ranks"]) for row in rows["rankings"]] == [[1, 2, 3, 4]] * 4
    assert len(rows["ratings"]) == 16


def run(module: Any, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", *map(str, arguments)])
    module.main()


SMALL = ("--set", "lora_rank=2", "--set", "learning_rate=0.01", "--set", "margin=false")


def test_the_figures_of_soft_labels(
    data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, figure = tmp_path / "soft.json", tmp_path / "soft.svg"
    counts = ("--questions", 6, "--ranked", 4, "--test", 4, "--seeds", 1)
    files = ("--data", data, "--json", file, "--figure", figure)
    run(soft_labels, monkeypatch, "--model", tiny_model, *counts, *files, *SMALL)
    found = json.loads(file.read_text())
    assert set(found["votes"]) == {"five", "four"}
    assert set(found["votes"]["four"]) == {"majority", "votes", "weighed"}
    assert set(found["votes"]["four"]["weighed"]["accuracy"]) == {"value", "low", "high"}
    assert found["kinds"]["pairs"]["tau_with_pairs"]["value"] == 1
    assert "ratings" in figure.read_text()


# --- the others ---


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    write_jsonl(tmp_path / "pairs.jsonl", planted(40))
    return f"planted={tmp_path / 'pairs.jsonl'}"


def test_the_figures_of_uncertainty(
    pairs: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, figure = tmp_path / "uncertainty.json", tmp_path / "uncertainty.svg"
    counts = ("--members", 2, "--limit", 12, "--test", 15, "--labels", 4, 8, "--repeats", 2)
    arguments = ("--pairs", pairs, "--model", tiny_model, *counts, "--json", file, "--figure", figure, *SMALL)
    run(uncertainty, monkeypatch, *arguments)
    found = json.loads(file.read_text())
    assert 0 <= found["error_least_uncertain"] <= found["error_most_uncertain"] <= 1
    assert found["n"] == 15
    assert min(found["laplace"]["bytes"], found["ensemble"]["bytes"]) > 0
    assert found["selection"]["labels"] == [4, 8]
    assert "ensemble" in figure.read_text()

    monkeypatch.setattr(uncertainty, "train_reward", None)  # nothing is left to train
    run(uncertainty, monkeypatch, *arguments)


def test_the_figures_of_reward_training(
    pairs: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "training.json"
    small = ("--pairs", pairs, "--model", tiny_model, "--seeds", 1, "--limit", 12, "--test", 12, "--rank", 2)
    run(reward_training, monkeypatch, *small, "--trl-learning-rate", 1e-3, "--json", file)
    found = json.loads(file.read_text())
    assert list(found) == ["planted"]
    assert set(found["planted"]) >= {
        "accuracy", "accuracy_low", "accuracy_high", "trl_accuracy", "trl_gain", "trl_time_ratio", "trl_memory_ratio",
        "ece_before", "ece_after", "longer_wins", "bag_of_words", "bag_of_words_gain", "seeds",
    }  # fmt: skip
    runs = json.loads((tmp_path / "training.runs.json").read_text())
    assert list(runs["runs"]) == ["planted, seed 0, ours", "planted, seed 0, trl"]
    assert {"machine", "command", "settings"} <= set(runs)
    assert len(runs["runs"]["planted, seed 0, trl"]["differences"]) == 12


def test_reward_training_beside_a_probe(
    pairs: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "training.json"
    small = ("--pairs", pairs, "--model", tiny_model, "--seeds", 1, "--limit", 12, "--test", 12, "--rank", 2)
    run(reward_training, monkeypatch, *small, "--beside", "probe", "--json", file)
    found = json.loads(file.read_text())["planted"]
    assert {"probe_accuracy", "probe_gain", "probe_time_ratio", "probe_ece_before"} <= set(found)
    assert not any(name.startswith("trl_") for name in found)
