"""Who becomes champion, who is kept, what is recorded of it, and what the next round starts from."""

import re
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from backbone.adapter_folder import WEIGHTS
from foundation.errors import UserError
from foundation.files import read_json, sha256_of
from pipeline import promoting, stages
from pipeline.champion.history import BASE, current, history
from pipeline.champion.lineage import lineage_of
from pipeline.champion.start import begins_with
from pipeline.cli.commands import app
from pipeline.inspection.facts import facts_of
from pipeline.inspection.status import next_step
from pipeline.reporting import cautions
from pipeline.reporting.shipping import shipping_of, told_of
from pipeline.runs.folder import Run
from tests.pipeline import tiny
from tests.pipeline.champion.verdicts import GENEROUS, decide


@pytest.fixture
def path(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def settings(tiny_settings: list[str]) -> list[str]:
    return [*tiny_settings, *GENEROUS]


def typed(*arguments: str | Path, run: Path, overrides: list[str], status: int = 0) -> str:
    set_ = [part for each in overrides for part in ("--set", each)]
    result = CliRunner().invoke(app, [*map(str, arguments), "--run", str(run), *set_])
    assert result.exit_code == status, (result.output, result.exception)
    return " ".join((result.output + (result.stderr if status else "")).split())


def test_a_candidate_that_people_prefer_becomes_champion_once(path: Path, settings: list[str]) -> None:
    run, config, console = tiny.opened(path, settings)
    decide(run)
    promoting.promote(run, config, console)
    promoting.promote(run, config, console)
    (made,) = history(run)
    assert (made.action, made.champion, made.by) == ("promoted", "round-000", "people")
    assert made.sha256 == sha256_of(run.folder / "policy")
    assert made.weights == sha256_of(run.folder / "policy" / WEIGHTS)
    assert made.verdict == sha256_of(run.folder / "verdict.json")
    shown = tiny.printed(console)
    for told in (
        "people preferred it to base (win rate 70%, 95% interval 56% to 81%, 47 judgements",
        "already decided",
    ):
        assert told in shown
    measured = read_json(run.folder / "capability.json")
    assert measured["likelihood"]["n"] == 40
    assert measured["format"]["n"] == 4


def test_a_candidate_that_was_not_preferred_is_kept_with_its_reason(path: Path, settings: list[str]) -> None:
    for outcome, told in (("not_better", "people did not find it better than base"), ("undecided", "ended undecided")):
        run, config, console = tiny.opened(path, settings)
        decide(run, outcome)
        promoting.promote(run, config, console)
        assert history(run)[-1].action == "kept"
        assert told in history(run)[-1].reason
        assert current(run).name == BASE
        assert not (run.folder / "capability.json").exists(), "what cannot be promoted is not measured"


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ("promotion.kl=1e-9", r"its KL of \S+ nats per response \(95% interval \S+ to \S+\) is beyond 0.0"),
        ("promotion.length=[5, 6]", r"times as long as the base's \(95% interval \S+ to \S+\), beyond 5 to 6"),
        ("promotion.format=1e-9", "of sound responses cannot be ruled out"),
    ],
)
def test_a_preferred_candidate_beyond_a_limit_is_kept_and_the_limit_named(
    path: Path, settings: list[str], limit: str, told: str
) -> None:
    run, config, console = tiny.opened(path, [*settings, limit])
    decide(run)
    promoting.promote(run, config, console)
    assert (history(run)[-1].action, current(run).name) == ("kept", BASE)
    assert re.search(told, history(run)[-1].reason)
    _, wider, _ = tiny.opened(path, settings)
    promoting.promote(run, wider, console)  # with wider limits it is decided again
    assert current(run).name == "round-000"


def test_a_candidate_whose_loss_of_likelihood_cannot_be_ruled_out_is_kept(path: Path, settings: list[str]) -> None:
    run, config, console = tiny.opened(path, [*settings, "promotion.likelihood=1e-4"])
    policy = run.folder / "policy"
    weights = load_file(policy / WEIGHTS)
    torch.manual_seed(0)
    save_file({name: torch.randn_like(weight) for name, weight in weights.items()}, policy / WEIGHTS)
    manifest = run.manifest()
    tuned = manifest.stages["policy"].model_copy(update={"output_sha256": sha256_of(policy)})
    manifest.stages["policy"] = tuned
    manifest.write(run.manifest_path)
    stages.evaluate(run, config, console)
    decide(run)
    promoting.promote(run, config, console)
    assert history(run)[-1].action == "kept"
    assert "a loss of more than 0.0001 nats per token on general text cannot be ruled out" in history(run)[-1].reason


