"""Scores do not depend on company, and what is no reward model is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from backbone.adapters import SharedBase, lora_config
from backbone.exactness import load_shared_base
from foundation.errors import UserError
from foundation.sizes import Sizes
from reward_model.labels.reading import to_pair
from reward_model.labels.rendering import rendered
from reward_model.scorer import RewardScorer
from tests.conftest import make_tiny_model
from tests.reward_model.planted import planted


@pytest.fixture(scope="module")
def base(tiny_model: Path) -> SharedBase:
    return load_shared_base(str(tiny_model), "float32", "cpu")


@pytest.fixture(scope="module")
def scorer(trained, base: SharedBase) -> RewardScorer:
    return RewardScorer.load(trained[0], base)


@pytest.fixture
def folder(trained, tmp_path: Path) -> Path:
    """A copy of the trained folder, to be damaged."""
    return shutil.copytree(trained[0], tmp_path / "reward")


def samples(scorer: RewardScorer) -> tuple[list[list[int]], list[list[int]]]:
    renderer = scorer.base.renderer
    rows = planted(12, seed=5)
    prompts = [renderer.prompt_ids(row["prompt"]) for row in rows]
    return prompts, [renderer.response_ids(row["chosen"][0]["content"] * (i % 3 + 1)) for i, row in enumerate(rows)]


def test_scores_come_in_the_order_asked_and_do_not_depend_on_company(scorer):
    prompts, responses = samples(scorer)
    together = scorer.score(prompts, responses)
    alone = torch.cat([scorer.score([p], [r]) for p, r in zip(prompts, responses, strict=True)])
    assert together.dtype == torch.float32
    assert together.unique().numel() == len(prompts)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shared", [True, False])
def test_scores_do_not_depend_on_how_many_tokens_are_read_at_once(scorer, monkeypatch, shared):
    prompts, responses = samples(scorer)
    sequences = [[*prompt, *response] for prompt, response in zip(prompts, responses, strict=True)]
    counts: list[int] = []
    counting = replace(scorer, on_batch=counts.append)

    def scores() -> torch.Tensor:
        counts.clear()
        return counting.score(prompts, responses) if shared else counting.score_sequences(sequences)

    expected = scores()
    assert counts == [len(responses)]
    monkeypatch.setattr(scorer.base, "sizes", Sizes(score_tokens=1))
    torch.testing.assert_close(scores(), expected, atol=1e-4, rtol=0)
    assert counts == [1] * len(responses)


def test_a_trained_model_says_how_sure_it_is(scorer):
    prompts, responses = samples(scorer)
    scores, std = scorer.score(prompts, responses, return_std=True)
    torch.testing.assert_close(scores, scorer.score(prompts, responses))
    assert (std > 0).all()
    features = scorer.features(
        [[*p, *scorer.base.renderer.completed(r)] for p, r in zip(prompts, responses, strict=True)]
    )
    torch.testing.assert_close(std.square(), scorer.posterior.variance(features))
    unlike_training = torch.randn_like(features) * features.norm(dim=1, keepdim=True) / features.shape[1] ** 0.5
    assert scorer.posterior.variance(unlike_training).mean() > 2 * std.square().mean()


def test_a_folder_without_uncertainty_says_so_when_asked(folder, base):
    (folder / "uncertainty.safetensors").unlink()
    older = RewardScorer.load(folder, base, name="older")
    with pytest.raises(UserError, match="train it again"):
        older.score([[1, 2]], [[3]], return_std=True)


def test_a_shared_base_gives_the_scores_of_an_own_base(scorer, trained, base):
    base.add_adapter("policy", lora_config(2, 4), trainable=True)
    for name, parameter in base.parameters("policy").items():
        torch.nn.init.normal_(parameter, std=0.5 if "lora" in name else 0.0)
    own = RewardScorer.load(trained[0], dtype="float32", device="cpu")
    prompts, responses = samples(scorer)
    with base.using("policy"):
        shared = scorer.score(prompts, responses)
    torch.testing.assert_close(shared, own.score(prompts, responses), atol=1e-4, rtol=0)
    base.check_trainable("policy")


def test_what_is_scored_is_what_was_trained_on(scorer):
    row = planted(1, seed=8)[0]
    trained_on, (chosen, _), _ = rendered(to_pair(row, "row"), scorer.base.renderer, scorer.max_length)
    prompt = scorer.base.renderer.prompt_ids(row["prompt"])
    text = scorer.base.renderer.tokenizer(row["chosen"][0]["content"], add_special_tokens=False)["input_ids"]
    cut_off = scorer.score([prompt], [text])  # no end of turn: it is completed
    torch.testing.assert_close(cut_off, scorer.score_sequences([[*trained_on, *chosen]]), atol=1e-5, rtol=0)


def test_the_planted_word_is_what_is_scored(scorer):
    renderer = scorer.base.renderer
    prompt = renderer.prompt_ids([{"role": "user", "content": "the cat"}])
    good, bad = scorer.score(
        [prompt] * 2, [renderer.response_ids("the mat good"), renderer.response_ids("the mat bad")]
    )
    assert good > bad


def test_a_missing_folder(tmp_path):
    with pytest.raises(UserError, match="rlhf reward"):
        RewardScorer.load(tmp_path / "none")


def test_a_policy_adapter_is_no_reward_model(base, tmp_path):
    if "other" not in base.adapters:
        base.add_adapter("other", lora_config(2, 4))
    base.save_adapter("other", tmp_path)
    with pytest.raises(UserError, match="no score head"):
        RewardScorer.load(tmp_path, base)


def test_a_head_that_was_never_trained(folder):
    weights = load_file(folder / "adapter_model.safetensors")
    weights = {name: torch.zeros_like(w) if ".score." in name else w for name, w in weights.items()}
    save_file(weights, folder / "adapter_model.safetensors")
    with pytest.raises(UserError, match="newly initialised"):
        RewardScorer.load(folder)


def test_a_folder_cut_short(folder):
    weights = (folder / "adapter_model.safetensors").read_bytes()
    (folder / "adapter_model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(UserError, match="damaged"):
        RewardScorer.load(folder)


def test_an_adapter_of_another_base(folder, tmp_path):
    from transformers import AutoConfig, AutoModelForCausalLM

    other = make_tiny_model(tmp_path / "other")
    config = AutoConfig.from_pretrained(other)
    config.hidden_size, config.intermediate_size = 48, 96
    AutoModelForCausalLM.from_config(config).save_pretrained(other)
    with pytest.raises(UserError, match="does not fit"):
        RewardScorer.load(folder, load_shared_base(str(other), "float32", "cpu"))


def test_a_score_that_is_not_a_number_names_its_samples(folder, tiny_model):
    scorer = RewardScorer.load(folder, load_shared_base(str(tiny_model), "float32", "cpu"))
    prompts, responses = samples(scorer)
    rare = scorer.base.tokenizer.convert_tokens_to_ids("~")
    responses[3] = [rare, responses[3][-1]]
    scorer.base.base.get_input_embeddings().weight.data[rare] = float("nan")
    with pytest.raises(UserError, match=r"1 of 12 samples \(numbers 3,"):
        scorer.score(prompts, responses)


def test_figures_that_are_not_json(folder):
    (folder / "reward.json").write_text(json.dumps({"max_length": 32})[:-3])
    with pytest.raises(UserError, match="not valid JSON"):
        RewardScorer.load(folder)
