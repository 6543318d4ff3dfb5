"""A card tells what its adapter was made from, whatever the run has made, and the configuration says, since."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from foundation.errors import UserError
from foundation.files import read_json
from labeling_ui.data_model import Answer, Judgement
from pipeline import stages
from pipeline.config.config import Config
from pipeline.exporting import hub
from pipeline.reporting.figures import snippet
from pipeline.reporting.shipping import shipping_of
from pipeline.runs.folder import Run
from pipeline.runs.label_store import label_store
from pipeline.runs.manifest import Manifest
from tests.pipeline import tiny

LATER = ["reward.learning_rate=0.01"]
"""Settings that make another reward model."""


@pytest.fixture
def path(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def cells(card: str) -> dict[str, str]:
    """The rows of the card's tables."""
    return dict(re.findall(r"^\| ([^|]+) \| ([^|]*) \|$", card, re.MULTILINE))


def exported(path: Path, settings: list[str], *changes: str) -> str:
    """The card of the round's adapter, exported anew."""
    run, config, console = tiny.opened(path, [*settings, *changes, "export.license=mit"])
    assert not stages.export(run, config, console).skipped
    return (run.folder / "export" / "README.md").read_text()


def judged_further(run: Run, config: Config) -> None:
    """Somebody answers a task for a second time: other labels than the policy was tuned on."""
    with label_store(run, config) as store:
        person = store.annotator("ann").id
        task = next(each for each in store.tasks() if each.gold is None and each.repeat_of is None)
        store.record(Judgement(task.id, person, task.candidates, Answer("preferred", task.candidates[0])))


def test_labels_and_a_reward_model_that_came_later_are_not_what_it_was_made_from(
    path: Path, tiny_settings: list[str]
) -> None:
    before = cells((path / "round-000" / "export" / "README.md").read_text())
    run, config, console = tiny.opened(path, [*tiny_settings, *LATER])
    judged_further(run, config)
    old = run.manifest().stages
    later = stages.reward(run, config, console)
    now = run.manifest().stages["preferences"]
    assert later.output_sha256 != old["reward"].output_sha256
    assert now.figures["judgements"] == old["preferences"].figures["judgements"] + 1
    card = exported(path, tiny_settings)
    found, lineage = cells(card), read_json(run.folder / "export" / "lineage.json")
    for name in ("label set", "reward model", "judgements by people", "judgements by simulated annotators",
                 "preference pairs", "reward model, accuracy on held-out pairs"):  # fmt: skip
        assert found[name] == before[name], name
    assert found["reward model"] == f"`{lineage['reward_model']['sha256']}`" == f"`{old['reward'].output_sha256}`"
    assert found["label set"] == f"`{lineage['labels']['label_set']}`"
    assert "The reward model was made anew after this policy was tuned" in card


def test_labels_that_left_the_same_preferences_are_not_taken_for_earlier_ones(
    path: Path, tiny_settings: list[str]
) -> None:
    run, _, _ = tiny.opened(path, tiny_settings)
    old = run.manifest().stages["preferences"]
    manifest = run.manifest()
    basis = old.basis.model_copy(update={"extra": {"label_set": "later"}})
    later = old.model_copy(update={"basis": basis, "started": "2999-01-01T00:00:00+00:00",
                                   "finished": "2999-01-01T00:00:01+00:00"})  # fmt: skip
    stages_ = {**manifest.stages, "preferences": later}
    Manifest(stages=stages_, superseded=[*manifest.superseded, old]).write(run.manifest_path)
    assert cells(exported(path, tiny_settings))["label set"] == f"`{old.basis.extra['label_set']}`"