def test_a_verdict_about_another_champion_promotes_nothing(path: Path, settings: list[str]) -> None:
    run, config, console = tiny.opened(path, settings)
    decide(run, champion={"name": "round-007", "sha256": "7" * 64})
    promoting.promote(run, config, console)
    assert "it was compared with round-007, and the champion is base now" in history(run)[-1].reason


def test_a_verdict_on_another_policy_or_an_open_one_decides_nothing(path: Path, settings: list[str]) -> None:
    run, config, console = tiny.opened(path, settings)
    decide(run, "open")
    promoting.promote(run, config, console)
    decide(run, candidate={"round": 0, "adapter": "round-000/policy", "sha256": "7" * 64})
    promoting.promote(run, config, console)
    assert history(run) == []
    assert "nothing is promoted; the next round starts from the last policy" in tiny.printed(console)
    assert begins_with(run.at(1), config) == run.folder / "policy"


def test_a_decision_that_is_killed_is_the_same_afterwards(path: Path, settings: list[str], tmp_path: Path) -> None:
    decide(Run(path))
    whole = shutil.copytree(path, tmp_path / "whole")
    arguments = [part for each in settings for part in ("--set", each)]
    for kill in (
        ("pipeline.evaluation.comparison:respond", 1),
        ("pipeline.runs.publishing:Output.publish", 1),
        ("pipeline.champion.history:append", 1),
        ("pipeline.champion.history:write_json", 1),
    ):
        status, shown = tiny.rlhf("promote", "--run", path, *arguments, log=tmp_path / "log", kill=kill)
        assert status == -signal.SIGKILL, (kill, shown)
        assert history(Run(path)) == []
    for each in (path, whole):
        status, shown = tiny.rlhf("promote", "--run", each, *arguments, log=tmp_path / "log")
        assert status == 0, shown
    assert current(Run(path)).sha256 == current(Run(whole)).sha256 is not None
    assert history(Run(path))[0].reason == history(Run(whole))[0].reason


def test_the_card_and_the_report_say_the_verdict_and_why_a_candidate_was_kept(path: Path, settings: list[str]) -> None:
    card, page = path / "round-000" / "export" / "README.md", path / "report.html"
    assert "No person has judged this adapter" in card.read_text()
    run, config, console = tiny.opened(path, [*settings, "promotion.kl=1e-9"])
    decide(run)
    for stage in (promoting.promote, stages.export, stages.report):
        stage(run, config, console)
    assert "Compared blind with base by people: better." in card.read_text()
    for text in (card.read_text(), page.read_text(), tiny.printed(console)):
        assert "It was not promoted: its KL of" in text
    before = sha256_of(card.parent)
    stages.export(run, config, console)
    assert sha256_of(card.parent) == before
    promoting.promote_by_hand(run, config, console, "it reads well")
    stages.export(run, config, console)
    assert "It was not promoted" not in card.read_text()
    assert read_json(card.with_name("lineage.json"))["decisions"][-1]["reason"] == "it reads well"
    before = sha256_of(card.parent)
    stages.export(run, config, console)
    assert sha256_of(card.parent) == before


# --- by hand ---


def test_an_export_is_made_anew_after_a_promotion_by_hand_and_where_what_is_told_changed(
    path: Path, settings: list[str]
) -> None:
    run, config, console = tiny.opened(path, settings)
    exported = run.folder / "export"
    promoting.promote_by_hand(run, config, console, "it reads well")
    stages.export(run, config, console)
    assert read_json(exported / "lineage.json")["decisions"][-1]["reason"] == "it reads well"
    manifest = run.manifest()
    reward = manifest.stages["reward"]
    weak = reward.figures | {"gate": "weak", "gate_reason": "Length alone is right as often."}
    manifest.stages["reward"] = reward.model_copy(update={"figures": weak})
    manifest.write(run.manifest_path)
    stages.export(run, config, console)
    assert "Length alone is right as often." in (exported / "README.md").read_text()


def test_a_promotion_by_hand_needs_no_verdict_and_is_recorded_as_such(path: Path, settings: list[str]) -> None:
    assert "needs a reason" in typed("promote", "--force", run=path, overrides=settings, status=2)
    typed("promote", "--force", "--reason", "it reads well", run=path, overrides=settings)
    (made,) = history(Run(path))
    assert (made.action, made.by, made.reason, made.verdict) == ("promoted", "hand", "it reads well", None)
    assert current(Run(path)).name == "round-000"


def test_a_rollback_is_recorded_and_stands_against_the_verdict(path: Path, settings: list[str]) -> None:
    run, config, console = tiny.opened(path, settings)
    decide(run)
    promoting.promote(run, config, console)
    assert "say why" in typed("rollback", run=path, overrides=settings, status=2)
    shown = typed("rollback", "--reason", "it answers rudely", run=path, overrides=settings)
    assert "the champion is base again, and no longer round-000: it answers rudely" in shown
    promoting.promote(run, config, console)
    assert [each.action for each in history(run)] == ["promoted", "rolled_back"]
    assert begins_with(run.at(1), config) is None


