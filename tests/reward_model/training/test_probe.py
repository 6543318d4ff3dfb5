"""A probe of the base's states: fitted, chosen by held-out labels, scored with, and loaded without this project."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from backbone.adapters import SharedBase
from backbone.exactness import load_shared_base
from foundation.errors import UserError
from reward_model.config import RewardConfig
from reward_model.ensemble import load_scorer
from reward_model.evaluation.probe import PairStates, fit_head, log_likelihood, picked
from reward_model.evaluation.score_differences import score_differences
from reward_model.labels.reading import to_pairs
from reward_model.labels.splits import split_by_conversation
from reward_model.merging import merge_reward
from reward_model.model_card import probe_snippet
from reward_model.scorer import RewardScorer
from reward_model.training import train as module
from reward_model.training.train import train_reward
from tests.reward_model.conftest import CONFIG
from tests.reward_model.planted import planted
from tests.reward_model.six_responses import COMPLETIONS, PROMPTS

CPU = {"dtype": "float32", "device": "cpu"}
PROBE = CONFIG.model_copy(update={"learn": "probe"})
AUTO = CONFIG.model_copy(update={"learn": "auto", "epochs": 1})
Trained = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def probed(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("probe")
    return folder, train_reward(PROBE, str(tiny_model), planted(120), folder, **CPU)


def _six(scorer: Any) -> torch.Tensor:
    renderer = scorer.base.renderer
    said = [renderer.response_ids(completion[0]["content"]) for completion in COMPLETIONS]
    return scorer.score([renderer.prompt_ids(prompt) for prompt in PROMPTS], said)


def test_a_planted_preference_is_learned_without_an_adapter(probed: Trained) -> None:
    folder, figures = probed
    assert figures["reward_model"] == "probe"
    assert figures["accuracy_low"] > 0.7
    assert figures["accuracy"] == figures["probe_accuracy"]
    assert figures["probe_likelihood"] > -0.5
    assert "adapter_likelihood" not in figures
    assert figures["n"] + figures["training_pairs"] == 120
    written = json.loads((folder / "reward.json").read_text())
    assert written["probed_block"] == 1
    assert not (folder / "checkpoints").exists()


def test_what_is_loaded_says_what_was_measured(probed: Trained) -> None:
    folder, figures = probed
    scorer = load_scorer(folder, **CPU)
    held_out = to_pairs(split_by_conversation(planted(120), CONFIG.held_out, 0)[1])
    assert (score_differences(scorer, held_out) > 0).mean() == pytest.approx(figures["accuracy"])
    assert scorer.base.adapters == []
    scores, std = scorer.score([[1, 5, 6]] * 2, [[7, 8], [9]], return_std=True)
    assert scores.isfinite().all()
    assert (std > 0).all()
    with pytest.raises(UserError, match="reads responses"):
        scorer.score_sequences([[1, 5, 6, 7]])


def test_scores_do_not_depend_on_company_or_on_adapters_of_the_base(probed: Trained) -> None:
    scorer = load_scorer(probed[0], **CPU)
    before = _six(scorer)
    renderer = scorer.base.renderer
    alone = [
        scorer.score([renderer.prompt_ids(prompt)], [renderer.response_ids(completion[0]["content"])])[0]
        for prompt, completion in zip(PROMPTS, COMPLETIONS, strict=True)
    ]
    torch.testing.assert_close(before, torch.stack(alone), atol=1e-4, rtol=1e-4)
    from tests.shared_base import add_random_adapter

    add_random_adapter(scorer.base, "policy")
    with scorer.base.using("policy"):
        torch.testing.assert_close(_six(scorer), before, atol=0, rtol=0)


def test_the_card_scores_it_with_transformers_alone(
    probed: Trained, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, figures = probed
    card = (folder / "README.md").read_text()
    assert "No adapter was trained" in card
    assert "probe = load_file(" in card
    exec(probe_snippet(str(tiny_model), str(folder), figures["probed_block"]), {})
    scorer = load_scorer(folder, **CPU)
    renderer = scorer.base.renderer
    asked = renderer.prompt_ids([{"role": "user", "content": "How long do I boil an egg?"}])
    expected = scorer.score([asked], [renderer.response_ids("Six minutes.")])
    assert float(capsys.readouterr().out) == pytest.approx(float(expected), abs=1e-3)


def test_the_folder_is_an_adapter_that_changes_nothing_with_a_head_that_knows_something(
    probed: Trained, tiny_model: Path
) -> None:
    folder, _ = probed
    settings = folder / "reward.json"
    kept = settings.read_text()
    settings.write_text(json.dumps(json.loads(kept) | {"reward_model": "adapter"}))
    scorer = RewardScorer.load(folder, **CPU)
    settings.write_text(kept)
    held_out = to_pairs(split_by_conversation(planted(120), CONFIG.held_out, 0)[1])
    assert (score_differences(scorer, held_out) > 0).mean() > 0.7
    with scorer.base.using("reward"):
        states = scorer.base.hidden_states(torch.tensor([[1, 5, 6, 7]]), torch.ones(1, 4))
    with scorer.base.using(None):
        torch.testing.assert_close(
            scorer.base.hidden_states(torch.tensor([[1, 5, 6, 7]]), torch.ones(1, 4)), states, atol=0, rtol=0
        )


@pytest.mark.parametrize("better", ["adapter", "probe"])
def test_auto_takes_what_held_out_labels_are_likelier_under(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, better: str
) -> None:
    if better == "adapter":  # a probe that knows nothing
        monkeypatch.setattr(module.probing, "fit_head", lambda features, pairs: torch.ones(features.shape[-1]) * 1e-3)
    config = AUTO.model_copy(update={"epochs": 4.0 if better == "adapter" else 0.1})
    figures = train_reward(config, str(tiny_model), planted(80), tmp_path, **CPU)
    other = "probe" if better == "adapter" else "adapter"
    assert figures["reward_model"] == better
    assert figures[f"{better}_likelihood"] > figures[f"{other}_likelihood"]
    assert figures["accuracy"] == pytest.approx(figures[f"{better}_accuracy"])
    scorer = load_scorer(tmp_path, **CPU)
    assert (scorer.probe is None) == (better == "adapter")
    assert (tmp_path / "probe.safetensors").exists() == (better == "probe")


@pytest.mark.parametrize("changed", [{"ensemble": 2}, {"length_debias": 0.5}, {"initial": "somewhere"}])
def test_a_probe_is_refused_with_settings_for_adapters(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="are for an adapter"):
        RewardConfig(learn="probe", **changed)


def test_auto_leaves_aspects_and_few_labels_to_an_adapter(tiny_model: Path, tmp_path: Path) -> None:
    figures = train_reward(AUTO, str(tiny_model), planted(12), tmp_path, **CPU)
    assert figures["reward_model"] == "adapter"
    assert "probe_likelihood" not in figures


def test_a_probe_of_another_base_is_refused(probed: Trained, tmp_path: Path, tiny_model: Path) -> None:
    from transformers import AutoConfig

    from tests.conftest import make_tiny_model

    other = make_tiny_model(tmp_path / "other")
    config = AutoConfig.from_pretrained(other)
    config.hidden_size, config.intermediate_size = 48, 96
    AutoModelForCausalLM.from_config(config).save_pretrained(other)
    with pytest.raises(UserError, match="does not fit: it is for a base 32 wide"):
        RewardScorer.load(probed[0], load_shared_base(str(other), **CPU))


def test_a_damaged_probe_is_told(probed: Trained, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(probed[0], tmp_path / "reward")
    (tmp_path / "reward" / "probe.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match="damaged"):
        RewardScorer.load(tmp_path / "reward", **CPU)


def test_states_are_the_model_s_own(base: SharedBase, tiny_model: Path) -> None:
    pairs = to_pairs(planted(3))
    states = PairStates.of(base, pairs, 64)
    plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    renderer = base.renderer
    prompt, said = renderer.prompt_ids(pairs[1].prompt), renderer.completed(renderer.response_ids(pairs[1].rejected))
    with torch.no_grad():
        found = plain(torch.tensor([[*prompt, *said]]), output_hidden_states=True).hidden_states
    inner = found[1][0, len(prompt) :]
    wanted = torch.stack([found[-1][0, -1], inner[-1], inner.mean(0)])
    torch.testing.assert_close(states.states[1, 1], wanted, atol=1e-4, rtol=1e-4)


def test_final_states_are_computed_where_they_are_asked_for(base: SharedBase) -> None:
    pairs = to_pairs(planted(4))
    whole, some = PairStates.of(base, pairs, 64), PairStates.of(base, pairs, 64, final_of=pairs[1:2])
    torch.testing.assert_close(some.probed, whole.probed, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(some.final[1], whole.final[1], atol=1e-5, rtol=1e-5)
    assert (some.final[2] - whole.final[2]).abs().max() > 1e-2


def test_long_ones_are_cut_as_in_training(base: SharedBase) -> None:
    pairs = to_pairs(planted(2))
    assert (PairStates.of(base, pairs, 12).states != 0).any()


def test_votes_and_weights_count() -> None:
    draw = torch.Generator().manual_seed(0)
    pairs = to_pairs(planted(60))
    features = torch.randn(60, 2, 4, generator=draw)
    features[:, 0, 0] += 1.0
    sure = fit_head(features, pairs)
    split = fit_head(features, [replace(pair, p_chosen=0.6) for pair in pairs])
    assert split[0] < 0.6 * sure[0]
    one = [replace(pair, weight=float(number < 30)) for number, pair in enumerate(pairs)]
    changed = features.clone()
    changed[30:] = changed[30:].flip(1)
    torch.testing.assert_close(fit_head(changed, one), fit_head(features, one), atol=0.2, rtol=0.2)


def test_the_likelihood_is_of_what_is_known_and_not_of_its_unit() -> None:
    pairs = to_pairs(planted(40))
    known = np.random.default_rng(0).normal(0.7, 1, 40)
    assert log_likelihood(known, pairs) == pytest.approx(log_likelihood(1000 * known, pairs), abs=1e-3)
    assert log_likelihood(np.zeros(40), pairs) == pytest.approx(-np.log(2))
    assert log_likelihood(np.abs(known), pairs) > log_likelihood(known, pairs) > log_likelihood(-known, pairs)


def test_merging_says_that_it_is_not_the_probe(
    probed: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    merge_reward(probed[0], tmp_path / "merged")
    assert "what is merged is the adapter beside it" in caplog.text


def test_accuracy_is_not_that_of_the_better_one_by_chance() -> None:
    pairs, draw = to_pairs(planted(60)), np.random.default_rng(0)
    each, better, found = [], [], []
    for _ in range(60):
        both = draw.normal(0.5, 1, (2, 60))  # equally good
        each.append((both > 0).mean())
        better.append((max(both, key=lambda one: log_likelihood(one, pairs)) > 0).mean())
        found.append((picked(*both, pairs) > 0).mean())
    assert np.mean(better) > np.mean(each) + 0.02
    assert np.mean(found) == pytest.approx(np.mean(each), abs=0.012)


def test_the_better_of_two_is_picked_whatever_their_units() -> None:
    pairs, draw = to_pairs(planted(60)), np.random.default_rng(0)
    good, bad = draw.normal(2, 1, 60), 1000 * draw.normal(size=60)
    for one, other in ((good, bad), (bad, good)):
        assert (picked(one, other, pairs) > 0).tolist() == (good > 0).tolist()


def test_the_tokenizer_ends_where_scores_are_read(probed: Trained) -> None:
    assert AutoTokenizer.from_pretrained(probed[0]).chat_template
