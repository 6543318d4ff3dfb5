"""Prompts that cannot be used are refused by line, before anything is sampled."""

import json
import shutil
from pathlib import Path

import pytest

from tests.pipeline import tiny
from tests.pipeline.bad_input.refusing import refused

GOOD = {"prompt": tiny.ask("fine"), "split": "train"}
PROMPTS = {
    "not JSON": ('{"prompt": ', "line 2: not valid JSON"),
    "not an object": ("[1]", "line 2: expected a JSON object"),
    "a missing field": ('{"promt": []}', 'line 2: the field "prompt" is missing'),
    "a field of another type": ('{"prompt": 5}', 'line 2: the field "prompt" is 5'),
    "strings and conversations": ('{"prompt": "fine"}', 'line 2: the field "prompt" is a string, but that of line 1'),
    "nothing but blanks": (json.dumps({"prompt": tiny.ask("  ")}), 'line 2: in the field "prompt", each message needs'),
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


def test_a_file_of_strings_says_which_line_is_none(tiny_settings: list[str], tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    for line, told in (('{"prompt": [{"role": "user", "content": "good"}]}', "line 2"), ('{"prompt": ""}', "line 2")):
        file.write_text(f'{{"prompt": "fine"}}\n{line}\n')
        message = refused("collect", "--run", tmp_path / "run", overrides=[*tiny_settings, f"collect.prompts={file}"])
        assert told in message


def test_all_prompts_that_the_template_refuses_are_named_before_anything_is_sampled(
    tiny_settings: list[str], tiny_model: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    template = (model / "chat_template.jinja").read_text()
    refuse = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    (model / "chat_template.jinja").write_text(refuse + template)
    system = [{"role": "system", "content": "be kind"}]
    file = tmp_path / "prompts.jsonl"
    rows = [
        GOOD,
        {"prompt": system + tiny.ask("one cat"), "split": "train"},
        {"prompt": tiny.ask("far too long " * 60), "split": "train"},
        {"prompt": system + tiny.ask("two cats"), "split": "held_out"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    overrides = [*tiny_settings, f"collect.prompts={file}", f"model={model}"]
    message = refused("collect", "--run", tmp_path / "run", overrides=overrides)
    assert "3 of 4 prompts cannot be used" in message
    assert message.count("System role not supported") == 2
    assert all(start in message for start in ('"one cat"', '"two cats"', '"far too long', "exceeds the context of 256"))
    assert not (tmp_path / "run" / "round-000" / "candidates.jsonl").exists()


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{% for m in messages %}{{ m['content'] }", "line 1 of the template"),
        ("{% for m in messages %}<|im_start|>{{ m['role'] }}: {{ m['content'] }}<|im_end|>{% endfor %}", "ignores"),
        (
            "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}###{% endfor %}"
            "{% if add_generation_prompt %}assistant: {% endif %}",
            "not a token of its own",
        ),
    ],
)
def test_a_template_that_cannot_be_used_is_refused(
    template: str, told: str, tiny_settings: list[str], tiny_model: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    (model / "chat_template.jinja").write_text(template)
    message = refused("collect", "--run", tmp_path / "run", overrides=[*tiny_settings, f"model={model}"])
    assert told in message
    assert "set template=plain" in message


def test_a_prompts_file_that_is_not_there_is_named(tiny_settings: list[str], tmp_path: Path) -> None:
    overrides = [*tiny_settings, f"collect.prompts={tmp_path}/none.jsonl"]
    assert "none.jsonl, which does not exist" in refused("collect", "--run", tmp_path / "run", overrides=overrides)


def test_prompts_that_leave_no_room_for_a_response_are_counted(tiny_settings: list[str], tmp_path: Path) -> None:
    overrides = [*tiny_settings, "collect.max_prompt_tokens=5"]
    message = refused("collect", "--run", tmp_path / "run", overrides=overrides)
    assert "no train prompt is short enough: raise collect.max_prompt_tokens" in message
