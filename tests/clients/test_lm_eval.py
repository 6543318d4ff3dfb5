"""lm-evaluation-harness measures base, adapter and merged model on a task of ours."""

from pathlib import Path
from typing import Any

import pytest

from foundation.files import write_jsonl, write_text

lm_eval = pytest.importorskip("lm_eval", reason="`make clients` installs it")
pytestmark = pytest.mark.filterwarnings("ignore")  # another program's own affair

TASK = """\
task: cats
dataset_path: json
dataset_kwargs: {data_files: FILE}
test_split: train
output_type: loglikelihood
doc_to_text: "{{question}}"
doc_to_target: " {{answer}}"
metric_list: [{metric: perplexity, aggregation: perplexity, higher_is_better: false}]
"""
QUESTIONS = {"the cat sat on the": "mat", "the dog ran to the": "cat", "the cat and the": "dog", "a mat and": "the cat"}


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A folder with a task on a local file."""
    rows = [{"question": question, "answer": answer} for question, answer in QUESTIONS.items()]
    write_jsonl(tmp_path / "cats.jsonl", rows)
    write_text(tmp_path / "cats.yaml", TASK.replace("FILE", str(tmp_path / "cats.jsonl")))
    return tmp_path


def test_the_adapter_changes_what_is_measured_and_the_merged_model_measures_the_same(
    tasks: Path, tiny_model: Path, adapter: Path, merged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tasks / "cache"))
    base, with_adapter, whole = (
        measured(tasks, model) for model in (f"{tiny_model}", f"{tiny_model},peft={adapter}", f"{merged}")
    )
    assert abs(with_adapter["perplexity"] - base["perplexity"]) > 1
    assert whole["perplexity"] == pytest.approx(with_adapter["perplexity"], rel=1e-4)
    for one, other, third in zip(base["logprobs"], with_adapter["logprobs"], whole["logprobs"], strict=True):
        assert abs(other - one) > 1e-2
        assert third == pytest.approx(other, abs=1e-3)


def measured(tasks: Path, model: str) -> dict[str, Any]:
    """What the harness says of a model: its perplexity, and the log-probability of each answer."""
    from lm_eval.tasks import TaskManager

    found = lm_eval.simple_evaluate(
        model="hf", model_args=f"pretrained={model},dtype=float32", tasks=["cats"], device="cpu", bootstrap_iters=0,
        batch_size=2, task_manager=TaskManager(include_path=str(tasks), include_defaults=False), verbosity="ERROR",
    )  # fmt: skip
    samples = sorted(found["samples"]["cats"], key=lambda each: each["doc_id"])
    return {
        "perplexity": found["results"]["cats"]["perplexity,none"],
        "logprobs": [sample["filtered_resps"][0][0] for sample in samples],
    }
