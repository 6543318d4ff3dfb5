"""The policy stage by each of its trainers, from any adapter, and what comes after it without a reward model."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from backbone.adapter_folder import WEIGHTS
from backbone.adapters import SharedBase
from foundation.errors import UserError
from foundation.files import read_json, write_json, write_jsonl
from pipeline import stages, tuning
from pipeline.evaluation import judges
from pipeline.exporting.adapter import how_tuned
from pipeline.policy_scorers import programmed_judge
from pipeline.tuning import last_figures
from reward_model.rewards.registry import RewardSpec
from tests import shared_base
from tests.pipeline import tiny

PROGRAMMED = 'rewards=[{"name": "length", "target": 3, "unit": "tokens", "normalise": "running"}]'


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """The finished run, without what follows its reward model."""
    path = tmp_path / "run"
    shutil.copytree(finished, path)
    return path


def test_trl_tunes_towards_the_same_reward_model_and_its_adapter_is_evaluated_and_exported(
    copied: Path, tiny_settings: list[str]
) -> None:
    run, config, console = tiny.opened(copied, [*tiny_settings, "policy.engine=trl"])
    record = stages.policy(run, config, console)
    assert record.basis.inputs.keys() == {"round-000/prompts.jsonl", "round-000/reward"}
    log = tiny.rows(run.folder / "policy" / "log.jsonl")
    assert [row["step"] for row in log] == [1, 2, 3, 4]
    assert record.figures["score"] == pytest.approx(log[-1]["score"])
    assert {path.name for path in (run.folder / "policy").iterdir()} == {"adapter_config.json", WEIGHTS, "log.jsonl"}
    stages.evaluate(run, config, console)
    stages.export(run, config, console)
    tuned, exported = (load_file(run.folder / name / WEIGHTS) for name in ("policy", "export"))
    assert tuned.keys() == exported.keys()


def test_dpo_learns_from_the_judgements_on_training_prompts_and_needs_no_reward_model(
    copied: Path, tiny_settings: list[str]
) -> None:
    overrides = [*tiny_settings, "policy.algorithm=dpo"]
    run, config, console = tiny.opened(copied, overrides)
    record = stages.policy(run, config, console)
    assert record.basis.inputs.keys() == {"round-000/prompts.jsonl", "round-000/preferences.jsonl"}
    log = tiny.rows(run.folder / "policy" / "log.jsonl")
    assert log[0]["loss"] == pytest.approx(0.693, abs=1e-3)
    assert {"accuracy", "margin"} <= record.figures.keys()
    assert "dpo has no use for policy.group=" in tiny.printed(console)
    stages.evaluate(run, config, console)
    stages.export(run, config, console)
    card = (run.folder / "export" / "README.md").read_text()
    assert "tuned by direct preference optimisation on pairwise judgements" in card


@pytest.mark.parametrize("trainer", ["native", "trl"])
def test_a_training_that_was_over_when_its_process_was_killed_is_not_done_again(
    copied: Path, tiny_settings: list[str], monkeypatch: pytest.MonkeyPatch, trainer: str
) -> None:
    overrides = [*tiny_settings, f"policy.engine={trainer}", "policy.lora_rank=3"]
    train = getattr(tuning, f"_{trainer}")

    def killed(*given: object) -> None:
        train(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, f"_{trainer}", killed)
    with pytest.raises(KeyboardInterrupt):
        stages.policy(*tiny.opened(copied, overrides))
    partial = copied / "round-000" / ".policy.partial"
    made, log = (partial / WEIGHTS).read_bytes(), tiny.rows(partial / "log.jsonl")
    (partial / ".checkpoints.gone").mkdir()  # as if the kill had come while they were removed
    monkeypatch.setattr(tuning, f"_{trainer}", pytest.fail)
    run, config, console = tiny.opened(copied, overrides)
    record = stages.policy(run, config, console)
    policy = run.folder / "policy"
    assert ((policy / WEIGHTS).read_bytes(), tiny.rows(policy / "log.jsonl")) == (made, log)
    assert record.figures["score"] == pytest.approx(log[-1]["score"])
    assert not (policy / ".checkpoints.gone").exists()


def test_alarms_that_stop_nothing_change_no_policy_but_the_budget_of_the_kl_does(
    copied: Path, tiny_settings: list[str]
) -> None:
    overrides = [*tiny_settings, "policy.stop_on=[]", "policy.steps=1"]
    assert not stages.policy(*tiny.opened(copied, overrides)).skipped
    assert stages.policy(*tiny.opened(copied, [*overrides, "policy.alarms.length=3"])).skipped
    assert not stages.policy(*tiny.opened(copied, [*overrides, "policy.alarms.kl=1"])).skipped


def test_a_weak_reward_model_stops_before_tuning_unless_that_is_accepted(
    copied: Path, tiny_settings: list[str]
) -> None:
    manifest = copied / "round-000" / "manifest.json"
    known = read_json(manifest)
    assert known["stages"]["reward"]["figures"]["gate"] in ("passed", "weak")
    known["stages"]["reward"]["figures"] |= {"gate": "weak", "gate_reason": "On 4 pairs, it is right in 50.0%."}
    del known["stages"]["policy"]
    write_json(manifest, known)
    with pytest.raises(UserError, match=r"weak.*On 4 pairs, it is right in 50\.0%.*--accept-weak-reward"):
        stages.policy(*tiny.opened(copied, [*tiny_settings, "policy.accept_weak_reward=false"]))
    assert not (copied / "round-000" / ".policy.partial").exists()
    run, config, console = tiny.opened(copied, [*tiny_settings, "policy.steps=1"])
    assert not stages.policy(run, config, console).skipped


def test_dpo_leaves_held_out_prompts_alone(
    copied: Path, tiny_settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Begun(Exception):
        pass

    def train(
        config: object, base: object, rows: list[dict[str, dict[str, str]]], *rest: object, **how: object
    ) -> None:
        assert {row["ids"]["prompt"] for row in rows} <= {known[0]} | {*known[2:]}
        assert len(rows) > 0
        raise Begun

    prompts = tiny.rows(copied / "round-000" / "prompts.jsonl")
    known = [row["id"] for row in prompts if row["split"] == "train"]
    source = copied / "prompts.jsonl"
    write_jsonl(source, [row | {"split": "held_out"} if row["id"] == known[1] else row for row in prompts])
    monkeypatch.setattr("policy.trl.train_dpo.train_dpo", train)
    overrides = [*tiny_settings, f"collect.prompts={source}", "policy.algorithm=dpo"]
    with pytest.raises(Begun):
        stages.policy(*tiny.opened(copied, overrides))


@pytest.mark.parametrize("engine", ["native", "trl"])
def test_a_run_with_programmed_rewards_goes_from_prompts_to_export_without_a_label(
    tiny_settings: list[str], tmp_path: Path, engine: str
) -> None:
    run, config, console = tiny.opened(tmp_path / "run", [*tiny_settings, PROGRAMMED, f"policy.engine={engine}"])
    stages.loop(run, config, console)
    assert list(run.manifest().stages) == ["prompts", "policy", "evaluate", "export"]
    record = run.manifest().stages["evaluate"]
    assert record.figures["judge"] == judges.PROGRAMMED
    assert record.basis.config["rewards"] == config.rewards_as_json
    assert list(read_json(run.folder / "evaluation.json")["sampled"]["win_rates"]) == [judges.PROGRAMMED]
    card = (run.folder / "export" / "README.md").read_text()
    assert "tuned by policy gradients towards programmed rewards (length)" in card
    assert "| preference pairs | 0 |" in card
    assert (run.path / "report.html").exists()


def test_judgements_that_are_there_give_programmed_rewards_another_judge(
    tiny_settings: list[str], tmp_path: Path
) -> None:
    run, config, console = tiny.opened(tmp_path / "run", [*tiny_settings, PROGRAMMED, "policy.steps=1"])
    stages.collect(run, config, console)
    stages.label(run, config, console, simulated=True)
    stages.loop(run, config, console)
    assert run.record("reward") is not None
    assert run.manifest().stages["evaluate"].figures["judge"] == judges.SIMULATED


def test_a_judge_does_not_depend_on_what_it_judged_before(tiny_model: Path) -> None:
    base = shared_base.load(tiny_model)
    rows = [{"prompt": tiny.ask(topic)} for topic in tiny.TOPICS[:2]]
    ids = [base.renderer.prompt_ids(row["prompt"]) for row in rows]
    spec = RewardSpec.model_validate({"name": "length", "target": 3, "unit": "tokens", "normalise": "running"})
    judge = programmed_judge([spec], base, rows)
    first = judge.score(ids, [[40, 41, 2], [40, 2]])
    judge.score(ids, [[40] * 9, [40] * 20])
    assert judge.score(ids, [[40, 41, 2], [40, 2]]).tolist() == first.tolist()


def test_evaluating_towards_a_learned_reward_without_one_says_what_to_run(
    finished: Path, tiny_settings: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "run"
    shutil.copytree(finished, path)
    shutil.rmtree(path / "round-000" / "reward")
    with pytest.raises(UserError, match="run `rlhf reward"):
        stages.evaluate(*tiny.opened(path, tiny_settings))


# --- policy.initial ---


def foreign(base: SharedBase, folder: Path, rank: int = 3) -> Path:
    """An adapter that this project did not train."""
    shared_base.add_random_adapter(base, "elsewhere", rank=rank)
    base.save_adapter("elsewhere", folder)
    return folder


@pytest.mark.parametrize("how", ["policy.engine=native", "policy.engine=trl", "policy.algorithm=dpo"])
def test_training_begins_at_any_adapter_of_the_base(
    copied: Path, tiny_model: Path, tiny_settings: list[str], how: str
) -> None:
    initial = foreign(shared_base.load(tiny_model), copied / "elsewhere")
    overrides = [*tiny_settings, how, f"policy.initial={initial}", "policy.learning_rate=1e-9", "policy.steps=1"]
    run, config, console = tiny.opened(copied, overrides)
    record = stages.policy(run, config, console)
    assert "elsewhere" in record.basis.inputs
    before, after = load_file(initial / WEIGHTS), load_file(run.folder / "policy" / WEIGHTS)
    assert before.keys() == after.keys()
    assert all((value - after[name]).abs().max() < 1e-6 for name, value in before.items())
    assert read_json(run.folder / "policy" / "adapter_config.json")["r"] == 3


def test_the_reward_model_begins_at_a_folder_whose_contents_count_and_not_its_name(
    copied: Path, tiny_settings: list[str], tmp_path: Path
) -> None:
    first, moved = tmp_path / "first", tmp_path / "moved"
    shutil.copytree(copied / "round-000" / "reward", first)
    still = [*tiny_settings, "reward.learning_rate=1e-12", "reward.lora_rank=2"]
    record = stages.reward(*tiny.opened(copied, [*still, f"reward.initial={first}"]))
    before, after = (load_file(folder / WEIGHTS) for folder in (first, copied / "round-000" / "reward"))
    assert all((value - after[name]).abs().max() < 1e-6 for name, value in before.items())
    assert not record.skipped
    first.rename(moved)
    assert stages.reward(*tiny.opened(copied, [*still, f"reward.initial={moved}"])).skipped
    save_file({name: 2 * value for name, value in before.items()}, moved / WEIGHTS)
    assert not stages.reward(*tiny.opened(copied, [*still, f"reward.initial={moved}"])).skipped


def test_what_is_no_adapter_is_refused_before_a_model_is_loaded(
    copied: Path, tiny_settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*args: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("pipeline.tuning.load_shared_base", load)
    (copied / "empty").mkdir()
    with pytest.raises(UserError, match="empty is not an adapter folder"):
        stages.policy(*tiny.opened(copied, [*tiny_settings, f"policy.initial={copied / 'empty'}"]))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("policy.algorithm=ppo", "policy.engine=trl runs rloo, grpo, dr_grpo"),
        ("policy.group=1", "needs policy.group of at least 2"),
    ],
)
def test_what_trl_cannot_do_is_refused_before_a_model_is_loaded(
    copied: Path, tiny_settings: list[str], monkeypatch: pytest.MonkeyPatch, override: str, message: str
) -> None:
    monkeypatch.setattr("pipeline.tuning.load_shared_base", lambda *args: pytest.fail("a model was loaded"))
    with pytest.raises(UserError, match=message):
        stages.policy(*tiny.opened(copied, [*tiny_settings, "policy.engine=trl", override]))


def test_the_card_says_how_the_policy_was_tuned(tiny_settings: list[str], tmp_path: Path) -> None:
    mixed = 'rewards=[{"name": "learned"}, {"name": "length", "target": 3, "label": "short"}]'
    ways = {
        "policy.steps=1": "by policy gradients towards a reward model of pairwise judgements",
        mixed: "by policy gradients towards a reward model of pairwise judgements and programmed rewards (short)",
        "policy.algorithm=dpo": "by direct preference optimisation on pairwise judgements",
    }
    for override, text in ways.items():
        _, config, _ = tiny.opened(tmp_path / "run", [*tiny_settings, override])
        rewards = {"rewards": config.rewards_as_json} if override == mixed else {}
        assert how_tuned(config.with_prompts(config.policy) | rewards) == text


# --- the figures that a manifest keeps ---


def test_the_last_tenth_of_a_log_is_averaged_and_its_alarms_are_named() -> None:
    log = [{"step": step, "kl": float(step), "alarms": ["length"]} for step in range(1, 19)]
    log += [{"step": 19, "kl": 3.0, "alarms": ["kl", "entropy"]}, {"step": 20, "kl": 4.0, "alarms": ["kl"]}]
    assert last_figures(log) == {"kl": pytest.approx(3.5), "alarms": ["entropy", "kl"]}


def test_a_figure_that_only_some_steps_have_is_left_out() -> None:
    log = [{"step": step, "kl": 1.0} for step in range(1, 20)] + [{"step": 20, "kl": 2.0, "clip_fraction": 0.5}]
    assert last_figures(log) == {"kl": 1.5, "alarms": []}
    assert last_figures(log[:1]) == {"kl": 1.0, "alarms": []}


def test_figures_of_a_scaled_adapter_are_those_that_it_was_scaled_to() -> None:
    judged = {"judge_gain": 0.3, "judge_low": 0.1, "judge_high": 0.5}
    moved = {"adapter_scale": 0.9, "kl_kept": 3.1, "judge_gain": 0.2, "judge_low": 0.0, "judge_high": 0.4}
    log = [{"step": 1, "kl": 4.0, **judged}, {"step": 2, "kl": 5.0, "kept_step": 1, **moved}]
    assert last_figures(log) == {"kl": 4.0, "alarms": [], "kept_step": 1, "ended_step": 2, **moved}
    unjudged = {"adapter_scale": 0.9, "kl_kept": 3.1}
    assert last_figures([{"step": 1, "kl": 5.0, **unjudged}]) == {"kl": 5.0, "alarms": [], **unjudged}
