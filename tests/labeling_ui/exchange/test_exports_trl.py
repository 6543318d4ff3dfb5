"""Every export is read by TRL's own trainers as it is: loaded with `datasets`, prepared, and a loss computed on it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, load_dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl import (
    DPOConfig,
    DPOTrainer,
    KTOConfig,
    KTOTrainer,
    RewardConfig,
    RewardTrainer,
    RLOOConfig,
    RLOOTrainer,
)
from trl.data_utils import is_conversational, unpair_preference_dataset

from foundation.files import write_jsonl
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Judgement, Task
from labeling_ui.exchange.exports.registry import export
from labeling_ui.store.store import Store
from reward_model.labels.reading import to_pairs
from tests.labeling_ui.filling import fill, fill_with

ARGUMENTS = {
    "per_device_train_batch_size": 2, "report_to": "none", "use_cpu": True, "bf16": False, "max_steps": 1,
    "logging_steps": 1, "save_strategy": "no", "disable_tqdm": True, "activation_checkpointing": False,
}  # fmt: skip
Loaded = Callable[[str], Dataset]


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    """An export of a store with everything in it, written to a file and loaded from there."""
    store = Store(tmp_path / "labels.db")
    pairs = fill(store, 5)
    (ranked,) = fill_with(store, Campaign(name="ranked", kind="ranking"), 1, 3)
    rated = fill_with(store, Campaign(name="rated", kind="rating"), 2, 1)
    a, b, c = ranked.candidates
    said: list[tuple[Task, Answer]] = [
        (pairs[0], Answer("preferred", pairs[0].candidates[0], 3)),
        (pairs[1], Answer("preferred", pairs[1].candidates[1], None)),
        (pairs[2], Answer("preferred", pairs[2].candidates[0], 1, rewrite="the best answer")),
        (pairs[3], Answer("both_bad")),
        (pairs[4], Answer("tie")),
        (ranked, Answer("ranked", ranking=((b,), (a, c)))),
        (rated[0], Answer("rated", ratings={"helpful": {rated[0].candidates[0]: 7}})),
        (rated[1], Answer("rated", ratings={"helpful": {rated[1].candidates[0]: 1}})),
    ]
    for task, answer in said:
        store.record(Judgement(task.id, store.annotator("ann").id, task.candidates, answer))
    rows = {kind: export(store, kind) for kind in ("preferences", "rankings", "unpaired", "prompts", "ratings")}
    store.close()

    def load(kind: str) -> Dataset:
        path = tmp_path / f"{kind}.jsonl"
        write_jsonl(path, rows[kind])
        dataset = load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
        assert len(dataset) == len(rows[kind]) > 0
        assert dataset.to_list() == rows[kind], f"{kind}: nothing is lost, and no field is null"
        return dataset

    return load


def train(trainer: Any) -> dict[str, float]:
    """One step of a trainer; its figures."""
    trainer.train()
    return {name: value for row in trainer.state.log_history for name, value in row.items()}


@pytest.fixture
def model(tiny_model: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_model)


@pytest.fixture
def tokenizer(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.mark.parametrize("kind", ["preferences", "rankings"])
def test_preferences_train_a_reward_model(
    kind: str, loaded: Loaded, tiny_model: Path, tokenizer: Any, tmp_path: Path
) -> None:
    dataset = loaded(kind)
    assert is_conversational(dataset[0])
    scorer = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=1)
    arguments = RewardConfig(output_dir=str(tmp_path / "out"), **ARGUMENTS)
    trainer = RewardTrainer(scorer, args=arguments, train_dataset=dataset, processing_class=tokenizer)
    batch = next(iter(trainer.get_train_dataloader()))
    assert ("margin" in batch) == (kind == "preferences"), "the margins reach the loss"
    assert train(trainer)["loss"] > 0


def test_preferences_train_a_policy_by_dpo(loaded: Loaded, model: Any, tokenizer: Any, tmp_path: Path) -> None:
    arguments = DPOConfig(output_dir=str(tmp_path / "out"), **ARGUMENTS)
    trainer = DPOTrainer(model, args=arguments, train_dataset=loaded("preferences"), processing_class=tokenizer)
    assert train(trainer)["loss"] == pytest.approx(0.693, abs=0.01), "log 2: policy and reference are the same"


def test_unpaired_labels_train_a_policy_by_kto(loaded: Loaded, model: Any, tokenizer: Any, tmp_path: Path) -> None:
    dataset = loaded("unpaired")
    assert set(dataset["label"]) == {True, False}
    arguments = KTOConfig(output_dir=str(tmp_path / "out"), **ARGUMENTS)
    trainer = KTOTrainer(model, args=arguments, train_dataset=dataset, processing_class=tokenizer)
    assert torch.isfinite(torch.tensor(train(trainer)["loss"]))


def test_prompts_are_sampled_and_rewarded(loaded: Loaded, model: Any, tokenizer: Any, tmp_path: Path) -> None:
    arguments = RLOOConfig(output_dir=str(tmp_path / "out"), num_generations=2, max_completion_length=4, **ARGUMENTS)
    asked: list[Any] = []

    def lengths(prompts: list[Any], completions: list[Any], **_: Any) -> list[float]:
        asked.extend(prompts)
        return [float(len(completion[0]["content"])) for completion in completions]

    dataset = loaded("prompts")
    trainer = RLOOTrainer(model, lengths, args=arguments, train_dataset=dataset, processing_class=tokenizer)
    train(trainer)
    assert asked[0] in dataset["prompt"]


def test_trl_unpairs_our_pairs_as_it_does_its_own(loaded: Loaded) -> None:
    pairs = loaded("preferences")
    unpaired = unpair_preference_dataset(pairs)
    assert len(unpaired) == 2 * len(pairs)
    assert {"prompt", "completion", "label"} <= set(unpaired.column_names) - {"chosen", "rejected"}


def test_our_own_reward_model_reads_the_rows(loaded: Loaded) -> None:
    pairs = to_pairs(loaded("preferences").to_list())
    assert [pair.margin for pair in pairs].count(0.0) == 4, "one pair without a strength, one rewrite, two of a ranking"
    loaded("ratings")
