"""A reward model needs no sequence-classification class: trained, saved and loaded, it scores as its card says."""

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaForSequenceClassification, pipeline

from backbone.exactness import load_shared_base
from reward_model.merging import HEAD, merge_reward
from reward_model.model_card import load_snippet
from reward_model.scorer import RewardScorer
from reward_model.sequence_classification import as_classifier
from reward_model.training.train import train_reward
from reward_model.trl_reward_function import reward_function
from tests.reward_model.architectures import STANDARD, WITHOUT_CLASS, make
from tests.reward_model.conftest import CONFIG
from tests.reward_model.planted import planted

CPU: dict[str, Any] = {"dtype": "float32", "device": "cpu"}
PROMPT = [{"role": "user", "content": "How long do I boil an egg?"}]
ANSWERS = ["Six minutes.", "The cat sat on the mat, and the dog ran."]


@pytest.fixture(scope="module", params=[*STANDARD, *WITHOUT_CLASS])
def model(request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model, and beside it one of a reward model on it."""
    folder = make(request.param, tiny_model, tmp_path_factory.mktemp(request.param) / request.param)
    config = CONFIG.model_copy(update={"learning_rate": 2e-2})
    train_reward(config, str(folder), planted(8), folder / "reward", held_out=planted(4, seed=3), **CPU)
    return folder


@pytest.fixture(scope="module")
def scores(model: Path) -> torch.Tensor:
    """What this project says of `ANSWERS`."""
    found = torch.tensor(reward_function(model / "reward", **CPU)([PROMPT] * 2, ANSWERS))
    assert float(found.diff().abs()) > 1e-2  # the adapter and the head have learned something
    return found


def test_the_lines_on_the_card_run_and_give_the_score(model: Path, scores: torch.Tensor) -> None:
    decoder = None if model.name in STANDARD else "backbone" if model.name == "mamba2" else "model"
    lines = load_snippet(str(model), str(model / "reward"), decoder)
    assert lines.replace(str(model / "reward"), "path/to/this/folder") in (model / "reward" / "README.md").read_text()
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(lines, {})
    assert float(said.getvalue().split()[-1]) == pytest.approx(scores[0].item(), abs=1e-5)


def test_the_merged_model_gives_the_same_scores(model: Path, scores: torch.Tensor, tmp_path: Path) -> None:
    merge_reward(model / "reward", tmp_path / "merged")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    turns = [[*PROMPT, {"role": "assistant", "content": answer}] for answer in ANSWERS]
    if model.name in STANDARD:
        texts = tokenizer.apply_chat_template(turns, tokenize=False)
        judge = pipeline("text-classification", str(tmp_path / "merged"), device="cpu", batch_size=2)
        found = [each["score"] for each in judge(texts)]
    else:
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
        head = load_file(tmp_path / "merged" / HEAD)["score"]
        with torch.no_grad():
            states = [
                merged.get_decoder()(**tokenizer.apply_chat_template(turn, return_tensors="pt", return_dict=True))
                for turn in turns
            ]
        found = [float(head @ each.last_hidden_state[0, -1]) for each in states]
    torch.testing.assert_close(torch.tensor(found), scores, atol=1e-4, rtol=0)


def test_a_second_reward_model_lies_on_the_same_base(model: Path, scores: torch.Tensor) -> None:
    first = RewardScorer.load(model / "reward", **CPU)
    second = RewardScorer.load(model / "reward", first.base, name="second")
    render = first.base.renderer
    said = [render.prompt_ids(PROMPT)] * 2, [render.response_ids(answer) for answer in ANSWERS]
    for scorer in (first, second):
        torch.testing.assert_close(scorer.score(*said), scores, atol=1e-5, rtol=0)
    assert (first.score(*said, return_std=True)[1] > 0).all()


def test_a_class_that_pools_elsewhere_is_not_taken(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = load_shared_base(str(tiny_model), **CPU)
    config = AutoConfig.from_pretrained(tiny_model)
    assert as_classifier(base, config) is not None
    usual = LlamaForSequenceClassification.forward

    def first_token(self: Any, input_ids: torch.Tensor, **others: Any) -> Any:
        found = usual(self, input_ids=input_ids, **others)
        found.logits = self.score(self.model(input_ids=input_ids).last_hidden_state[:, 0])
        return found

    monkeypatch.setattr(LlamaForSequenceClassification, "forward", first_token)
    assert as_classifier(base, config) is None
