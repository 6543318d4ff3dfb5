from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.reporting.cautions import _exploits, _kept, _moved
from pipeline.runs.folder import Run


def evaluated(words: float = 40.0, alike: float = 1.0, kl: float = 3.0, rate: float = 0.9) -> dict[str, Any]:
    measures = {"base": {"words": 40.0}, "policy": {"words": words}}
    sampled = {"win_rates": {"reward model": {"win_rate": rate}}, "measures": measures}
    return {"sampled": sampled, "distinct2_ratio": alike, "mean_kl": kl}


def told(target: float | None = 3.0, judge_high: float = 0.1, **changes: float) -> list[str]:
    record = SimpleNamespace(
        basis=SimpleNamespace(config={"kl_target": target}), figures={"judge_high": judge_high, "kl": 3.0}
    )
    run: Any = SimpleNamespace(record=lambda stage: record)
    return _exploits(run, evaluated(**changes))


@pytest.mark.parametrize(
    ("changes", "sign"),
    [
        ({"words": 9.0}, "0.23 times as long"),
        ({"words": 70.0}, "1.75 times as long"),
        ({"alike": 0.8}, "distinct-2 is 0.80 of the base's"),
        ({"kl": 10.2}, "KL of 10.2 nats is beyond the target of 3"),
        ({"judge_high": -0.01}, "never saw likes them less than those that training began with"),
    ],
)
def test_a_gain_with_a_sign_of_an_exploit_is_called_one(changes: dict[str, float], sign: str) -> None:
    (sentence,) = told(**changes)
    assert sentence.startswith("The policy's gain is likely an exploit of the reward: ")
    assert sign in sentence


def test_a_gain_within_its_bounds_and_no_gain_are_not() -> None:
    assert told() == []
    assert told(kl=10.2, target=None) == []
    assert told(words=9.0, rate=0.4) == []


def test_a_stopped_training_says_which_alarm_and_whose_adapter_is_kept() -> None:
    (sentence,) = _kept(Run(Path("runs/mine")), {"stopped": ["length"], "ended_step": 17, "kept_step": 10})
    assert "stopped at step 17 by the alarm length. The adapter is that of step 10" in sentence
    assert "`rlhf samples --run runs/mine`" in sentence
    (sentence,) = _kept(Run(Path("runs/mine")), {"stopped": ["length"], "ended_step": 7, "kept_step": 0})
    assert "The adapter is as it began, for" in sentence
    scaled = {"stopped": ["length"], "ended_step": 7, "kept_step": 0, "adapter_scale": 0.5}
    (sentence,) = _kept(Run(Path("runs/mine")), scaled)
    assert "The adapter is as it began but for its scale, for" in sentence
    assert _kept(Run(Path("runs/mine")), {"kl": 3.0}) == []


def test_an_adapter_that_the_held_out_judge_chose_says_so() -> None:
    (sentence,) = _kept(Run(Path("runs/mine")), {"ended_step": 40, "kept_step": 20})
    assert sentence.startswith("The adapter is that of step 20: a judge from labels that the reward model never saw")
    assert sentence.endswith("step 40, the last.")
    (sentence,) = _kept(Run(Path("runs/mine")), {"stopped": ["judge"], "ended_step": 30, "kept_step": 20})
    assert sentence.endswith("step 30, where training was stopped.")


def test_an_adapter_that_was_scaled_down_says_by_how_much() -> None:
    (sentence,) = _moved({"adapter_scale": 0.8512, "kl_kept": 3.04})
    assert "scaled by 0.85, which leaves 3.0 nats" in sentence
    assert _moved({"kl": 3.0}) == []
