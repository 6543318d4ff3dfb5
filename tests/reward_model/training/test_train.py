"""The real training on a tiny model: it learns, it resumes, and it stops when it must."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from backbone.adapters import SharedBase
from backbone.exactness import load_shared_base
from backbone.training.whole_checkpoints import last_whole_checkpoint
from foundation.errors import UserError
from reward_model.config import RewardConfig
from reward_model.labels.encoding import LabelEncoding
from reward_model.labels.reading import to_labels, to_pairs
from reward_model.labels.rendering import rendered
from reward_model.score_head import add_score_head
from reward_model.scorer import RewardScorer
from reward_model.training import fit_adapter as fit_module
from reward_model.training.batch_layouts import best_layout, rows_agree, visible
from reward_model.training.collator import LabelCollator
from reward_model.training.sequences import to_sequences
from reward_model.training.train import train_reward
from tests.reward_model.conftest import CONFIG
from tests.reward_model.planted import planted
from tests.shared_base import save_opt
from tests.suite import forked

CPU = {"dtype": "float32", "device": "cpu"}


def test_a_planted_preference_is_learned(trained):
    folder, figures = trained
    assert figures["accuracy_low"] > 0.7
    assert figures["n"] + figures["training_pairs"] == 120
    assert 20 < figures["n"] < 60
    written = json.loads((folder / "reward.json").read_text())
    assert written["accuracy"] == figures["accuracy"]
    assert written["log"][0]["loss"] > written["log"][-1]["loss"]
    assert not (folder / "checkpoints").exists()


def test_an_adapter_on_every_block_learns_too_and_its_folder_scores_the_same(trained, tiny_model, tmp_path):
    every = CONFIG.model_copy(update={"lora_layers": 1.0, "epochs": 4})
    figures = train_reward(every, str(tiny_model), planted(120), tmp_path, **CPU)
    assert figures["accuracy_low"] > 0.6
    weights, last = (load_file(folder / "adapter_model.safetensors") for folder in (tmp_path, trained[0]))
    blocks, of_last = (
        {name.split(".layers.")[1][0] for name in each if ".layers." in name} for each in (weights, last)
    )
    assert (blocks, of_last) == ({"0", "1"}, {"1"})
    ids = [[5, 6, 7, 8], [9, 10, 11]]
    model = AutoModelForSequenceClassification.from_pretrained(
        tiny_model, num_labels=1, pad_token_id=0, dtype="float32"
    )
    loaded = PeftModel.from_pretrained(model, tmp_path).eval()
    with torch.no_grad():
        plain = torch.stack([loaded(torch.tensor([row])).logits[0, 0] for row in ids])
    ours = RewardScorer.load(tmp_path, load_shared_base(str(tiny_model), **CPU)).score_sequences(ids)
    assert plain.abs().min() > 1e-3
    torch.testing.assert_close(ours, plain, atol=1e-4, rtol=0)


def test_the_first_score_of_every_response_is_zero(tiny_model):
    base = load_shared_base(str(tiny_model), **CPU)
    add_score_head(base)
    ids = torch.tensor([[5, 6, 7]])
    assert not base.base.score(base.hidden_states(ids, torch.ones_like(ids))).any()


def test_sharing_a_prompt_changes_no_score(tiny_model):
    base = load_shared_base(str(tiny_model), **CPU)
    labels = to_labels(planted(6, per_prompt=3))
    data = to_sequences(labels, LabelEncoding.of(labels), base.renderer, 256).dataset
    assert len(data) == 6
    assert all(rows_agree(base, example) for example in data)


def test_a_response_does_not_see_the_other():
    example = {"prompt_ids": [5], "response_ids": [[6, 7], [8, 9]], "labels": []}
    batch = LabelCollator(0)([example])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 1, 2]]
    assert batch["last"].tolist() == [[0, 2], [0, 4]]
    assert visible(batch["segments"])[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 0, 0, 1, 0],
        [1, 0, 0, 1, 1],
    ]


@pytest.mark.parametrize(("longest", "expected"), [(256, "stream"), (4096, "rows")])
def test_a_stream_where_it_pays_else_rows(tiny_model, longest, expected):
    base = load_shared_base(str(tiny_model), **CPU)
    labels = to_labels(planted(2))
    example = to_sequences(labels, LabelEncoding.of(labels), base.renderer, 256).dataset[0]
    assert best_layout(base, example, longest) == expected


@pytest.mark.parametrize(
    ("layout", "recomputed"), [("rows", False), ("apart", False), ("rows", True), ("stream", True)]
)
def test_layout_and_recomputing_change_no_weight(tiny_model, tmp_path, monkeypatch, layout, recomputed):
    rows = planted(12, per_prompt=3)
    plain = CONFIG.model_copy(update={"epochs": 1.0})
    train_reward(plain, str(tiny_model), rows, tmp_path / "stream", **CPU)
    monkeypatch.setattr(fit_module, "best_layout", lambda *args: layout)
    other = plain.model_copy(update={"gradient_checkpointing": recomputed})
    train_reward(other, str(tiny_model), rows, tmp_path / "other", **CPU)
    expected, found = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("stream", "other"))
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, atol=2e-4, rtol=1e-3)


def test_a_base_with_dropout_is_trained_on_without_it(tiny_model, tmp_path):
    config = CONFIG.model_copy(update={"epochs": 1.0, "batch_size": 4})
    for dropout, recomputed in ((0.0, False), (0.5, False), (0.5, True)):
        model = save_opt(tmp_path / f"opt-{dropout}", tiny_model, dropout)
        each = config.model_copy(update={"gradient_checkpointing": recomputed})
        train_reward(each, str(model), planted(12), tmp_path / f"{dropout}-{recomputed}", **CPU)
    expected = load_file(tmp_path / "0.0-False" / "adapter_model.safetensors")
    assert any(weight.any() for name, weight in expected.items() if "lora_B" in name)
    for name in ("0.5-False", "0.5-True"):
        found = load_file(tmp_path / name / "adapter_model.safetensors")
        for key, weight in expected.items():
            torch.testing.assert_close(found[key], weight, atol=1e-5, rtol=1e-4)


def test_no_preferences_says_how_to_get_some(tmp_path):
    with pytest.raises(UserError, match=r"rlhf label.*rlhf import"):
        train_reward(RewardConfig(), "nowhere", [], tmp_path)


def test_too_few_prompts_are_refused_before_a_model_is_loaded(tmp_path):
    with pytest.raises(UserError, match="only 1 different conversations"):
        train_reward(RewardConfig(), "/no/such/model", planted(1, per_prompt=4), tmp_path)


def test_a_prompt_in_both_splits_is_refused_before_a_model_is_loaded(tmp_path):
    rows = planted(4)
    with pytest.raises(UserError, match="also in the training split"):
        train_reward(RewardConfig(), "/no/such/model", rows, tmp_path, held_out=rows[:1])


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_whole_checkpoint(tiny_model, tmp_path):
    rows = planted(60)
    config = CONFIG.model_copy(update={"checkpoint_every": 2, "epochs": 1.0})
    for row in rows:
        row["margin"] = 1.0

    def spoil(row: dict) -> None:
        if row["step"] == 3:
            spoiled.score.modules_to_save["default"].weight.data.fill_(float("nan"))

    def add(base: SharedBase) -> None:
        nonlocal spoiled
        add_score_head(base)
        spoiled = base.base

    spoiled = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_module, "add_score_head", add)
        with pytest.raises(UserError, match="not a finite number at step 4"):
            train_reward(config, str(tiny_model), rows, tmp_path, on_step=spoil, **CPU)
    checkpoint = last_whole_checkpoint(tmp_path / "checkpoints")
    assert checkpoint.name == "checkpoint-2"
    assert all(w.isfinite().all() for w in load_file(checkpoint / "adapter_model.safetensors").values())
    assert not (tmp_path / "adapter_model.safetensors").exists()


def test_a_half_written_checkpoint_is_never_used(tmp_path):
    for step, whole in ((10, True), (20, True), (30, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if whole:
            (tmp_path / f"checkpoint-{step}" / "whole").touch()
    assert last_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-20"
    assert not (tmp_path / "checkpoint-30").exists()


def train_until_killed(config: RewardConfig, model: Path, rows: list[dict], folder: Path) -> None:
    def die(row: dict) -> None:
        if row["step"] == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    train_reward(config, str(model), rows, folder, on_step=die, **CPU)


def test_killed_training_goes_on_to_the_same_result(tiny_model, tmp_path):
    rows = planted(60)
    config = CONFIG.model_copy(update={"checkpoint_every": 2})
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    status = forked.run(train_until_killed, config, tiny_model, rows, killed, log=tmp_path / "printed")
    assert status == -signal.SIGKILL, (tmp_path / "printed").read_text()
    assert not (killed / "reward.json").exists()

    steps: list[int] = []
    train_reward(config, str(tiny_model), rows, killed, on_step=lambda row: steps.append(row["step"]), **CPU)
    assert steps[0] == 5
    train_reward(config, str(tiny_model), rows, straight, **CPU)
    one, two = (load_file(folder / "adapter_model.safetensors") for folder in (killed, straight))
    assert all(torch.equal(one[name], two[name]) for name in two)


def test_other_settings_do_not_go_on_from_old_checkpoints(tiny_model, tmp_path):
    (tmp_path / "checkpoints" / "checkpoint-2").mkdir(parents=True)
    (tmp_path / "checkpoints" / "checkpoint-2" / "whole").touch()
    (tmp_path / "checkpoints" / "basis.json").write_text('"another"')
    steps: list[int] = []
    config = CONFIG.model_copy(update={"epochs": 0.3})
    train_reward(config, str(tiny_model), planted(30), tmp_path, on_step=lambda row: steps.append(row["step"]), **CPU)
    assert steps[0] == 1


def test_the_folder_loads_without_this_project(trained, tiny_model, tmp_path):
    folder, _ = trained
    base = load_shared_base(str(tiny_model), **CPU)
    both = [rendered(pair, base.renderer, 256) for pair in to_pairs(planted(4, seed=3))]
    chosen = [[*prompt, *responses[0]] for prompt, responses, _ in both]
    script = (
        "import json, sys, torch\n"
        "from peft import PeftModel\n"
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer\n"
        "base, folder, ids = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])\n"
        "tokenizer = AutoTokenizer.from_pretrained(folder)\n"
        "model = AutoModelForSequenceClassification.from_pretrained(\n"
        "    base, num_labels=1, pad_token_id=tokenizer.pad_token_id, dtype=torch.float32)\n"
        "model = PeftModel.from_pretrained(model, folder).eval()\n"
        "with torch.no_grad():\n"
        "    print(json.dumps([model(torch.tensor([row])).logits.item() for row in ids]))\n"
        "assert not {'pipeline', 'reward_model', 'backbone', 'foundation'} & sys.modules.keys()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(tiny_model), str(folder), json.dumps(chosen)],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    from reward_model.scorer import RewardScorer

    scores = RewardScorer.load(folder, base).score_sequences(chosen)
    plain = torch.tensor(json.loads(result.stdout.splitlines()[-1]))
    assert plain.abs().min() > 1e-2
    torch.testing.assert_close(scores, plain, atol=1e-4, rtol=0)


def test_what_comes_after_the_last_step_shows_its_progress_too(tiny_model, tmp_path):
    rows: list[dict] = []
    config = CONFIG.model_copy(update={"epochs": 0.3})
    train_reward(config, str(tiny_model), planted(30), tmp_path, on_step=lambda row: rows.append(dict(row)), **CPU)
    measured = [row for row in rows if row.get("phase") == "measure"]
    assert rows[-len(measured) :] == measured
    assert measured[0]["step"] < measured[-1]["step"] == measured[-1]["steps"]
