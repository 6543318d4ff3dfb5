"""What was used counts by its content: an overwritten model is seen, and another spelling of its place is not."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from backbone.loading.base_identity import weights_sha256
from backbone.loading.model_folder import files_of
from foundation.files import write_jsonl
from pipeline.config.config import Config, load_config
from pipeline.runs import content as module
from pipeline.runs.content import KeptHashes, content_of
from pipeline.runs.folder import Run
from pipeline.runs.make_output import Produce
from pipeline.runs.manifest import StageRecord
from tests.pipeline.runs.outputs import must_not_run, write_adapter

WEIGHTS = "model.safetensors"


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, to change."""
    return shutil.copytree(tiny_model, tmp_path / "models" / "tiny")


def configured(*overrides: str) -> Config:
    return load_config(None, overrides, {})


def train(run: Run, config: Config, produce: Produce, **used: Any) -> StageRecord:
    """A stage on the model, and with rewards on these."""
    settings = {"model": config.model} | ({"rewards": config.rewards_as_json} if "rewards" in used else {})
    return run.stage("policy", "policy", [], settings, produce, content=content_of(run, config, **used))


def flip_last_byte(file: Path) -> None:
    """Change the last weight in place; size, inode and times stay."""
    before = file.stat()
    with file.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        last = stream.read(1)[0]
        stream.seek(-1, os.SEEK_END)
        stream.write(bytes([last ^ 1]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


# --- the model ---


@pytest.mark.parametrize("file", [WEIGHTS, "config.json", "tokenizer.json", "chat_template.jinja"])
def test_a_model_that_was_overwritten_in_place_is_seen(run: Run, said: list[str], model: Path, file: str) -> None:
    config = configured(f"model={model}")
    train(run, config, write_adapter)
    assert train(run, config, must_not_run).skipped
    flip_last_byte(model / file)
    assert not train(run, config, write_adapter).skipped
    assert "made anew because model changed." in said[-1]


def test_a_file_that_no_model_is_made_of_does_not_count(run: Run, model: Path) -> None:
    train(run, configured(f"model={model}"), write_adapter)
    (model / "README.md").write_text("another word")
    assert train(run, configured(f"model={model}"), must_not_run).skipped


@pytest.mark.parametrize("spelling", ["relative", "slash", "dots", "link", "copy", "hub id"])
def test_where_the_model_lies_makes_no_difference(
    run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    train(run, configured(f"model={model}"), write_adapter)
    monkeypatch.chdir(tmp_path)
    name = {
        "relative": "models/tiny", "slash": f"{model}/", "dots": f"{model}/../tiny", "link": "link", "copy": "copy",
        "hub id": "someone/tiny",
    }[spelling]  # fmt: skip
    (tmp_path / "link").symlink_to(model)
    shutil.copytree(model, tmp_path / "copy")
    hub = tmp_path / "hub" / "models--someone--tiny"
    shutil.copytree(model, hub / "snapshots" / "a1b2")
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text("a1b2")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert train(run, configured(f"model={name}"), must_not_run).skipped


def test_an_output_of_a_model_that_is_no_longer_here_is_still_done(run: Run, model: Path) -> None:
    config = configured(f"model={model}")
    train(run, config, write_adapter)
    shutil.rmtree(model)
    assert train(run, config, must_not_run).skipped


def test_a_model_that_is_fetched_while_the_stage_runs_is_recorded(run: Run, model: Path, tiny_model: Path) -> None:
    shutil.rmtree(model)

    def fetch_and_write(partial: Path) -> Mapping[str, Any]:
        shutil.copytree(tiny_model, model)
        return write_adapter(partial)

    train(run, configured(f"model={model}"), fetch_and_write)
    flip_last_byte(model / WEIGHTS)
    assert not train(run, configured(f"model={model}"), write_adapter).skipped


def test_a_record_of_an_earlier_version_counts_by_its_names(run: Run, model: Path) -> None:
    config = configured(f"model={model}")
    train(run, config, write_adapter)
    manifest = json.loads(run.manifest_path.read_text())
    del manifest["stages"]["policy"]["basis"]["content"]
    run.manifest_path.write_text(json.dumps(manifest))
    assert train(run, config, must_not_run).skipped
    assert not train(run, configured("model=another"), write_adapter).skipped


def test_half_a_model_is_none(model: Path) -> None:
    assert [path.name for path in files_of(str(model))] == [
        "chat_template.jinja", "config.json", "generation_config.json", WEIGHTS, "tokenizer.json",
        "tokenizer_config.json",
    ]  # fmt: skip
    (model / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model.safetensors", "b": "two"}}')
    assert files_of(str(model)) == []


def test_a_large_file_is_read_once_until_somebody_touches_it(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return original(path)

    original = module.sha256_of
    monkeypatch.setattr(module, "sha256_of", counted)
    monkeypatch.setattr(module, "_SETTLED", -60.0)  # as if the file had been written long ago
    first, kept = model / WEIGHTS, tmp_path / "hashes.json"
    found = KeptHashes(kept).of([first])
    assert KeptHashes(kept).of([first]) == found
    assert read == [first]
    flip_last_byte(first)
    assert KeptHashes(kept).of([first]) != found
    kept.write_text("[not JSON")
    assert KeptHashes(kept).of([first]) != found


def test_the_hash_of_a_file_that_has_just_been_written_is_not_kept(model: Path, tmp_path: Path) -> None:
    (model / WEIGHTS).touch()
    KeptHashes(tmp_path / "hashes.json").of([model / WEIGHTS])
    assert not (tmp_path / "hashes.json").exists()


# --- rewards ---


def words(path: Path, *listed: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(listed))
    return path


def test_a_word_list_counts_by_what_is_in_it(run: Run, model: Path, tmp_path: Path, said: list[str]) -> None:
    def now(file: Path) -> Config:
        return configured(f"model={model}", f"rewards=[{{name: safety, file: {file}}}]")

    first = words(tmp_path / "words.txt", "damn")
    train(run, now(first), write_adapter, rewards=True)
    assert train(run, now(words(tmp_path / "moved" / "list.txt", "damn")), must_not_run, rewards=True).skipped
    words(first, "drat")
    assert not train(run, now(first), write_adapter, rewards=True).skipped
    assert "rewards.0.file changed" in said[-1]


@pytest.mark.parametrize("edited", ["kind/words.py", "kind/__init__.py", "lists.py"])
def test_a_function_counts_with_what_it_imports_from_beside_it(
    run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edited: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "kind").mkdir()
    (tmp_path / "kind" / "__init__.py").write_text("raise RuntimeError('it must not be imported here')\n")
    (tmp_path / "kind" / "words.py").write_text("from . import other\nimport torch, lists\ndef polite(**_): ...\n")
    (tmp_path / "lists.py").write_text("GOOD = ['please']\n")
    (tmp_path / "unrelated.py").write_text("")
    config = configured(f"model={model}", "rewards=[{name: kind.words.polite}]")
    train(run, config, write_adapter, rewards=True)
    (tmp_path / "unrelated.py").write_text("changed = True\n")
    assert train(run, config, must_not_run, rewards=True).skipped
    with (tmp_path / edited).open("a") as file:
        file.write("changed = True\n")
    assert not train(run, config, write_adapter, rewards=True).skipped


def test_a_classifier_counts_by_its_weights(run: Run, model: Path, tmp_path: Path) -> None:
    judge = shutil.copytree(model, tmp_path / "judge")
    config = configured(f"model={model}", f"rewards=[{{name: model, model: {judge}}}]")
    train(run, config, write_adapter, rewards=True)
    flip_last_byte(judge / WEIGHTS)
    assert not train(run, config, write_adapter, rewards=True).skipped


# --- prompts ---


def test_a_stage_depends_on_the_prompts_of_its_split_alone(run: Run, model: Path) -> None:
    config, file = configured(f"model={model}"), run.folder / "prompts.jsonl"

    def made(produce: Produce, split: str) -> bool:
        content = content_of(run, config, split=split)
        return not run.stage(split, split, [file], {}, produce, content=content).skipped

    rows = [{"id": "1", "prompt": [], "split": "train"}, {"id": "2", "prompt": [], "split": "held_out"}]
    write_jsonl(file, rows)
    assert made(write_adapter, "train")
    assert made(write_adapter, "held_out")
    write_jsonl(file, [*rows, {"id": "3", "prompt": [], "split": "held_out"}])
    assert not made(must_not_run, "train")
    assert made(write_adapter, "held_out")


def test_a_further_field_of_a_prompt_counts_where_rewards_read_it_alone(run: Run, model: Path) -> None:
    config, file = configured(f"model={model}"), run.folder / "prompts.jsonl"
    for level, again in ((1, False), (2, True)):
        write_jsonl(file, [{"id": "1", "prompt": [], "split": "train", "level": level}])
        for name in ("collect", "policy"):
            rewards = name == "policy"
            content = content_of(run, config, split="train", rewards=rewards)
            produce = must_not_run if again and not rewards else write_adapter
            run.stage(name, name, [file], {}, produce, content=content)
        assert bool(run.manifest().superseded) == again


def test_weights_that_only_another_program_reads_do_not_count(model: Path) -> None:
    before, trained_on = files_of(str(model)), weights_sha256(str(model))
    shutil.copyfile(model / WEIGHTS, model / "consolidated.safetensors")
    assert (files_of(str(model)), weights_sha256(str(model))) == (before, trained_on)
