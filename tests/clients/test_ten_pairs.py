"""Ten pairs get the same scores from whatever scores them, or the reward folder refuses."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from pipeline import tools
from tests.clients.ten_pairs import COMPLETIONS, PROMPTS, by_rlhf, rendered
from tests.reward_model.trl_rewards import trl_rewards


@torch.no_grad()
def by_transformers(folder: Path) -> torch.Tensor:
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(rendered(tokenizer), padding=True, add_special_tokens=False, return_tensors="pt")
    return model(**batch).logits[:, 0].float()


def by_pipeline(folder: Path) -> torch.Tensor:
    score = pipeline("text-classification", model=str(folder), device="cpu")
    return torch.tensor([found["score"] for found in score(rendered(score.tokenizer))])


def by_trl(folder: Path, model: Path, scratch: Path) -> torch.Tensor:
    return trl_rewards(str(folder), model, scratch, prompts=PROMPTS, completions=COMPLETIONS).float()


def test_ten_pairs_by_five_ways_are_equal_in_float32(
    reward: Path, merged_reward: Path, tiny_model: Path, tmp_path: Path
) -> None:
    ours = by_rlhf(reward, tmp_path)
    found = {
        "transformers on reward/": by_transformers(reward),
        "transformers on the merged folder": by_transformers(merged_reward),
        "pipeline": by_pipeline(merged_reward),
        "TRL's reward_funcs": by_trl(merged_reward, tiny_model, tmp_path),
    }
    for way, scores in found.items():
        torch.testing.assert_close(scores, ours, atol=1e-4, rtol=0, msg=lambda text, way=way: f"{way}: {text}")
    assert ours.std() > 0.1


def test_merged_in_bfloat16_scores_are_rounded_as_far_as_is_said(
    reward: Path, tiny_model: Path, tmp_path: Path
) -> None:
    ours = by_rlhf(reward, tmp_path)
    tools.merge(reward, tmp_path / "merged", dtype="bfloat16")
    found = [
        by_transformers(tmp_path / "merged"),
        by_pipeline(tmp_path / "merged"),
        by_trl(tmp_path / "merged", tiny_model, tmp_path),
    ]
    for scores in found:  # in bfloat16 itself: a batch of another shape may round the last of its eight bits otherwise
        torch.testing.assert_close(scores, found[0], atol=1e-5, rtol=2**-7)
    off = (found[0] - ours) / ours.std()
    assert 1e-4 < off.square().mean().sqrt() < 0.01  # on another model it is more: docs/clients.md
    assert off.abs().max() < 0.02


def test_standard_loaders_refuse_the_reward_folder_unless_told_that_it_has_one_label(reward: Path) -> None:
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        AutoModelForSequenceClassification.from_pretrained(reward)
    with pytest.raises((RuntimeError, KeyError)):
        by_pipeline(reward)
