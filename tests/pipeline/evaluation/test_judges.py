"""What best-of-n chooses by: the reward that the policy was tuned towards, whoever judges."""

import shutil
from pathlib import Path

import pytest

from pipeline import stages
from pipeline.evaluation.judges import SCORE, judges_of
from reward_model.ensemble import load_scorer
from tests import shared_base
from tests.pipeline import tiny

LENGTH = '{"name": "length", "target": 3, "unit": "tokens"}'
RUNNING = '{"name": "length", "target": 3, "unit": "tokens", "normalise": "running"}'
MIXED = f'rewards=[{{"name": "learned", "weight": 0.5}}, {LENGTH}]'
RESPONSES = [[40, 41, 42], [40] * 7]


@pytest.mark.parametrize(
    ("overrides", "share_of_model", "by_length"),
    [
        ([f"rewards=[{LENGTH}]"], 0.0, True),
        ([MIXED], 0.5, True),
        ([], 1.0, False),
        ([f"rewards=[{LENGTH}]", "evaluate.best_of_n=1"], 1.0, False),  # nothing is chosen: the judge stands for it
        (["policy.algorithm=dpo"], 1.0, False),
    ],
)
def test_best_of_n_chooses_by_the_rewards_that_the_policy_was_tuned_towards(
    finished: Path, tiny_settings: list[str], tiny_model: Path,
    overrides: list[str], share_of_model: float, by_length: bool,
) -> None:  # fmt: skip
    run, config, _ = tiny.opened(finished, [*tiny_settings, "evaluate.best_of_n=3", *overrides])
    rows = [{"prompt": tiny.ask(topic)} for topic in tiny.TOPICS[:2]]
    base = shared_base.load(tiny_model)
    judges, chooser = judges_of(config, base, rows, run.folder / "reward", False)
    assert list(judges) == [SCORE]
    asked = [base.renderer.prompt_ids(row["prompt"]) for row in rows]
    alone = load_scorer(run.folder / "reward", shared_base.load(tiny_model)).score(asked, RESPONSES)
    lengths = alone.new_tensor([-abs(len(ids) - 3) for ids in RESPONSES])
    found = chooser.score(asked, RESPONSES) - share_of_model * alone
    if by_length:  # whatever the scale of the length reward is, a response of three tokens is better than one of seven
        assert found[0] > found[1]
        assert lengths[0] > lengths[1]
    else:
        assert found.tolist() == pytest.approx([0.0, 0.0], abs=1e-4)


def test_what_best_of_n_chooses_by_is_among_the_settings_of_the_evaluation(
    finished: Path, tiny_settings: list[str], tmp_path: Path
) -> None:
    path = shutil.copytree(finished, tmp_path / "run")
    mixed = [*tiny_settings, f'rewards=[{{"name": "learned"}}, {RUNNING}]', "policy.steps=1", "evaluate.best_of_n=2"]
    run, config, console = tiny.opened(path, mixed)
    stages.policy(run, config, console)
    assert stages.evaluate(run, config, console).basis.config["rewards"] == config.rewards_as_json
    run, config, console = tiny.opened(path, [*mixed, "evaluate.best_of_n=1"])
    assert "rewards" not in stages.evaluate(run, config, console).basis.config
