"""Prompts that go on with one conversation: on one side in a run, and as before in a run that was begun before."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from foundation.files import read_json, read_rows, write_json, write_jsonl
from labeling_ui.data_model import Message, Prompt
from pipeline import stages
from pipeline.collection.held_out import measurable_conversations, rewarded_on, tuned_on
from pipeline.collection.prompts import source_of
from pipeline.runs.folder import Run
from pipeline.runs.label_store import label_store
from pipeline.verdict.pairs import known_prompts, one_of_each_conversation
from reward_model.labels.records import conversation_key, prompt_key
from reward_model.labels.splits import is_among
from tests.pipeline import tiny

Conversation = list[dict[str, str]]


def first(number: int) -> Conversation:
    return tiny.ask(f"tell me of the garden {number}")


def later(number: int) -> Conversation:
    return [*first(number), {"role": "assistant", "content": "it is green"}, *tiny.ask("why?")]


def prompts_of(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    write_jsonl(path, rows)
    return [f"collect.prompts={path}", "collect.held_out=0.3"]


def sides(run: Run) -> dict[str, str]:
    return {prompt_key(row["prompt"]): row["split"] for row in read_rows(run.folder / "prompts.jsonl")}


def mixed(found: Mapping[str, str], numbers: int) -> int:
    """How many conversations are on both sides."""
    return sum(found[prompt_key(first(number))] != found[prompt_key(later(number))] for number in range(numbers))


BOTH = [{"prompt": prompt(number)} for number in range(30) for prompt in (first, later)]


def test_a_run_has_a_conversation_on_one_side(tmp_path: Path) -> None:
    run, config, _ = tiny.opened(tmp_path / "run", prompts_of(tmp_path / "prompts.jsonl", BOTH))
    made = stages.prompts(run, config)
    assert mixed(sides(run), 30) == 0
    assert made.figures["conversations"] == 30


def by_prompt(run: Run) -> None:
    """Make the round's prompts.jsonl one of an earlier version, which said nothing of conversations."""
    manifest = read_json(run.manifest_path)
    del manifest["stages"]["prompts"]["figures"]["conversations"]
    write_json(run.manifest_path, manifest)


def test_a_run_that_was_split_by_prompt_goes_on_so(tmp_path: Path) -> None:
    settings = prompts_of(tmp_path / "prompts.jsonl", BOTH)
    run, config, _ = tiny.opened(tmp_path / "run", settings)
    stages.prompts(run, config)
    by_prompt(run)
    write_jsonl(tmp_path / "prompts.jsonl", [*BOTH, {"prompt": first(30)}])  # which makes them anew
    stages.prompts(run, config)
    found = sides(run)
    assert mixed(found, 30) > 3
    write_jsonl(tmp_path / "prompts.jsonl", [*BOTH, {"prompt": first(30)}, {"prompt": first(31)}])
    stages.prompts(run, config)
    assert {key: side for key, side in sides(run).items() if key in found} == found
    stages.prompts(run.at(1), config)
    assert sides(run.at(1)) == sides(run)
    run, config, _ = tiny.opened(tmp_path / "run", [*settings, "collect.held_out=0.4"])  # another split is asked for
    stages.prompts(run, config)
    assert mixed(sides(run), 30) == 0


@pytest.mark.parametrize("says", ["nothing", "prompts", "conversations"])
def test_prompts_of_imported_labels_are_split_as_their_reward_model_was(tmp_path: Path, says: str) -> None:
    run, config, _ = tiny.opened(tmp_path / "run", ["collect.prompts=labels", "reward.held_out=0.3"])
    with label_store(run, config) as store:
        messages = [tuple(Message(role=m["role"], content=m["content"]) for m in row["prompt"]) for row in BOTH]
        store.add_prompts([Prompt(each) for each in messages])

    def reward(folder: Path) -> dict[str, Any]:
        write_json(folder / "reward.json", {})
        if says != "nothing":
            write_json(folder / "trained_on.json", [] if says == "prompts" else {"conversations": []})
        return {}

    run.stage("reward", "reward", [], {"held_out": 0.3}, reward)
    found = {prompt_key(row["prompt"]): row["split"] for row in source_of(run, config).rows}
    assert (mixed(found, 30) > 3) == (says != "conversations")


def test_nothing_is_measured_on_the_next_turn_of_a_prompt_that_was_tuned_on(tmp_path: Path) -> None:
    rows = [
        {"prompt": first(0), "split": "train"}, {"prompt": later(0), "split": "held_out"},
        {"prompt": later(1), "split": "held_out"}, {"prompt": first(1), "split": "held_out"},
        {"prompt": first(2), "split": "held_out"}, {"prompt": first(3), "split": "held_out"},
        {"prompt": later(3), "split": "train"},
    ]  # fmt: skip
    run, config, _ = tiny.opened(tmp_path / "run", prompts_of(tmp_path / "prompts.jsonl", rows))
    stages.prompts(run, config)
    assert len(measurable_conversations(run)) == 4
    run.stage("policy", "policy", [run.folder / "prompts.jsonl"], {}, lambda folder: {})
    assert is_among(later(0), tuned_on(run))
    assert is_among(first(3), tuned_on(run))
    assert measurable_conversations(run) == {conversation_key(first(number)) for number in (1, 2)}
    assert known_prompts(run, config) == 2  # a verdict asks one prompt of each
    assert one_of_each_conversation(rows) == [rows[0], rows[2], rows[4], rows[5]]


@pytest.mark.parametrize("says", [True, False])
def test_what_an_older_reward_model_learned_from_is_known_by_conversation(tmp_path: Path, says: bool) -> None:
    run, _, _ = tiny.opened(tmp_path / "run", [])
    labels = [{"prompt": later(number), "chosen": "a", "rejected": "b"} for number in range(20)]
    run.stage("preferences", "preferences.jsonl", [], {}, lambda folder: write(folder / "preferences.jsonl", labels))

    def reward(folder: Path) -> dict[str, Any]:
        if says:
            write_json(folder / "trained_on.json", [prompt_key(later(number)) for number in range(15)])
        return {}

    run.stage("reward", "reward", [run.folder / "preferences.jsonl"], {"held_out": 0.25}, reward)
    learned = [is_among(first(number), rewarded_on(run)) for number in range(20)]
    assert learned == [is_among(later(number), rewarded_on(run)) for number in range(20)]
    assert (learned == [True] * 15 + [False] * 5) if says else (10 <= sum(learned) < 20)


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    write_jsonl(path, rows)
    return {}


def test_a_conversation_that_has_much_of_the_prompts_is_told(tmp_path: Path) -> None:
    many = [{"prompt": [*later(0), {"role": "assistant", "content": "so"}, *tiny.ask(f"and {n}?")]} for n in range(20)]
    settings = prompts_of(tmp_path / "prompts.jsonl", [*BOTH, *many])
    run, config, console = tiny.opened(tmp_path / "run", settings)
    stages.prompts(run, config)
    assert "prompts: 22 of 80 prompts begin with the same message ('tell me of the garden 0')" in tiny.printed(console)
