"""What any later stage would refuse is told by the first command, in one message, before anything is sampled."""

import json
import shutil
from pathlib import Path

import pytest

from backbone import exactness
from benchmarks.architectures import tiny_models
from foundation.files import write_jsonl
from pipeline.preflight import memory
from tests.conftest import CHAT_TEMPLATE
from tests.pipeline import tiny
from tests.pipeline.bad_input.refusing import refused
from tests.pipeline.test_few_prompts import command, few

STRICT = "{% if 'dog' in messages[0]['content'] %}{{ raise_exception('no dogs, please') }}{% endif %}" + CHAT_TEMPLATE
DOGS = ("a dog is here", "the cat", "the mat", "dog and cat", "the hat")
STEP = ["policy.prompts_per_step=2", "policy.steps=1"]


def with_template(model: Path, folder: Path, template: str) -> Path:
    shutil.copytree(model, folder)
    (folder / "chat_template.jinja").write_text(template)
    return folder


def prompts(path: Path, texts: tuple[str, ...], *splits: str) -> str:
    write_jsonl(path, [{"prompt": tiny.ask(text), "split": s} for text, s in zip(texts, splits, strict=True)])
    return f"collect.prompts={path}"


def encoder(tokenizer: Path, folder: Path) -> Path:
    """A random BERT, which sees later tokens, under its causal class, with the tests' tokenizer."""
    shutil.copytree(tokenizer, folder)
    tiny_models.tiny_model("bert").save_pretrained(folder)
    return folder


def test_every_reason_is_told_at_once(tiny_model: Path, tiny_settings: list[str], tmp_path: Path) -> None:
    file = prompts(tmp_path / "five.jsonl", DOGS, *("train",) * 5)
    model = with_template(tiny_model, tmp_path / "model", STRICT)
    settings = [*tiny_settings, *STEP, file, f"model={model}", "reward.lora_targets=[nothing]", "policy.group=1"]
    settings.append("rewards=[{name: learned}, {name: nowhere.at_all}]")
    message = refused("collect", "--run", tmp_path / "run", overrides=settings)
    for told in (
        "5 reasons", "holds no prompt to evaluate on", "2 of 5 prompts cannot be used", '"a dog is here"',
        '"dog and cat"', "no dogs, please", 'reward: lora_targets: this model has no layer named "nothing"',
        "needs policy.group of at least 2", "nowhere.at_all",
    ):  # fmt: skip
        assert told in message
    assert not (tmp_path / "run" / "round-000" / "candidates.jsonl").exists()


def test_held_out_prompts_that_all_fail_are_told_beside_the_reason(
    tiny_model: Path, tiny_settings: list[str], tmp_path: Path
) -> None:
    file = prompts(tmp_path / "five.jsonl", DOGS, "held_out", "train", "train", "held_out", "train")
    model = with_template(tiny_model, tmp_path / "model", STRICT)
    message = refused("collect", "--run", tmp_path / "run", overrides=[*tiny_settings, *STEP, file, f"model={model}"])
    assert "2 of 5 prompts cannot be used" in message
    assert "evaluate: no held_out prompt is short enough" in message


@pytest.mark.parametrize("name", ["collect", "loop"])
def test_a_model_that_sees_later_tokens_is_refused_beside_what_else_is_wrong(
    tiny_model: Path, tiny_settings: list[str], tmp_path: Path, name: str
) -> None:
    model = encoder(tiny_model, tmp_path / "bert")
    settings = [*tiny_settings, f"model={model}", "policy.lora_targets=[nothing]"]
    message = refused(name, "--run", tmp_path / "run", overrides=settings)
    assert "change with later ones" in message
    assert "policy: lora_targets" in message


def test_a_model_of_another_kind_and_a_missing_adapter_are_told_together(
    tiny_model: Path, tiny_settings: list[str], tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"model_type": "vit", "architectures": ["ViTModel"]}))
    settings = [*tiny_settings, f"model={model}", f"policy.initial={tmp_path / 'none'}"]
    message = refused("collect", "--run", tmp_path / "run", overrides=settings)
    assert "is no causal language model" in message
    assert "policy.initial: there is no folder" in message


def test_a_base_beyond_all_memory_is_refused_without_being_loaded(
    tiny_settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available", lambda device: (1000, 2000))
    monkeypatch.setattr(exactness, "load_base", lambda *_: pytest.fail("it is loaded"))
    assert "Use a smaller model" in refused("collect", "--run", tmp_path / "run", overrides=tiny_settings)


def test_a_loop_without_collecting_is_refused_before_its_first_stage(tiny_settings: list[str], tmp_path: Path) -> None:
    rewards = "rewards=[{name: length, target: 3, unit: tokens}, {name: length, target: 2, unit: tokens}]"
    settings = [*tiny_settings, rewards, "policy.lora_targets=[nothing]"]
    message = refused("loop", "--run", tmp_path / "run", overrides=settings)
    assert 'two rewards are called "length"' in message
    assert "policy: lora_targets" in message


def test_a_collection_loads_its_model_once_and_says_what_memory_will_be_short(
    tiny_settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, calls = exactness.load_base, []
    monkeypatch.setattr(exactness, "load_base", lambda *given: calls.append(given) or load(*given))
    monkeypatch.setattr(memory, "available", lambda device: (1000, 1 << 40))
    file = few(tmp_path / "few.jsonl", "train", "train", "held_out")
    shown = command("collect", tmp_path / "run", [*tiny_settings, *STEP, f"collect.prompts={file}"])
    assert "policy may need" in shown
    assert "policy.gradient_checkpointing=true" in shown
    assert len(calls) == 1


def test_an_import_says_what_later_stages_would_refuse(tiny_settings: list[str], tmp_path: Path) -> None:
    write_jsonl(
        tmp_path / "pairs.jsonl",
        [{"prompt": tiny.ask(f"of the {topic}"), "chosen": "yes", "rejected": "no"} for topic in ("cat", "dog", "mat")],
    )
    settings = [*tiny_settings, "collect.prompts=auto", "reward.lora_targets=[nothing]"]
    shown = command("import", tmp_path / "run", settings, "--format", "trl", str(tmp_path / "pairs.jsonl"))
    assert "3 judgements taken" in shown
    assert "import: a later stage would stop: reward: lora_targets" in shown
    assert "policy.prompts_per_step=4" in shown


@pytest.mark.parametrize(
    ("reward", "column"),
    [
        ("{name: bleu}", "references"),
        ("{name: keywords}", "keywords"),
        ("{name: tests_passed, enabled: true}", "tests"),
    ],
)
def test_prompts_that_lack_what_a_reward_reads_are_named_before_anything_is_sampled(
    tiny_settings: list[str], tmp_path: Path, reward: str, column: str
) -> None:
    rows = [{"prompt": tiny.ask(text), "split": "train", column: ["a cat"]} for text in DOGS]
    del rows[1][column]
    write_jsonl(tmp_path / "p.jsonl", [*rows, {"prompt": tiny.ask("a mat"), "split": "held_out", column: ["a mat"]}])
    settings = [*tiny_settings, f"collect.prompts={tmp_path / 'p.jsonl'}", f"rewards=[{{name: learned}}, {reward}]"]
    message = refused("collect", "--run", tmp_path / "run", overrides=settings)
    assert f'needs "{column}" with every prompt, and 1 of 6 have none' in message
    assert not (tmp_path / "run" / "round-000" / "candidates.jsonl").exists()
