"""A reward model beside another one, on pairs and on published test sets, as `rlhf evaluate-reward` measures them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

from foundation.errors import UserError
from foundation.files import read_json, write_json, write_jsonl
from pipeline import tools
from pipeline.config.config import Config
from pipeline.yardstick import yardstick
from reward_model.merging import merge_reward
from reward_model.reward_folder import FIGURES
from reward_model.scorer import RewardScorer
from tests.reward_model.planted import planted

CPU = Config(dtype="float32", device="cpu")


def measured(reward: Path, rows: list[dict[str, Any]], folder: Path, against: Path | None = None) -> dict[str, Any]:
    write_jsonl(folder / "rows.jsonl", rows)
    return tools.evaluate_reward(
        CPU, Console(quiet=True), reward_folder=reward, pairs=folder / "rows.jsonl", out=folder / "out.json",
        against=str(against) if against else None,
    )  # fmt: skip


def published(folder: Path, tiny_model: Path, labels: int = 1) -> Path:
    """A reward model that was not trained here."""
    torch.manual_seed(1)
    LlamaForSequenceClassification(LlamaConfig.from_pretrained(tiny_model, num_labels=labels)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def reward(finished: Path) -> Path:
    return finished / "round-000" / "reward"


@pytest.fixture(scope="module")
def four() -> list[dict[str, Any]]:
    """Rows as RewardBench 2 has them."""
    texts = ["the cat sat", "the dog ran", "a mat", "and on"]
    return [
        {"id": str(n), "prompt": f"{n}: say it", "chosen": texts[n % 4 :][:1], "subset": "Focus" if n % 2 else "Math",
         "rejected": [text for text in texts if text != texts[n % 4]]}
        for n in range(8)
    ]  # fmt: skip


def test_the_same_model_merged_into_one_of_transformers_says_the_same(
    reward: Path, four: list[dict[str, Any]], tmp_path: Path
) -> None:
    reward = shutil.copytree(reward, tmp_path / "reward")
    write_json(reward / FIGURES, read_json(reward / FIGURES) | {"reward_model": "adapter"})
    merge_reward(reward, tmp_path / "whole", None, "float32")
    found = measured(reward, planted(20, seed=5), tmp_path, tmp_path / "whole")["against"]
    assert found["same_preference"] == 1
    assert found["scale"] == pytest.approx(1, abs=1e-3)
    figures = measured(reward, four, tmp_path, tmp_path / "whole")
    assert figures["subsets"] == figures["against"]["subsets"]
    assert {"Focus", "Math"} == figures["subsets"].keys()
    assert read_json(tmp_path / "out.json") == figures


def test_a_question_longer_than_the_context_is_cut(reward: Path, four: list[dict[str, Any]], tmp_path: Path) -> None:
    rows = [{**four[0], "prompt": "the cat sat " * 2000 + four[0]["prompt"]}, *four[1:]]
    assert measured(reward, rows, tmp_path)["subsets"]["Math"]["n"] == 4


def test_a_published_model_with_another_tokenizer_is_measured_on_the_same_pairs(
    reward: Path, tiny_model: Path, tmp_path: Path
) -> None:
    theirs = published(tmp_path / "theirs", tiny_model)
    rows = planted(12, seed=6)
    assert set(measured(reward, rows, tmp_path, theirs)) - {"against"} == set(measured(reward, rows, tmp_path))
    scorer = RewardScorer.load(reward, dtype="float32", device="cpu")
    said = yardstick(scorer, str(theirs)).score([[{"role": "user", "content": "a"}]] * 2, ["the cat", "the dog"])
    model = LlamaForSequenceClassification.from_pretrained(theirs)
    tokenizer = AutoTokenizer.from_pretrained(theirs)
    for score, text in zip(said, ["the cat", "the dog"], strict=True):
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": text}]
        ids = tokenizer(tokenizer.apply_chat_template(turns, tokenize=False), add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            assert score == pytest.approx(model(torch.tensor([ids])).logits.item(), abs=1e-5)


def random_head(folder: Path, tiny_model: Path) -> None:
    for file in tiny_model.iterdir():
        shutil.copy(file, folder)


def two_labels(folder: Path, tiny_model: Path) -> None:
    published(folder, tiny_model, labels=2)


def refusing_template(folder: Path, tiny_model: Path) -> None:
    published(folder, tiny_model)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = "{{ raise_exception('No assistant here') }}"
    tokenizer.save_pretrained(folder)


def no_number(folder: Path, tiny_model: Path) -> None:
    published(folder, tiny_model)
    model = LlamaForSequenceClassification.from_pretrained(folder)
    model.score.weight.data.fill_(float("nan"))
    model.save_pretrained(folder)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (random_head, "would be random"),
        (two_labels, "LABEL_1.*, or name a model with one logit"),
        (no_number, r"other gave no finite score for 4 of 4 responses: .* Try --set dtype=float32"),
        (refusing_template, "cannot render a conversation of this file: No assistant here"),
        (lambda folder, tiny_model: (folder / "config.json").write_text("{}"), "cannot load"),
        (lambda folder, tiny_model: None, "holds no reward model"),
    ],
)
def test_what_cannot_be_a_yardstick_is_refused(
    reward: Path, tiny_model: Path, tmp_path: Path, make: Callable[[Path, Path], None], message: str
) -> None:
    (tmp_path / "other").mkdir()
    make(tmp_path / "other", tiny_model)
    with pytest.raises(UserError, match=message):
        measured(reward, planted(4), tmp_path, tmp_path / "other")


def test_a_test_set_is_scored_as_the_scorer_scores(reward: Path, four: list[dict[str, Any]], tmp_path: Path) -> None:
    scorer = RewardScorer.load(reward, dtype="float32", device="cpu")
    render = scorer.base.renderer
    first = []
    for row in four:
        responses = [render.response_ids(text) for text in [*row["chosen"], *row["rejected"]]]
        prompt = render.prompt_ids([{"role": "user", "content": row["prompt"]}])
        first.append(float(scorer.score([prompt] * 4, responses).argmax() == 0))
    found = measured(reward, four, tmp_path)
    by_subset = [np.mean([right for right, row in zip(first, four, strict=True) if row["subset"] == name])
                 for name in ("Focus", "Math")]  # fmt: skip
    assert [found["subsets"][name]["score"] for name in ("Focus", "Math")] == pytest.approx(by_subset)
    assert found["score"] == pytest.approx(np.mean(by_subset))


def test_a_test_set_that_becomes_pairs_in_the_middle_is_refused_by_line(
    reward: Path, four: list[dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="line 9"):
        measured(reward, [*four, *planted(1)], tmp_path)
