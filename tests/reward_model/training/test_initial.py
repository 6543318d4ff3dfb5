"""Training that begins with a reward model, trained here or elsewhere."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from foundation.errors import UserError
from reward_model.config import RewardConfig
from reward_model.score_head import ASPECTS
from reward_model.training.train import train_reward
from tests.reward_model.conftest import CONFIG
from tests.reward_model.planted import planted
from tests.reward_model.training.test_train_signal import CPU, judged

WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"
STILL: dict[str, Any] = {"learning_rate": 1e-12, "lora_rank": 2, "epochs": 0.1}


def begun_at(initial: Path, **settings: Any) -> RewardConfig:
    return CONFIG.model_copy(update={"initial": initial, **settings})


def test_training_begins_at_adapter_and_head_of_the_folder(
    trained: tuple[Path, dict[str, Any]], tiny_model: Path, tmp_path: Path
) -> None:
    train_reward(begun_at(trained[0], **STILL), str(tiny_model), planted(60, seed=1), tmp_path, **CPU)
    before, after = load_file(trained[0] / WEIGHTS), load_file(tmp_path / WEIGHTS)
    assert before.keys() == after.keys()
    assert any(".score." in name and bool(value.any()) for name, value in before.items())
    assert all(torch.allclose(value, after[name], atol=1e-6) for name, value in before.items())
    assert json.loads((tmp_path / SETTINGS).read_text())["r"] == CONFIG.lora_rank


def test_what_was_known_before_is_known_after_one_step(
    trained: tuple[Path, dict[str, Any]], tiny_model: Path, tmp_path: Path
) -> None:
    """Where people say the contrary, one small step does not unlearn it; a new model follows them."""
    few = {"epochs": 0.1, "learning_rate": 1e-5}
    rows = [row | {"chosen": row["rejected"], "rejected": row["chosen"]} for row in planted(60, seed=2)]
    known = train_reward(begun_at(trained[0], **few), str(tiny_model), rows, tmp_path / "known", **CPU)
    new = train_reward(CONFIG.model_copy(update=few), str(tiny_model), rows, tmp_path / "new", **CPU)
    assert known["accuracy_high"] < 0.3 < new["accuracy_low"]


def test_heads_of_aspects_begin_where_the_folder_has_them(tiny_model: Path, tmp_path: Path) -> None:
    train_reward(CONFIG, str(tiny_model), judged("ratings", 30), tmp_path / "first", **CPU)
    train_reward(
        begun_at(tmp_path / "first", **STILL), str(tiny_model), judged("ratings", 12, seed=1), tmp_path / "next", **CPU
    )
    before, after = (load_file(tmp_path / name / ASPECTS) for name in ("first", "next"))
    assert before.keys() == after.keys()
    assert all(bool(value.any()) and torch.allclose(value, after[name], atol=1e-6) for name, value in before.items())


def without_head(folder: Path) -> None:
    kept = {name: value for name, value in load_file(folder / WEIGHTS).items() if ".score." not in name}
    save_file(kept, folder / WEIGHTS)


def with_two_labels(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    name = next(name for name in weights if ".score." in name)
    save_file(weights | {name: torch.cat([weights[name], weights[name]])}, folder / WEIGHTS)


def of_a_wider_base(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    name = next(name for name in weights if ".score." in name)
    save_file(weights | {name: torch.cat([weights[name], weights[name]], dim=1)}, folder / WEIGHTS)


def of_other_layers(folder: Path) -> None:
    save_file({name.replace("layers.1", "layers.7"): value for name, value in load_file(folder / WEIGHTS).items()},
              folder / WEIGHTS)  # fmt: skip


def whole_model(folder: Path) -> None:
    (folder / SETTINGS).unlink()
    (folder / "config.json").write_text("{}")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, "there is no folder"),
        (without_head, "has no score head"),
        (with_two_labels, "gives 2 scores, not one"),
        (of_a_wider_base, "the score head in .* is 64 wide, and .* is 32"),
        (of_other_layers, "does not fit"),
        (whole_model, "is a whole model"),
    ],
)
def test_what_training_cannot_begin_with_is_refused(
    trained: tuple[Path, dict[str, Any]], tiny_model: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    shutil.copytree(trained[0], tmp_path / "spoiled")
    spoil(tmp_path / "spoiled")
    with pytest.raises(UserError, match=message):
        train_reward(begun_at(tmp_path / "spoiled"), str(tiny_model), planted(30), tmp_path / "out", **CPU)
    assert not (tmp_path / "out" / WEIGHTS).exists()


def test_members_of_an_ensemble_do_not_begin_alike(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="begin differently"):
        RewardConfig(initial=tmp_path, ensemble=2)
