"""The benchmark of over-optimisation: fits and turning points on known curves, and the whole on a tiny model."""

import json
import math
import random
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import overoptimisation
from benchmarks.optimising.curves import at_same_kl, fit, turning

# --- curves that are known ---


@pytest.mark.parametrize("kind", ["best of n", "rl"])
def test_a_fit_finds_what_the_points_were_made_from(kind: str) -> None:
    kl = np.linspace(0.2, 9.0, 30)
    d = np.sqrt(kl)
    gain = d * (1.5 - 0.4 * (d if kind == "best of n" else np.log(d)))
    found = fit(kind, [(kl[::2], gain[::2] + 3.0, 3.0), (kl[1::2], gain[1::2] - 1.0, -1.0)])
    assert (found["alpha"], found["beta"]) == pytest.approx((1.5, 0.4))
    assert found["r2"] == pytest.approx(1.0)


def test_a_fit_says_where_gold_turns() -> None:
    kl = np.linspace(0.2, 9.0, 300)
    d = np.sqrt(kl)
    # Highest where the derivative is 0: alpha/(2 beta) for best-of-n, exp(alpha/beta - 1) for RL.
    bon = fit("best of n", [(kl, d * (2.0 - 0.5 * d), 0.0)])
    assert bon["turns_at_kl"] == pytest.approx(4.0)
    rl = fit("rl", [(kl, d * (1.0 - 0.8 * np.log(d)), 0.0)])
    assert rl["turns_at_kl"] == pytest.approx(math.exp(2 * (1 / 0.8 - 1)))
    assert fit("rl", [(kl, d, 0.0)])["turns_at_kl"] is None


def test_too_few_points_give_no_fit() -> None:
    assert fit("rl", [([0.0, 0.05, 1.0], [1.0, 2.0, 3.0], 0.0)])["alpha"] is None


def test_gold_that_falls_is_told_from_gold_that_wavers() -> None:
    noise = random.Random(0)
    rising = [min(step, 30) / 10 + noise.gauss(0, 0.1) for step in range(60)]
    falling = [(step if step < 30 else 60 - step) / 10 + noise.gauss(0, 0.1) for step in range(60)]
    assert not turning(rising)["turned"]
    found = turning(falling)
    assert found["turned"]
    assert 29 <= found["best_step"] <= 35
    assert found["last_gold"] < 1 < 2.5 < found["best_gold"]


def test_curves_are_compared_where_they_are_equally_far() -> None:
    slow = {"kl": list(np.linspace(0, 4, 200)), "gold": list(np.sqrt(np.linspace(0, 4, 200)) + 0.5)}
    fast = {"kl": list(np.linspace(0, 9, 200)), "gold": list(np.sqrt(np.linspace(0, 9, 200)))}
    found = at_same_kl(slow, fast)
    assert found["mean"] == pytest.approx(0.5, abs=0.03)
    assert found["at_most"] == pytest.approx(0.5, abs=0.03)
    assert found["up_to_kl"] == pytest.approx(4.0, abs=0.1)


def test_the_first_step_of_each_alarm_is_told() -> None:
    alarms = [[], ["length"], ["length", "kl"], ["kl"], []]
    assert overoptimisation.first_alarms(alarms) == {"length": 2, "kl": 3}


# --- the whole, on the tiny model ---


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_whole_goes_through_and_is_not_done_twice(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "over.json"
    arguments = ["--model", str(tiny_model), "--labels", "8", "--steps", "3", "--new-tokens", "8", "--prompts", "3",
                 "--best-of", "8", "--seeds", "1", "--json", str(file), "--figures", str(tmp_path)]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["overoptimisation.py", *arguments])
    overoptimisation.main()
    told = json.loads(file.read_text())
    curve = told["best_of_n"]["0"]
    assert curve["n"] == [1, 2, 4, 8]
    assert curve["kl"] == pytest.approx([math.log(n) - (n - 1) / n for n in curve["n"]])
    assert curve["kl_measured"] == pytest.approx(curve["kl"], abs=0.1)  # of eight responses, some perhaps the same
    assert curve["proxy"] == sorted(curve["proxy"])
    assert told["base_gold"]["0"] == curve["gold"][0]
    run = told["rl"]["proxy"]["0"]
    assert len(run["gold"]) == len(run["kl"]) == len(run["alarms"]) == 3
    assert all(-4 <= gold <= 2.5 for gold in run["gold"])
    assert all(std > 0 for std in run["std"])
    assert "KL of best-of-n" in capsys.readouterr().out
    assert (tmp_path / "overoptimisation.svg").is_file()

    monkeypatch.setattr(overoptimisation, "train_proxy", None)
    monkeypatch.setattr(overoptimisation, "best_of_n_curve", None)
    monkeypatch.setattr(sys, "argv", ["overoptimisation.py", *arguments, "--pessimism", "2"])
    overoptimisation.main()
    again = json.loads(file.read_text())
    assert again["rl"]["proxy"] == told["rl"]["proxy"]
    assert len(again["rl"]["pessimism 2"]["0"]["gold"]) == 3
    assert set(again["pessimism"]["gold_gained_at_same_kl"]["0"]) == {"mean", "at_most", "up_to_kl"}
    assert (tmp_path / "pessimism.svg").is_file()
