"""Prompts that cannot be used are refused by line, before anything is sampled."""

import json
from pathlib import Path

import pytest

from tests.pipeline import tiny
from tests.pipeline.bad_input.refusing import refused

GOOD = {"prompt": tiny.ask("fine"), "split": "train"}
PROMPTS = {
    "not JSON": ('{"prompt": ', "line 2: not valid JSON"),
    "not an object": ("[1]", "line 2: expected a JSON object"),
    "a missing field": ('{"promt": []}', 'line 2: the field "prompt" is missing'),
    "a field of another type": ('{"prompt": "fine"}', 'line 2: the field "prompt" must be a list'),
    "not UTF-8": ("\udcff", "line 2: not UTF-8"),
    "both splits": (json.dumps(GOOD | {"split": "held_out"}), "line 2: this prompt is in both splits"),
    "longer than the context": (
        json.dumps({"prompt": tiny.ask("far too long " * 60), "split": "train"}), "exceeds the context of 256",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PROMPTS)
def test_a_bad_prompt_is_refused(case: str, tiny_settings: list[str], tmp_path: Path) -> None:
    line, told = PROMPTS[case]
    file = tmp_path / "prompts.jsonl"
    held_out = json.dumps({"prompt": tiny.ask("good"), "split": "held_out"})
    file.write_text(f"{json.dumps(GOOD)}\n{line}\n{held_out}\n", errors="surrogateescape")
    message = refused("collect", "--run", tmp_path / "run", overrides=[*tiny_settings, f"collect.prompts={file}"])
    assert told in message
    assert not (tmp_path / "run" / "round-000" / "candidates.jsonl").exists()


def test_a_prompts_file_that_is_not_there_is_named(tiny_settings: list[str], tmp_path: Path) -> None:
    overrides = [*tiny_settings, f"collect.prompts={tmp_path}/none.jsonl"]
    assert "none.jsonl, which does not exist" in refused("collect", "--run", tmp_path / "run", overrides=overrides)


def test_prompts_that_leave_no_room_for_a_response_are_counted(tiny_settings: list[str], tmp_path: Path) -> None:
    overrides = [*tiny_settings, "collect.max_prompt_tokens=5"]
    message = refused("collect", "--run", tmp_path / "run", overrides=overrides)
    assert "no train prompt is short enough: raise collect.max_prompt_tokens" in message
