"""The joined pipeline on a tiny model: the whole loop, further rounds, imported labels, and kill -9 in every stage."""

import json
import re
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from backbone.exactness import load_shared_base
from backbone.sampling import sample
from foundation.files import read_json, sha256_of, write_jsonl
from labeling_ui.store.store import Store
from pipeline import stages, tuning
from pipeline.config.config import Config
from pipeline.evaluation.judges import SCORE
from pipeline.importing import ImportOptions
from pipeline.runs.manifest import Manifest
from policy.training_log import MACHINE_METRICS
from reward_model.labels.splits import split_by_conversation
from tests.pipeline import tiny

ADAPTER = "adapter_model.safetensors"
MADE = ["prompts", "collect", "preferences", "other_labels", "reward", "policy", "evaluate", "export"]


def manifest(run: Path, number: int = 0) -> Manifest:
    return Manifest.read(run / f"round-{number:03d}" / "manifest.json")


def same_weights(one: Path, other: Path) -> bool:
    first, second = load_file(one / ADAPTER), load_file(other / ADAPTER)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# --- the whole loop ---


def test_the_loop_leaves_every_artifact_and_nothing_half_made(finished: Path) -> None:
    made = {path.name for path in (finished / "round-000").iterdir()}
    assert made == {
        "prompts.jsonl", "candidates.jsonl", "preferences.jsonl", "other_labels.jsonl", "reward", "policy",
        "evaluation.json", "export", "manifest.json",
    }  # fmt: skip
    assert list(manifest(finished).stages) == MADE
    exported = {path.name for path in (finished / "round-000" / "export").iterdir()}
    assert exported >= {ADAPTER, "adapter_config.json", "tokenizer.json", "chat_template.jinja", "README.md"}


def test_an_adapter_is_traced_through_hashes_to_the_labels(finished: Path) -> None:
    stages_ = manifest(finished).stages
    chain = [
        ("export", "round-000/policy", "policy"),
        ("export", "round-000/evaluation.json", "evaluate"),
        ("evaluate", "round-000/reward", "reward"),
        ("policy", "round-000/reward", "reward"),
        ("reward", "round-000/preferences.jsonl", "preferences"),
    ]
    for stage, name, maker in chain:
        assert stages_[stage].basis.inputs[name] == stages_[maker].output_sha256
        assert sha256_of(finished / name) == stages_[maker].output_sha256
    store = Store(finished / "labels.db")
    assert stages_["preferences"].basis.extra["label_set"] == store.label_set_hash()
    store.close()
    assert same_weights(finished / "round-000" / "policy", finished / "round-000" / "export")


def test_nothing_held_out_is_asked_before_the_evaluation(finished: Path) -> None:
    folder = finished / "round-000"
    split = {row["id"]: row["split"] for row in tiny.rows(folder / "prompts.jsonl")}
    assert {split[row["prompt_id"]] for row in tiny.rows(folder / "candidates.jsonl")} == {"train"}
    judged = {row["prompt"][-1]["content"] for row in read_json(folder / "evaluation.json")["sampled"]["pairs"]}
    assert judged == {f"tell me of the {topic}" for topic in tiny.TOPICS[tiny.TRAINING :]}


def test_simulated_labels_are_called_simulated_everywhere(finished: Path) -> None:
    judgements = manifest(finished).stages["preferences"].figures["judgements"]
    assert manifest(finished).stages["preferences"].figures["simulated_judgements"] == judgements > 0
    assert all(row["simulated"] for row in tiny.rows(finished / "round-000" / "preferences.jsonl"))
    card = (finished / "round-000" / "export" / "README.md").read_text()
    assert f"{judgements} of {judgements} judgements came from simulated annotators" in card
    assert "simulated" in (finished / "report.html").read_text().lower()


def test_a_second_call_skips_everything(finished: Path, tiny_settings: list[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "round-000").rglob("*") if path.is_file()}
    run, config, console = tiny.opened(finished, tiny_settings)
    stages.loop(run, config, console, simulated=True)
    shown = tiny.printed(console)
    assert all(f"{name}: already done" in shown for name in MADE)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_without_judges_the_loop_stops_and_says_what_to_do(tiny_settings: list[str], tmp_path: Path) -> None:
    run, config, console = tiny.opened(tmp_path / "run", tiny_settings)
    stages.loop(run, config, console)
    assert f"rlhf label --run {run.path}" in tiny.printed(console)
    assert list(run.manifest().stages) == ["prompts", "collect"]