def test_settings_that_were_changed_since_are_not_those_it_was_tuned_with(path: Path, tiny_settings: list[str]) -> None:
    before = cells((path / "round-000" / "export" / "README.md").read_text())
    changes = ("policy.steps=999", "policy.algorithm=dpo", "seed=7", "quantization=int8", "policy.kl_target=9")
    card = exported(path, tiny_settings, *changes)
    found = cells(card)
    assert {name: found[name] for name in before if name != "base licence"} == {
        name: said for name, said in before.items() if name != "base licence"
    }
    assert (found["steps"], found["algorithm"], found["seed"]) == ("4", "rloo", "0")
    assert "by policy gradients towards a reward model of pairwise judgements." in card
    assert "quantised" not in card


def test_a_reward_model_that_nothing_tells_of_is_said_to_be_unknown(path: Path, tiny_settings: list[str]) -> None:
    run, config, console = tiny.opened(path, [*tiny_settings, *LATER])
    used = run.manifest().stages["reward"].output_sha256
    stages.reward(run, config, console)
    manifest = run.manifest()
    Manifest(stages=manifest.stages).write(run.manifest_path)
    card = exported(path, tiny_settings)
    found = cells(card)
    assert f"(sha256 {used}) is no longer in the run" in card
    assert found["reward model"] == f"`{used}`"
    assert found["judgements by people"] == found["preference pairs"] == "not known"
    assert found["label set"] == "`not known`"
    assert found["reward model, accuracy on held-out pairs"] == "not measured"


def test_an_adapter_is_not_exported_as_that_of_another_model(
    path: Path, tiny_settings: list[str], tmp_path: Path
) -> None:
    _, config, _ = tiny.opened(path, tiny_settings)
    other = shutil.copytree(config.model, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    save_file({name: tensor + torch.ones((), dtype=tensor.dtype) for name, tensor in weights.items()},
              other / "model.safetensors", {"format": "pt"})  # fmt: skip
    with pytest.raises(UserError, match=r"the policy of round-000 was tuned on the model .* means nothing on another"):
        exported(path, tiny_settings, f"model={other}")


def test_another_reward_model_is_not_published_beside_the_adapter(
    path: Path, tiny_settings: list[str], tmp_path: Path
) -> None:
    settings = [*tiny_settings, "export.base=someone/base", "export.license=mit"]
    run, config, console = tiny.opened(path, [*settings, *LATER])
    stages.export(run, config, console)
    hub.lay_out(run, config, run.artifact("export"), tmp_path / "laid", "someone/mine", ["reward"], None)
    stages.reward(run, config, console)
    with pytest.raises(UserError, match=r"was not tuned towards the reward model .*Leave out --part reward"):
        hub.lay_out(run, config, run.artifact("export"), tmp_path / "again", "someone/mine", ["reward"], None)


def test_the_report_ships_by_the_reward_model_that_tuned_it(path: Path, tiny_settings: list[str]) -> None:
    run, config, console = tiny.opened(path, [*tiny_settings, *LATER])
    shipped = shipping_of(run, config)
    assert shipped
    before = {each.name: each.said for each in shipped.evidence}
    assert "it was tuned towards this judge" in before["By the reward model"]
    stages.reward(run, config, console)
    stages.evaluate(run, config, console)
    shipped = shipping_of(run, config)
    assert shipped
    found = {each.name: each.said for each in shipped.evidence}
    assert found["Reward model"] == before["Reward model"]
    assert "it was tuned towards this judge" not in found["By the reward model"]
    stages.report(run, config, console)
    assert "Win rates by the reward model are by a later one" in tiny.printed(console)


def test_the_card_and_the_report_stop_the_model_where_its_own_settings_do_not(
    path: Path, tiny_settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "eos_token_id" not in (path / "round-000" / "export" / "README.md").read_text()
    monkeypatch.setattr("backbone.loading.models._declared_ends", lambda *_: [1])
    assert "max_new_tokens=96, eos_token_id=[1, 2])" in exported(path, tiny_settings)
    run, config, _ = tiny.opened(path, tiny_settings)
    assert "max_new_tokens=96, eos_token_id=[1, 2])" in snippet(run, config)
