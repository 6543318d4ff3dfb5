"""The benchmark of learning curves on the tiny model: its figures by hand, its files, and going on after a stop."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from backbone.exactness import load_shared_base
from benchmarks import learning_curves
from policy.config import check_config

CURVE = {
    "samples": [32.0, 64.0, 96.0, 128.0, 160.0, 192.0],
    "seconds": [1.0, 2.0, 3.0, 4.0, 5.5, 6.0],
    "reward": [0.9, 0.0, 0.3, 0.6, 0.9, 0.9],
    "kl": [0.0, 0.1, 0.2, 0.3, 0.4, 0.5],
}


def test_the_set_reward_is_reached_when_the_mean_of_three_steps_is_there() -> None:
    # Means of three: -, -, 0.4, 0.3, 0.6, 0.8; one high first step is luck.
    found = learning_curves.measured(CURVE, set_reward=0.6)
    assert (found["samples_to_reward"], found["seconds_to_reward"]) == (160, 5.5)
    assert found["final_reward"] == pytest.approx((0.0 + 0.3 + 0.6 + 0.9 + 0.9) / 5)
    assert found["final_kl"] == pytest.approx(0.3)


def test_a_reward_that_was_not_reached_has_no_samples() -> None:
    found = learning_curves.measured(CURVE, set_reward=0.85)
    assert found["samples_to_reward"] is None
    assert found["seconds_to_reward"] is None
    assert found["samples"] == 192


def test_the_reward_counts_short_words(tiny_model: Path) -> None:
    base = load_shared_base(str(tiny_model), "float32", "cpu")
    texts = ["the cat walked", "walked", "", "1 2 3"]
    scores = learning_curves.ShortWords(base.renderer).score([[1]] * 4, [base.renderer.response_ids(t) for t in texts])
    assert scores.tolist() == pytest.approx([2 / 3, 0.0, 0.0, 0.0])


def test_two_algorithms_are_compared_seed_by_seed() -> None:
    reached = {"samples_to_reward": 160, "samples": 640}
    short = {"samples_to_reward": None, "samples": 640}
    found = {"a": {"0": reached, "1": reached}, "b": {"0": short, "1": reached}}
    told = learning_curves.compared(found, "a", "b")
    assert told.endswith("160 against 160; 160 against 640 or more")
    assert learning_curves.compared(found, "a", "c") == ""


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["learning_curves.py", *arguments])
    learning_curves.main()


def test_every_run_is_told_once_and_kept(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, figure = tmp_path / "curves.json", tmp_path / "figures" / "curves.svg"
    small = ["--model", str(tiny_model), "--steps", "3", "--new-tokens", "4", "--set-reward", "2", "--json", str(file)]
    calls: list[tuple[str, int]] = []
    learn = learning_curves.learn

    def counted(name: str, seed: int, options: Any) -> Any:
        calls.append((name, seed))
        return learn(name, seed, options)

    monkeypatch.setattr(learning_curves, "learn", counted)
    names = ["reinforce_value", "rloo"]
    run(monkeypatch, *small, "--seeds", "1", "--algorithms", *names, "--figure", str(figure))
    found = json.loads(file.read_text())
    assert list(found) == names
    for by_seed in found.values():
        assert by_seed["0"]["samples"] == 3 * 32
        assert by_seed["0"]["samples_to_reward"] is None
        assert {"seconds_to_reward", "final_reward", "final_kl"} <= set(by_seed["0"])
    assert "96 or more (0 of 1 got there)" in capsys.readouterr().out
    assert "reinforce value" in figure.read_text()

    run(monkeypatch, *small, "--seeds", "2", "--algorithms", "rloo")
    assert calls == [("reinforce_value", 0), ("rloo", 0), ("rloo", 1)]
    again = json.loads(file.read_text())
    assert {name: again[name]["0"] for name in names} == {name: found[name]["0"] for name in names}
    assert again["rloo"]["1"]["final_reward"] != found["rloo"]["0"]["final_reward"]


def test_trl_gives_the_same_kind_of_curve(tiny_model: Path) -> None:
    options = learning_curves._options(["--model", str(tiny_model), "--steps", "2", "--new-tokens", "4"])
    curve = learning_curves.learn("trl_rloo", 0, options)
    assert curve["samples"] == [32, 64]
    assert all(len(values) == 2 for values in curve.values())
    assert curve["seconds"][0] < curve["seconds"][1]


@pytest.mark.parametrize("name", learning_curves.ALGORITHMS)
def test_the_settings_of_each_algorithm_are_accepted(name: str) -> None:
    options = learning_curves._options([])
    check_config(learning_curves.config_of(name, options), prompts=8)