def test_repeats_are_not_counted_as_more_than_there_is_to_do(tiny_settings: list[str], tmp_path: Path) -> None:
    run, config, console = tiny.opened(tmp_path / "run", [*tiny_settings, "label.repeat_share=0.5"])
    stages.loop(run, config, console)
    stages.label(run, config, console, simulated=True)
    shown = tiny.printed(console)
    counts = [(int(made), int(total)) for made, total in re.findall(r"simulate: (\d+)/(\d+)", shown)]
    judgements = int(re.findall(r"label: (\d+) judgements", shown)[0])
    assert max(made for made, _ in counts) == counts[-1][1] < judgements
    assert len(counts) == len(set(counts))


# --- further rounds ---


def sampled(config: Config, run: Path, adapter: str | None) -> list[str]:
    """What this adapter answers to the training prompts from the second round's random streams."""
    base = load_shared_base(config.model, config.dtype, config.device)
    if adapter:
        base.load_adapter("policy", run / adapter)
    asked = [row["prompt"] for row in tiny.rows(run / "round-001" / "prompts.jsonl") if row["split"] == "train"]
    ids = [base.renderer.prompt_ids(prompt) for prompt in asked]
    with base.using("policy" if adapter else None):
        drawn = sample(base, ids, config.collect.sampling, group=config.collect.candidates, seed=config.seed + 1)
    return [base.renderer.text(one.response_ids) for one in drawn]


