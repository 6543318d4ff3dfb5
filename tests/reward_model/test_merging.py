"""Whoever serves the reward model, with whatever library, gets the scores that this project gives."""

from math import isfinite
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from backbone.adapters import SharedBase, lora_config
from foundation.errors import UserError
from pipeline import tools
from reward_model.merging import merge_reward
from reward_model.scorer import RewardScorer
from tests.reward_model.six_responses import COMPLETIONS, PROMPTS, ROWS
from tests.reward_model.trl_rewards import trl_rewards


@pytest.fixture(scope="module")
def merged(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("merge") / "merged"
    tools.merge(trained[0], folder)
    return folder


def test_the_merged_model_gives_the_same_scores(merged: Path, scores: torch.Tensor) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(merged).eval()
    tokenizer = AutoTokenizer.from_pretrained(merged)
    texts = [
        tokenizer.apply_chat_template(prompt + completion, tokenize=False)
        for prompt, completion in zip(PROMPTS, COMPLETIONS, strict=True)
    ]
    assert all(text.endswith("<|im_end|>") for text in texts)
    batch = tokenizer(texts, padding=True, add_special_tokens=False, return_tensors="pt")
    with torch.no_grad():
        found = model(**batch).logits[:, 0]
    torch.testing.assert_close(found, scores, atol=1e-4, rtol=0)
    assert (merged / "reward.json").is_file()


def test_the_merged_model_has_a_card_of_its_own_whose_lines_run(
    merged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = ModelCard.load(merged / "README.md")
    assert (card.data.library_name, card.data.pipeline_tag) == ("transformers", "text-classification")
    assert card.data.tags == ["reward-model", "rlhf"]
    snippet = card.text.split("```python\n")[1].split("```")[0]
    exec(snippet.replace("path/to/this/folder", str(merged)), {})
    assert isfinite(float(capsys.readouterr().out))


def test_the_merged_template_still_asks_for_an_answer(merged: Path, tiny_model: Path) -> None:
    one, other = (AutoTokenizer.from_pretrained(folder) for folder in (merged, tiny_model))
    for ask in (True, False):
        texts = [
            each.apply_chat_template(PROMPTS[0], tokenize=False, add_generation_prompt=ask) for each in (one, other)
        ]
        assert texts[0] == texts[1]


def test_trl_scores_a_path_as_we_do(
    merged: Path, scores: torch.Tensor, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = trl_rewards(str(merged), tiny_model, tmp_path)
    torch.testing.assert_close(found, scores, atol=1e-4, rtol=0)


def test_trl_scores_with_the_adapter_and_its_tokenizer_as_we_do(
    trained: Any, scores: torch.Tensor, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = trl_rewards(str(trained[0]), tiny_model, tmp_path, AutoTokenizer.from_pretrained(trained[0]))
    torch.testing.assert_close(found, scores, atol=1e-5, rtol=0)


def test_trl_measures_the_margins_that_we_do(merged: Path, scorer: RewardScorer, tmp_path: Path) -> None:
    pairs = [{name: row[name] for name in ("prompt", "chosen", "rejected")} for row in ROWS]
    render = scorer.base.renderer
    sides = [[render.response_ids(pair[side][0]["content"]) for pair in pairs] for side in ("chosen", "rejected")]
    chosen, rejected = (scorer.score([render.prompt_ids(pair["prompt"]) for pair in pairs], side) for side in sides)
    trainer = RewardTrainer(
        str(merged),
        RewardConfig(
            output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", activation_checkpointing=False
        ),
        train_dataset=Dataset.from_list(pairs),
        eval_dataset=Dataset.from_list(pairs),
    )
    assert trainer.evaluate()["eval_margin"] == pytest.approx(float((chosen - rejected).mean()), abs=1e-4)


def test_a_policy_is_merged_as_a_policy(base: SharedBase, tiny_model: Path, tmp_path: Path) -> None:
    base.add_adapter("a policy", lora_config(2, 4))
    base.save_adapter("a policy", tmp_path / "policy")
    tools.merge(tmp_path / "policy", tmp_path / "merged", str(tiny_model))
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "merged").config.architectures == ["LlamaForCausalLM"]


def test_a_head_of_another_size_is_refused(trained: Any, tmp_path: Path) -> None:
    folder = tmp_path / "reward"
    folder.mkdir()
    for file in trained[0].iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "adapter_model.safetensors")
    weights = {name: torch.randn(1, 48) if ".score." in name else each for name, each in weights.items()}
    save_file(weights, folder / "adapter_model.safetensors")
    with pytest.raises(UserError, match="does not fit"):
        merge_reward(folder, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_an_existing_folder_is_left_alone(trained: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exists already"):
        merge_reward(trained[0], tmp_path)