def test_a_rollback_to_what_never_was_champion_is_refused_with_those_that_were(path: Path, settings: list[str]) -> None:
    run, config, console = tiny.opened(path, settings)
    with pytest.raises(UserError, match="no champion but its base"):
        promoting.roll_back(run, config, console, None, "why")
    promoting.promote_by_hand(run, config, console, "it reads well")
    with pytest.raises(UserError, match=r"round-007 was no earlier champion .* Earlier champions: base"):
        promoting.roll_back(run, config, console, "round-007", "why")


def test_a_champion_that_was_restored_is_not_said_to_be_taken_back(path: Path, settings: list[str]) -> None:
    run, config, console = tiny.opened(path, settings)
    promoting.promote_by_hand(run, config, console, "it reads well")
    promoting.roll_back(run, config, console, None, "it does not")
    assert "taken back" in cautions.of_decision(run)[0]
    promoting.roll_back(run, config, console, "round-000", "it does after all")
    assert cautions.of_decision(run) == []
    shipping, tuned = shipping_of(run, config), run.record("policy")
    assert shipping
    assert tuned
    assert (shipping.outcome, shipping.sentence) == ("ship", "it was made champion again by hand: it does after all.")
    assert next_step(facts_of(run, config)).state == "promoted"
    assert [each["action"] for each in lineage_of(run, tuned)["decisions"]] == [
        "promoted",
        "rolled_back",
        "rolled_back",
    ]
    assert told_of(history(run)[-1]).endswith(
        "the base was taken back, and the policy of round 0 is the champion again: it does after all."
    )


def test_a_second_rollback_goes_further_back_and_never_forward(path: Path, settings: list[str]) -> None:
    run, config, console = tiny.opened(path, settings)
    promoting.promote_by_hand(run, config, console, "it reads well")
    promoting.roll_back(run, config, console, None, "it does not")
    with pytest.raises(UserError, match=r"is its base: there is nothing to go back from.*champions: round-000"):
        promoting.roll_back(run, config, console, None, "once more")
    promoting.roll_back(run, config, console, "round-000", "it does after all")
    assert [each.champion for each in history(run)] == ["round-000", BASE, "round-000"]


def test_a_rollback_to_a_round_that_was_deleted_is_told_plainly(path: Path, settings: list[str]) -> None:
    run, config, console = tiny.opened(path, settings)
    promoting.promote_by_hand(run, config, console, "it reads well")
    promoting.roll_back(run, config, console, None, "it does not")
    shutil.rmtree(run.folder)
    with pytest.raises(UserError, match=r"round-000.*policy is gone"):
        promoting.roll_back(run, config, console, "round-000", "it does after all")


# --- the next round ---


@pytest.mark.parametrize(("outcome", "adapter"), [("better", "round-000/policy"), ("not_better", None)])
def test_the_next_round_samples_and_tunes_the_champion(
    path: Path, settings: list[str], outcome: str, adapter: str | None
) -> None:
    run, config, console = tiny.opened(path, settings)
    decide(run, outcome)
    promoting.promote(run, config, console)
    second = run.at(1)
    stages.collect(second, config, console)
    assert {row["source"]["adapter"] for row in tiny.rows(second.folder / "candidates.jsonl")} == {adapter}
    promoting.promote_by_hand(run, config, console, "too late for the round that has begun")
    started = begins_with(second, config)
    assert started == (adapter and path / adapter)
    stages.label(second, config, console, simulated=True)
    for stage in (stages.reward, stages.policy):
        stage(second, config, console)
    used = second.manifest().stages["policy"].basis.inputs
    assert ("round-000/policy" in used) == (adapter is not None)


def test_a_round_whose_beginning_was_deleted_says_so(path: Path, settings: list[str]) -> None:
    run, config, console = tiny.opened(path, settings)
    second = run.at(1)
    stages.collect(second, config, console)
    shutil.rmtree(path / "round-000" / "policy")
    with pytest.raises(UserError, match=r"round-001 starts from .*round-000.policy, which is gone"):
        stages.collect(second, config, console)


def test_without_a_policy_nothing_is_decided_and_the_command_that_makes_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for command in (["promote"], ["promote", "--force", "--reason", "why"]):
        told = " ".join(typed(*command, run=tmp_path / "run", overrides=[], status=2).split())
        assert f"policy is missing: run `rlhf policy --run {tmp_path / 'run'}` first" in told