def test_a_second_round_goes_on_from_the_first(finished: Path, tiny_settings: list[str], tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(finished, path)
    run, config, console = tiny.opened(path, tiny_settings)
    stages.loop(run, config, console, simulated=True, rounds=2)
    first, second = manifest(path), manifest(path, 1)

    candidates = tiny.rows(path / "round-001" / "candidates.jsonl")
    assert {(row["source"]["adapter"], row["source"]["round"]) for row in candidates} == {("round-000/policy", 1)}
    responses = [row["response"] for row in candidates]
    assert responses == sampled(config, path, "round-000/policy")
    assert responses != sampled(config, path, None)
    for stage in ("collect", "policy"):
        assert second.stages[stage].basis.inputs["round-000/policy"] == first.stages["policy"].output_sha256
    judgements = [each.stages["preferences"].figures["judgements"] for each in (first, second)]
    assert judgements[1] > judgements[0]
    assert tiny.rows(path / "round-000" / "prompts.jsonl") == tiny.rows(path / "round-001" / "prompts.jsonl")
    assert read_json(path / "summary.json")["adapter"] == str(path / "round-001" / "export")

    # The first round is closed: labels that came after it are the second's.
    assert first == manifest(finished)
    run, config, console = tiny.opened(path, tiny_settings)
    stages.loop(run, config, console, simulated=True, rounds=2)
    assert (manifest(path), manifest(path, 1)) == (first, second)


def test_the_second_rounds_policy_begins_where_the_first_ended(
    finished: Path, tiny_settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Begun(Exception):
        pass

    def train(*positional: object, initial: Path | None, **named: object) -> None:
        assert initial == path / "round-000" / "policy"
        raise Begun

    path = tmp_path / "run"
    shutil.copytree(finished, path)
    shutil.copytree(finished / "round-000" / "reward", path / "round-001" / "reward")
    monkeypatch.setattr(tuning, "train_policy", train)
    with pytest.raises(Begun):
        stages.policy(*tiny.opened(path, tiny_settings))


# --- imported labels ---


def hh_file(path: Path, pairs: int = 24) -> Path:
    write_jsonl(
        path,
        [
            {
                side: f"\n\nHuman: what of the {topic}?\n\nAssistant: {reply} the {topic}."
                for side, reply in (("chosen", "I am fond of"), ("rejected", "no idea of"))
            }
            for topic in tiny.TOPICS[:pairs]
        ],
    )
    return path


def test_imported_labels_go_through_without_a_simulated_one(tiny_model: Path, tmp_path: Path) -> None:
    overrides = [*tiny.settings(tiny_model, "auto"), "policy.steps=1", "reward.held_out=0.3"]
    run, config, console = tiny.opened(tmp_path / "run", overrides)
    stages.import_labels(run, config, console, str(hh_file(tmp_path / "hh.jsonl")), ImportOptions("hh"))
    stages.loop(run, config, console)
    record = run.manifest().stages
    assert set(record) == set(MADE) - {"collect"} | {"verdict-pairs"}  # which people are asked about
    assert record["preferences"].figures["simulated_judgements"] == 0
    assert record["evaluate"].figures["judge"] == SCORE
    assert "simulated annotators |" in (card := (run.folder / "export" / "README.md").read_text())
    assert "| judgements by simulated annotators | 0 |" in card
    assert "came from simulated annotators" not in card

    # What the reward model did not see is what the policy is not tuned on, and is judged on.
    preferences = tiny.rows(run.folder / "preferences.jsonl")
    train, held_out = split_by_conversation(preferences, config.reward.held_out, config.seed)
    found = {
        split: {row["id"] for row in tiny.rows(run.folder / "prompts.jsonl") if row["split"] == split}
        for split in ("train", "held_out")
    }
    assert found["train"] == {row["ids"]["prompt"] for row in train}
    assert found["held_out"] == {row["ids"]["prompt"] for row in held_out}
    assert not found["train"] & found["held_out"]
    assert record["reward"].figures["training_pairs"] == len(train)


def test_judgements_of_other_pairs_do_not_stand_for_those_that_wait(tiny_settings: list[str], tmp_path: Path) -> None:
    # Three annotators a pair were imported; the pairs of the next round have none yet.
    run, config, console = tiny.opened(tmp_path / "run", tiny_settings)
    record = {"instruction": "Name a pet.", "input": "", "response1": "A cat.", "response2": "A dog."}
    votes = [
        record | {"idx": n, "instruction": f"Name pet {n}.", "annotator1": 1, "annotator2": 1, "annotator3": 2}
        for n in range(40)
    ]
    (tmp_path / "pandalm.json").write_text(json.dumps(votes))
    stages.import_labels(run, config, console, str(tmp_path / "pandalm.json"), ImportOptions("pandalm"))
    stages.collect(run, config, console)
    stages.loop(run, config, console)
    assert "wait for their judges" in tiny.printed(console)


def test_a_line_with_a_command_is_not_broken_and_loses_no_letter(tiny_settings: list[str], tmp_path: Path) -> None:
    run, config, console = tiny.opened(tmp_path / f"[bold] {'long' * 30}", tiny_settings)
    stages.loop(run, config, console)
    line = f"The candidates wait for their judges: `rlhf label --run {run.argument}`. Then run this again."
    assert line in tiny.printed(console).splitlines()


# --- kill -9 ---

KILLS = {
    "collect": ("pipeline.sampling.drawing:sample", 2),
    "preferences": ("labeling_ui.store.store:Store.record", 9),
    "reward": ("reward_model.training.label_trainer:ReportSteps.on_step_end", 4),
    "policy": ("policy.native.train:train_step", 4),
    "evaluate": ("pipeline.sampling.drawing:sample", 3),
    "export": ("policy.export:PreTrainedTokenizerBase.save_pretrained", 1),
}
"""A function and the call before which to die; the second one dies while labels are given."""


def test_a_loop_killed_in_every_stage_ends_as_if_it_had_not_been(
    finished: Path, tiny_settings: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "run"
    command = ["loop", "--simulate", "--run", path, *(part for each in tiny_settings for part in ("--set", each))]
    shown = ""
    steps = []
    for stage, kill in KILLS.items():
        status, more = tiny.rlhf(*command, log=tmp_path / "log", kill=kill)
        shown += more
        assert status == -signal.SIGKILL, (stage, more)
        assert list(manifest(path).stages) == MADE[: MADE.index(stage)]
        if stage == "policy":
            steps = tiny.rows(path / "round-000" / ".policy.partial" / "log.jsonl")[:2]
    status, more = tiny.rlhf(*command, log=tmp_path / "log")
    shown += more
    assert status == 0, shown
    for stage in set(KILLS) - {"preferences"}:
        assert f"{stage}: going on where it was interrupted" in shown

    killed, whole = path / "round-000", finished / "round-000"
    assert tiny.rows(killed / "policy" / "log.jsonl")[:2] == steps, "steps before the last checkpoint were made again"
    for name in ("prompts.jsonl", "candidates.jsonl", "preferences.jsonl", "evaluation.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    for name in ("reward", "policy", "export"):
        assert same_weights(killed / name, whole / name), name
    logs = [
        [{key: value for key, value in row.items() if not key.startswith(MACHINE_METRICS)} for row in tiny.rows(each)]
        for each in (killed / "policy" / "log.jsonl", whole / "policy" / "log.jsonl")
    ]
    assert logs[0] == logs[1]
    assert {file.name for file in killed.iterdir()} == {file.name for file in whole.iterdir()}
    assert manifest(path).superseded == []
