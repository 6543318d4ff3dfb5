"""`rlhf score` adds what a reward model says to the rows of a file; several are measured as a whole as well."""

import shutil
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from foundation.errors import UserError
from foundation.files import read_json, read_jsonl, write_json, write_jsonl
from pipeline import tools
from pipeline.config.config import Config
from reward_model.labels.records import prompt_key
from reward_model.reward_folder import FIGURES
from reward_model.score_head import ASPECTS
from reward_model.scorer import RewardScorer
from tests.pipeline import tiny
from tests.reward_model.planted import planted

ROWS = [
    {"prompt": [{"role": "user", "content": "a cat"}], "response": text, "id": text} for text in ("on the mat", "no")
]
CPU = Config(dtype="float32", device="cpu")


@pytest.fixture
def reward(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished / "round-000" / "reward", tmp_path / "reward")


@pytest.fixture
def adapter(reward: Path) -> Path:
    """The same folder as if the adapter were the better one."""
    write_json(reward / FIGURES, read_json(reward / FIGURES) | {"reward_model": "adapter"})
    (reward / "uncertainty.safetensors").unlink()  # that of the probe
    return reward


def scored(reward: Path, tmp_path: Path, rows: Sequence[dict[str, Any]] = ROWS) -> list[dict[str, Any]]:
    write_jsonl(tmp_path / "rows.jsonl", rows)
    out = tmp_path / "out.jsonl"
    tools.score(CPU, Console(quiet=True), reward_folder=reward, file=tmp_path / "rows.jsonl", out=out)
    return [row for _, row in read_jsonl(out)]


def test_rows_keep_their_fields_and_gain_a_score_and_its_uncertainty(reward: Path, tmp_path: Path) -> None:
    found = scored(reward, tmp_path)
    assert [row["id"] for row in found] == ["on the mat", "no"]
    scorer = RewardScorer.load(reward, dtype="float32", device="cpu")
    render = scorer.base.renderer
    prompts, responses = [render.prompt_ids(ROWS[0]["prompt"])] * 2, [render.response_ids(row["id"]) for row in found]
    scores, stds = scorer.score(prompts, responses, return_std=True)
    assert [row["score"] for row in found] == pytest.approx(scores.tolist(), abs=1e-5)
    assert [row["score_std"] for row in found] == pytest.approx(stds.tolist(), abs=1e-5)
    assert "aspects" not in found[0]


def test_a_prompt_longer_than_the_context_is_cut_at_its_beginning(reward: Path, tmp_path: Path) -> None:
    renderer = RewardScorer.load(reward, dtype="float32", device="cpu").base.renderer
    long = "the cat sat " * renderer.max_length
    found = scored(reward, tmp_path, [{"prompt": f"{start} {long}", "response": "on"} for start in ("a", "the dog")])
    assert found[0]["score"] == pytest.approx(found[1]["score"], abs=1e-6)  # batches round differently
    other = scored(reward, tmp_path, [{"prompt": "the dog " * renderer.max_length, "response": "on"}])
    assert abs(other[0]["score"] - found[0]["score"]) > 1e-5


@pytest.mark.parametrize("prompt", [["hi"], [{"role": "user"}], [{"content": "hi"}], 3])
def test_a_prompt_that_is_no_conversation_is_named_by_its_line(reward: Path, tmp_path: Path, prompt: object) -> None:
    with pytest.raises(UserError, match=r"rows\.jsonl, line 2: .*\"prompt\""):
        scored(reward, tmp_path, [ROWS[0], {"prompt": prompt, "response": "x"}])


def test_rated_aspects_have_scores_of_their_own(adapter: Path, tmp_path: Path) -> None:
    head = RewardScorer.load(adapter, dtype="float32", device="cpu").head
    save_file({"clear": 2 * head, "kind": -head}, adapter / ASPECTS)
    for row in scored(adapter, tmp_path):
        assert row["aspects"] == pytest.approx({"clear": 2 * row["score"], "kind": -row["score"]}, abs=1e-4)


@pytest.mark.parametrize("damage", ["another size", "no safetensors"])
def test_damaged_heads_of_aspects_are_one_message(adapter: Path, damage: str, tmp_path: Path) -> None:
    if damage == "another size":
        save_file({"clear": torch.ones(3)}, adapter / ASPECTS)
    else:
        (adapter / ASPECTS).write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"aspects\.safetensors.*[Tt]rain the reward model again"):
        scored(adapter, tmp_path)


def test_an_ensemble_is_measured_as_a_whole_as_well(reward: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    write_jsonl(pairs, planted(12))

    def figures() -> dict[str, Any]:
        return tools.evaluate_reward(CPU, Console(quiet=True), reward_folder=reward, pairs=pairs, out=None)

    alone = figures()
    assert "ensemble_accuracy" not in alone
    shutil.copytree(reward, tmp_path / "member")
    shutil.move(tmp_path / "member", reward / "ensemble" / "1")
    write_json(reward / "ensemble.json", {"centres": [0.0, 0.0]})
    assert figures() == alone | {"ensemble_accuracy": alone["accuracy"]}  # its members are the same


def test_prompts_that_the_model_learned_from_and_questions_without_an_answer_are_told(
    reward: Path, tmp_path: Path
) -> None:
    def told(rows: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], str]:
        write_jsonl(tmp_path / "rows.jsonl", rows)
        console = Console(file=StringIO(), width=200)
        found = tools.evaluate_reward(CPU, console, reward_folder=reward, pairs=tmp_path / "rows.jsonl", out=None)
        assert isinstance(console.file, StringIO)
        return found, console.file.getvalue()

    rows = planted(4, seed=9)
    write_json(reward / "trained_on.json", [prompt_key(row["prompt"]) for row in rows[:3]])
    found, said = told(rows)
    assert found["trained_prompts"] == 3
    assert "3 of 4 prompts are among those that the reward model was trained on" in said
    write_json(reward / "trained_on.json", {"conversations": [prompt_key(tiny.ask("tell me of the garden"))]})
    more = [*tiny.ask("tell me of the garden"), {"role": "assistant", "content": "no"}, *tiny.ask("why?")]
    found, said = told([*rows, {**rows[0], "prompt": more}])
    assert found["trained_prompts"] == 1
    question = {"id": "7", "prompt": "say it", "chosen": ["the cat"], "rejected": ["a dog", "the cat"]}
    found, said = told([question, {**question, "id": "8", "rejected": ["a dog"]}])
    assert found["trained_prompts"] == 0
    assert "trained on" not in said
    assert "both right and wrong in 1 questions, 7 for one" in said
