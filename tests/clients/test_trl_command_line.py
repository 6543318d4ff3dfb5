"""TRL's command line trains on from the merged policy, on exported labels and with the merged reward model."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from foundation.files import write_jsonl
from labeling_ui.data_model import Answer, Judgement
from labeling_ui.exchange.exports.registry import export
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import fill

pytestmark = [
    pytest.mark.skipif(find_spec("rewardbench") is None, reason="takes minutes; `make clients` runs it"),
    pytest.mark.timeout(1800),
]
COMMON = [
    "--use_cpu", "--bf16=False", "--dtype=float32", "--activation_checkpointing=False", "--report_to=none",
    "--max_steps=1", "--per_device_train_batch_size=2", "--save_strategy=no",
]  # fmt: skip
ONLINE = ["--num_generations", "2", "--max_completion_length", "8"]


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each kind of export, as `rlhf labels export` writes it."""
    folder = tmp_path_factory.mktemp("labels")
    store = Store(folder / "labels.db")
    for task in fill(store, 4):
        answer = Answer("preferred", task.candidates[0], 3)
        store.record(Judgement(task.id, store.annotator("ann").id, task.candidates, answer))
    for kind in ("preferences", "unpaired", "prompts"):
        assert write_jsonl(folder / kind / f"{kind}.jsonl", export(store, kind))
    store.close()
    return folder


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("dpo", "preferences"), ("reward", "preferences"), ("kto", "unpaired"), ("sft", "unpaired"),
        ("grpo", "prompts"), ("rloo", "prompts"),
    ],
)  # fmt: skip
def test_a_command_trains_on_exported_labels(
    command: str, kind: str, labels: Path, merged: Path, merged_reward: Path, tmp_path: Path
) -> None:
    arguments = ["--model_name_or_path", merged, "--dataset_name", labels / kind, "--output_dir", tmp_path / "out"]
    if kind == "prompts":
        arguments += ["--reward_model_name_or_path", merged_reward, *ONLINE]
    typed = [Path(sys.executable).with_name("trl"), command, *COMMON, *arguments]
    done = subprocess.run(typed, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "train_loss" in done.stdout
    assert (tmp_path / "out" / "model.safetensors").is_file()
