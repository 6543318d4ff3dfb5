"""The policy stage with programmatic rewards and mixtures: each by name, the shipped ones, and after a kill."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

from foundation.errors import UserError
from foundation.files import write_jsonl
from pipeline import stages
from pipeline.config.config import load_config
from pipeline.policy_scorers import as_scorer, learned_reward, policy_scorer
from pipeline.reporting.report import training_charts
from policy.config import PolicyConfig
from policy.native.train import train_policy
from policy.scorer_protocol import Mixture
from policy.training_log import MACHINE_METRICS
from reward_model.rewards.mixture import compose
from reward_model.rewards.registry import KINDS, RewardSpec
from reward_model.scorer import RewardScorer
from tests import shared_base
from tests.pipeline import tiny

SHIPPED = Path(__file__).parents[2] / "configs" / "rewards"
PARAMETERS: dict[str, dict[str, Any]] = {
    "length": {"target": 3, "unit": "tokens"},
    "format": {"pattern": "[a-z ]*"},
    "keywords": {"words": ["cat", "dog"]},
    "safety": {"words": ["mat"], "at_least": 1, "otherwise": -1},
    "tests_passed": {"enabled": True, "tests": ["x = 1", "assert x == 2"]},
}
CONFIG = PolicyConfig(
    steps=3, prompts_per_step=2, group=2, max_new_tokens=6, checkpoint_every=2, learning_rate=1e-2, lora_rank=2
)


@pytest.fixture
def with_references(tmp_path: Path) -> Path:
    """Prompts of the tiny run, each with texts to compare with."""
    rows = tiny.rows(tiny.prompts_file(tmp_path / "plain.jsonl"))
    path = tmp_path / "prompts.jsonl"
    write_jsonl(path, [row | {"references": ["the cat sat on the mat", "the dog ran"]} for row in rows])
    return path


def ask_rows() -> list[dict[str, Any]]:
    return [{"prompt": tiny.ask(f"the {topic}"), "references": ["the cat sat"]} for topic in tiny.TOPICS[:4]]


def test_the_learned_reward_alone_is_logged_with_how_unsure_it_is(finished: Path, tiny_settings: list[str]) -> None:
    config, folder = load_config(None, tiny_settings, {}), finished / "round-000"
    base = shared_base.load(Path(config.model))
    scorer = policy_scorer(config.rewards, base, [], folder / "reward")
    asked, answers = [base.renderer.prompt_ids(tiny.ask(text)) for text in tiny.TOPICS[:2]], [[40, 41], [50]]
    alone = RewardScorer.load(folder / "reward", shared_base.load(Path(config.model)))
    assert torch.equal(scorer.score(asked, answers), alone.score(asked, answers))
    assert isinstance(scorer, Mixture)
    assert all(std > 0 for std in scorer.parts["std"])
    assert all(row["score_std"] > 0 for row in tiny.rows(folder / "policy" / "log.jsonl"))


@pytest.mark.parametrize("name", [name for name in KINDS if name not in ("learned", "model")])
def test_the_policy_stage_runs_on_each_reward(name: str, tiny_model: Path, tmp_path: Path) -> None:
    base = shared_base.load(tiny_model)
    spec = RewardSpec(name=name, **PARAMETERS.get(name, {}))
    scorer = policy_scorer([spec], base, ask_rows(), None)
    prompts = [base.renderer.prompt_ids(row["prompt"]) for row in ask_rows()]
    log = train_policy(CONFIG, base, scorer, prompts, tmp_path / "policy", seed=1)
    assert len(log) == 3
    for row in log:
        assert row[f"score_{name}"] == pytest.approx(row["score"], abs=1e-5) or row.get("score_gated", 0) > 0


def test_the_policy_stage_runs_on_somebody_elses_reward_model(tiny_model: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = LlamaConfig.from_pretrained(tiny_model, num_labels=1)
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "theirs")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path / "theirs")
    base = shared_base.load(tiny_model)
    specs = [RewardSpec(name="model", model=str(tmp_path / "theirs"), dtype="float32", device="cpu")]
    scorer = policy_scorer(specs, base, ask_rows(), None)
    prompts = [base.renderer.prompt_ids(row["prompt"]) for row in ask_rows()]
    log = train_policy(CONFIG, base, scorer, prompts, tmp_path / "policy", seed=1)
    assert len({row["score_model"] for row in log}) == len(log) == 3


def test_bleu_and_grammar_tune_without_labels_or_a_reward_model(
    tiny_model: Path, with_references: Path, tmp_path: Path
) -> None:
    overrides = tiny.settings(tiny_model, with_references)
    run, config, console = tiny.opened(tmp_path / "run", [*overrides, f"rewards={shipped('bleu_grammar')}"])
    assert [spec.name for spec in config.rewards] == ["bleu", "grammar"]
    stages.policy(run, config, console)
    log = tiny.rows(run.folder / "policy" / "log.jsonl")
    assert {"score", "score_bleu", "score_grammar"} <= log[0].keys()
    for row in log:
        assert 0 <= row["score_bleu"] <= 1
        assert -50 <= row["score_grammar"] <= 0
    titles = [title for title, _ in training_charts(tuple(log))]
    assert {"Score: bleu", "Score: grammar"} <= set(titles)


def test_learned_length_and_coherence_tune_from_a_finished_reward_model(
    finished: Path, tiny_settings: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "run"
    shutil.copytree(finished, path)
    run, config, console = tiny.opened(path, [*tiny_settings, f"rewards={shipped('learned_length_coherence')}"])
    record = stages.policy(run, config, console)
    assert [spec["name"] for spec in record.basis.config["rewards"]] == ["learned", "length", "coherence"]
    log = tiny.rows(run.folder / "policy" / "log.jsonl")
    assert len({row["score_learned"] for row in log}) == len(log)
    assert all({"score_length", "score_coherence"} <= row.keys() for row in log)


def shipped(name: str) -> str:
    """The rewards of a shipped configuration, as a value on the command line; the file itself is read as well."""
    config = load_config(SHIPPED / f"{name}.yaml", [], {})
    return yaml.safe_dump([spec.model_dump(mode="json", exclude_defaults=True) for spec in config.rewards])


def test_the_learned_reward_by_itself_changes_nothing(finished: Path, tiny_settings: list[str]) -> None:
    run, config, console = tiny.opened(finished, tiny_settings)
    before = run.record("policy")
    assert before is not None
    assert "rewards" not in before.basis.config
    assert stages.policy(run, config, console).skipped  # what was made before is still what is asked for
    mixed = compose([RewardSpec(name="learned")], learned=lambda **given: [1.0] * len(given["completions"]))
    assert mixed(prompts=["p"], completions=["x"], prompt_ids=[[1]], completion_ids=[[2]]) == [1]


def test_a_mixture_scores_the_ids_that_the_learned_model_was_trained_on(finished: Path, tiny_model: Path) -> None:
    folder = finished / "round-000" / "reward"
    base = shared_base.load(tiny_model)
    rows = ask_rows()
    alone = policy_scorer([RewardSpec(name="learned")], base, rows, folder)
    other = shared_base.load(tiny_model)
    doubled = policy_scorer([RewardSpec(name="learned", weight=2)], other, rows, folder)
    prompts = [base.renderer.prompt_ids(row["prompt"]) for row in rows]
    responses = [[5, 6, 2], [7, 2], [200, 201], [9, 9, 9, 2]]
    assert torch.allclose(2 * alone.score(prompts, responses), doubled.score(prompts, responses), atol=1e-6)


def test_a_killed_run_goes_on_with_the_same_normalisation(tiny_model: Path, tmp_path: Path) -> None:
    def train(folder: Path, steps_before_stop: int | None) -> list[dict[str, Any]]:
        base = shared_base.load(tiny_model)
        specs = [RewardSpec(name="coherence", normalise="running")]
        prompts = [base.renderer.prompt_ids(row["prompt"]) for row in ask_rows()]

        def on_step(row: dict[str, Any]) -> None:
            if row["step"] == steps_before_stop:
                raise KeyboardInterrupt

        return train_policy(
            CONFIG, base, policy_scorer(specs, base, ask_rows(), None), prompts, folder, seed=1, on_step=on_step
        )

    whole = train(tmp_path / "whole", None)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", 3)
    resumed = train(tmp_path / "killed", None)
    for one, other in zip(whole, resumed, strict=True):
        assert {k: v for k, v in one.items() if not k.startswith(MACHINE_METRICS)} == {
            k: v for k, v in other.items() if not k.startswith(MACHINE_METRICS)
        }


def test_a_prompt_without_references_is_told_before_the_update(tiny_model: Path, tmp_path: Path) -> None:
    base = shared_base.load(tiny_model)
    rows = [*ask_rows(), {"prompt": tiny.ask("no references here")}]
    scorer = as_scorer(compose([{"name": "bleu"}]), base.renderer, rows)
    prompts = [base.renderer.prompt_ids(row["prompt"]) for row in rows[-2:]]
    with pytest.raises(UserError, match='"bleu" needs references, and row 2 has none'):
        scorer.score(prompts, [[5, 2], [6, 2]])


def test_pessimism_needs_a_reward_model_that_knows_its_uncertainty() -> None:
    class Sure:
        def score(self, prompt_ids: Any, response_ids: Any) -> torch.Tensor:
            return torch.zeros(len(response_ids))

    class Unsure:
        def score(self, prompt_ids: Any, response_ids: Any, return_std: bool = False) -> Any:
            return torch.tensor([1.0]), torch.tensor([0.5])

    with pytest.raises(UserError, match='the reward "learned" has a pessimism, but its reward model was trained'):
        learned_reward(Sure(), unsure=True)
    reward = compose([{"name": "learned", "pessimism": 1}], learned=learned_reward(Unsure(), unsure=True))
    assert reward(prompts=["p"], completions=["x"], prompt_ids=[[1]], completion_ids=[[2]]) == [0.5]


def test_an_unknown_reward_is_refused_when_the_configuration_is_read() -> None:
    with pytest.raises(UserError, match=r'--set rewards: .*there is no reward "blue". Known: bleu, chrf'):
        load_config(None, ["rewards=[{name: blue}]"], {})
