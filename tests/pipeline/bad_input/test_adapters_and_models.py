"""Folders that are no reward model, no adapter or no whole model are told apart and refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from foundation.files import write_jsonl
from tests.conftest import make_tiny_model
from tests.pipeline import tiny
from tests.pipeline.bad_input.refusing import ADAPTER, CPU, refused


def without_head(folder: Path) -> None:
    weights = load_file(folder / ADAPTER)
    save_file({name: value for name, value in weights.items() if ".score." not in name}, folder / ADAPTER)


def with_new_head(folder: Path) -> None:
    weights = load_file(folder / ADAPTER)
    save_file({n: torch.zeros_like(v) if ".score." in n else v for n, v in weights.items()}, folder / ADAPTER)


def cut_short(folder: Path) -> None:
    whole = (folder / ADAPTER).read_bytes()
    (folder / ADAPTER).write_bytes(whole[: len(whole) // 2])


def of_another_base(folder: Path) -> None:
    weights = load_file(folder / ADAPTER)
    save_file({name: value[..., :-1].contiguous() for name, value in weights.items()}, folder / ADAPTER)


def not_a_number(folder: Path) -> None:
    weights = load_file(folder / ADAPTER)
    save_file({n: v * torch.nan if ".score." in n else v for n, v in weights.items()}, folder / ADAPTER)


def too_large(folder: Path) -> None:
    weights = load_file(folder / ADAPTER)
    save_file({n: torch.full_like(v, 3e38) if ".score." in n else v for n, v in weights.items()}, folder / ADAPTER)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (shutil.rmtree, "holds no reward model"),
        (without_head, "has no score head, so it is not a reward model"),
        (with_new_head, "newly initialised, not trained"),
        (cut_short, "is damaged"),
        (of_another_base, "does not fit"),
        (not_a_number, "are not finite numbers"),
        (too_large, "no finite score for 2 of 2 samples (numbers 0, 1, from 0)"),
    ],
)
def test_a_reward_folder_that_cannot_be_used(
    finished: Path, tmp_path: Path, spoil: Callable[[Path], None], told: str
) -> None:
    shutil.copytree(finished / "round-000" / "reward", tmp_path / "reward")
    spoil(tmp_path / "reward")
    rows = tmp_path / "rows.jsonl"
    write_jsonl(rows, [{"prompt": tiny.ask("question?"), "response": reply} for reply in ("yes", "no")])
    message = refused("score", rows, "--reward", tmp_path / "reward", "--out", tmp_path / "out", overrides=CPU)
    assert told in message
    assert not (tmp_path / "out").exists()


def test_a_policy_is_no_reward_model(finished: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "pairs.jsonl", [{"prompt": "question?", "chosen": "yes", "rejected": "no"}])
    policy = finished / "round-000" / "policy"
    assert "no score head" in refused("evaluate-reward", "--reward", policy, "--pairs", tmp_path / "pairs.jsonl")


@pytest.mark.parametrize(
    ("field", "line"), [("prompt", '{"prompt": 3, "response": "x"}'), ("response", '{"prompt": []}')]
)
def test_malformed_rows_to_score_are_named(finished: Path, tmp_path: Path, field: str, line: str) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": tiny.ask("question?"), "response": "x"}) + f"\n{line}\n")
    reward = finished / "round-000" / "reward"
    message = refused("score", rows, "--reward", reward, "--out", tmp_path / "out", overrides=CPU)
    assert f'rows.jsonl, line 2: the field "{field}"' in message


def test_a_missing_adapter_cannot_be_merged(tmp_path: Path) -> None:
    assert "is not an adapter folder" in refused("merge", tmp_path / "none", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_adapter_that_is_more_than_a_lora_is_refused_where_it_is_named(
    finished: Path, tiny_settings: list[str], tmp_path: Path
) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(finished / "round-000" / "policy", adapter)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"bias": "lora_only"}))
    assert "is more than a LoRA" in refused("merge", adapter, tmp_path / "out")
    message = refused("collect", "--run", tmp_path / "run", overrides=[*tiny_settings, f"policy.initial={adapter}"])
    assert "is more than a LoRA" in message
    assert not (tmp_path / "run" / "round-000" / "candidates.jsonl").exists()


def shorten_weights(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (shorten_weights, "model.safetensors is cut short or damaged"),
        (lambda model: (model / "model.safetensors").unlink(), "has no *.safetensors weights"),
        (lambda model: (model / "config.json").unlink(), "is not a model folder: it has no config.json"),
        (shutil.rmtree, "is neither a folder nor a hub id"),
    ],
    ids=["weights cut short", "no weights", "no config", "no folder"],
)
def test_a_model_folder_that_is_not_whole(
    tiny_settings: list[str], tmp_path: Path, spoil: Callable[[Path], None], told: str
) -> None:
    model = make_tiny_model(tmp_path / "model")
    spoil(model)
    message = refused("collect", "--run", tmp_path / "run", overrides=[*tiny_settings, f"model={model}"])
    assert told in message
    assert not (tmp_path / "run" / "round-000" / "candidates.jsonl").exists()
