"""Runs whose reward is a probe of the base, or may be."""

from pathlib import Path

from foundation.files import read_json
from pipeline import stages
from tests.pipeline import tiny


def test_a_policy_is_tuned_towards_a_probe_and_measured_by_it(tiny_settings: list[str], tmp_path: Path) -> None:
    run, config, console = tiny.opened(tmp_path / "run", [*tiny_settings, "reward.learn=probe"])
    stages.loop(run, config, console, simulated=True)
    assert "It is a probe of the base; no adapter was trained." in tiny.printed(console).replace("\n", " ")
    assert read_json(run.folder / "reward" / "reward.json")["reward_model"] == "probe"
    assert run.record("policy") is not None
    evaluated = read_json(run.folder / "evaluation.json")["sampled"]
    assert all(pair["scores"]["reward model"]["policy"] is not None for pair in evaluated["pairs"])


def test_by_default_both_are_learned_and_one_is_taken(tiny_settings: list[str], tmp_path: Path) -> None:
    run, config, console = tiny.opened(tmp_path / "run", [*tiny_settings, "reward.learn=auto"])
    stages.loop(run, config, console, simulated=True)
    figures = read_json(run.folder / "reward" / "reward.json")
    better, other = sorted(("adapter", "probe"), key=lambda name: -figures[f"{name}_likelihood"])
    assert figures["reward_model"] == better
    assert f"It is the {better}: held-out labels are likelier under it" in tiny.printed(console)
    assert f"than under the {other}, {figures[f'{other}_likelihood']:.3f}" in tiny.printed(console)
    assert run.record("policy") is not None
