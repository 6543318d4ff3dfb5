"""Several reward models on one base: where they differ they say so, and what they agree on stays."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from backbone.adapters import SharedBase
from backbone.exactness import load_shared_base
from foundation.errors import UserError
from foundation.files import read_json
from reward_model.ensemble import Ensemble, load_scorer
from reward_model.evaluation.score_differences import score_differences
from reward_model.labels.reading import to_pairs
from reward_model.scorer import RewardScorer
from reward_model.training import train_ensemble as module
from reward_model.training.train_ensemble import train_ensemble
from tests.reward_model.conftest import CONFIG
from tests.reward_model.planted import planted

ROWS = planted(40)
SMALL = CONFIG.model_copy(update={"learn": "auto", "ensemble": 2, "epochs": 1.0})
CPU: dict[str, Any] = {"dtype": "float32", "device": "cpu"}


@pytest.fixture(scope="module")
def made(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[int]]:
    """A folder with two reward models, the figures, and the steps that were told."""
    folder = tmp_path_factory.mktemp("ensemble")
    told: list[dict[str, Any]] = []
    figures = train_ensemble(SMALL, str(tiny_model), ROWS, folder, on_step=lambda row: told.append(dict(row)), **CPU)
    assert {row.get("phase") for row in told} == {None, "measure 1", "measure 2"}
    return folder, figures, [row["step"] for row in told if "phase" not in row]


@pytest.fixture
def base(tiny_model: Path) -> SharedBase:
    return load_shared_base(str(tiny_model), "float32", "cpu")


def ids(base: SharedBase) -> tuple[list[list[int]], list[list[int]]]:
    rows = planted(8, seed=3)
    render = base.renderer
    said = [render.response_ids(row["chosen"][0]["content"]) for row in rows]
    return [render.prompt_ids(row["prompt"]) for row in rows], said


def test_members_differ_and_are_told_as_one_training(made: tuple[Path, dict[str, Any], list[int]]) -> None:
    folder, figures, steps = made
    first, second = (load_file(path / "adapter_model.safetensors") for path in (folder, folder / "ensemble" / "1"))
    assert any(not torch.equal(first[name], second[name]) for name in first)
    assert steps == list(range(1, len(steps) + 1))
    assert figures["n"] == read_json(folder / "ensemble" / "1" / "reward.json")["n"]
    assert 0 <= figures["ensemble_accuracy"] <= 1
    assert figures["ensemble_seconds"] > figures["seconds"]


def test_the_score_is_the_mean_and_the_spread_knows_no_zero(
    made: tuple[Path, dict[str, Any], list[int]], base: SharedBase
) -> None:
    found = load_scorer(made[0], base)
    assert isinstance(found, Ensemble)
    assert found.unsure
    prompts, responses = ids(base)
    mean, std = found.score(prompts, responses, return_std=True)
    alone = torch.stack([member.score(prompts, responses) for member in found.members])
    centred = alone - torch.tensor(found.centres)[:, None]
    torch.testing.assert_close(mean, centred.mean(0))
    torch.testing.assert_close(std, (centred[0] - centred[1]).abs() / 2**0.5)
    shifted = Ensemble(found.members, (found.centres[0] + 5, found.centres[1] + 5))
    torch.testing.assert_close(shifted.score(prompts, responses, return_std=True)[1], std)
    torch.testing.assert_close(found.score(prompts, responses), mean)


def test_accuracy_is_of_the_mean_score_and_leaves_ties_out(
    made: tuple[Path, dict[str, Any], list[int]], base: SharedBase
) -> None:
    found = load_scorer(made[0], base)
    assert isinstance(found, Ensemble)
    rows = planted(30, seed=5)
    found.members[1].head.mul_(-10)  # so that the mean is not of the first one's mind
    differences = np.mean([score_differences(member, to_pairs(rows)) for member in found.members], axis=0)
    assert found.accuracy(rows) == pytest.approx((differences > 0).mean())
    assert found.accuracy(rows) < Ensemble(found.members[:1], found.centres[:1]).accuracy(rows)
    ties = [{**row, "p_chosen": 0.5} for row in rows[:10]]
    assert found.accuracy([*ties, *rows]) == found.accuracy(rows)


def test_a_folder_with_an_ensemble_is_still_an_ordinary_reward_model(
    made: tuple[Path, dict[str, Any], list[int]], base: SharedBase
) -> None:
    assert isinstance(RewardScorer.load(made[0], base), RewardScorer)


def test_one_reward_model_is_no_ensemble(trained: Any, base: SharedBase) -> None:
    assert isinstance(load_scorer(trained[0], base), RewardScorer)
    assert not (trained[0] / "ensemble.json").exists()


def test_finished_members_are_not_trained_again(
    made: tuple[Path, dict[str, Any], list[int]], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(made[0], tmp_path / "reward")
    calls: list[Path] = []
    monkeypatch.setattr(module, "train_reward", lambda *given, **more: calls.append(given[3]))
    again = train_ensemble(SMALL, str(tiny_model), ROWS, folder, **CPU)
    assert calls == []
    assert again["ensemble_accuracy"] == made[1]["ensemble_accuracy"]
    train_ensemble(SMALL.model_copy(update={"epochs": 2.0}), str(tiny_model), ROWS, folder, **CPU)
    assert calls == [folder, folder / "ensemble" / "1"]


def test_a_damaged_ensemble_is_one_message(
    made: tuple[Path, dict[str, Any], list[int]], base: SharedBase, tmp_path: Path
) -> None:
    folder = shutil.copytree(made[0], tmp_path / "reward")
    (folder / "ensemble.json").write_text("{}")
    with pytest.raises(UserError, match=r"ensemble\.json is damaged"):
        load_scorer(folder, base)
