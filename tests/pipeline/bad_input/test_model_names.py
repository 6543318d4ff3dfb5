"""A name that stands for no model is refused as such, by whichever command and setting it is given."""

import json
from pathlib import Path

import pytest

from backbone.loading import model_folder
from foundation.files import write_jsonl
from tests.pipeline import tiny
from tests.pipeline.bad_input.refusing import ADAPTER, refused

MISTYPED = ["./nofolder", "~/models/x", "mdoel/", "my model", "models/mine/", "models/mine", "mine/..", "a--b/c"]
TOLD = "is neither a folder nor a hub id"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", [*MISTYPED, "owner/model", "gpt2", "a/b.c-d_e", "a/-b", "a/b.", "a/b.git", "a" * 97])
def test_names_that_the_hub_takes_are_those_of_its_own_client(name: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        assert not model_folder.is_hub_id(name, with_owner=False)
    else:
        assert model_folder.is_hub_id(name, with_owner=False)
        assert model_folder.is_hub_id(name) == ("/" in name)


@pytest.mark.parametrize("name", MISTYPED)
def test_a_mistyped_model_is_refused_as_such(name: str) -> None:
    assert model_folder.files_of(name) == []
    assert f'the model "{name}" {TOLD}' in refused("doctor", "--model", name)


def test_an_import_that_begins_a_run_refuses_it_too(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    write_jsonl(pairs, [{"prompt": "Why?", "chosen": "So.", "rejected": "No."}])
    command = ("import", pairs, "--format", "preference", "--run", tmp_path / "run")
    assert TOLD in refused(*command, overrides=["model=./nofolder"])
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.parametrize("stage", ["reward", "policy", "evaluate", "collect"])
def test_every_stage_refuses_it(stage: str, run: Path, tiny_settings: list[str]) -> None:
    assert TOLD in refused(stage, "--run", run, overrides=[*tiny_settings, "model=./nofolder"])


def test_a_server_refuses_it(finished: Path) -> None:
    adapter = finished / "round-000" / "policy"
    assert TOLD in refused("serve", "--base", "./nofolder", "--adapter", f"mine={adapter}", overrides=["serve.port=0"])


def test_a_reward_that_is_a_model_refuses_it(tmp_path: Path, tiny_model: Path) -> None:
    settings = tiny.settings(tiny_model, tiny.prompts_file(tmp_path / "prompts.jsonl"))
    message = refused(
        "policy", "--run", tmp_path / "run", overrides=[*settings, "rewards=[{name: model, model: ./nofolder}]"]
    )
    assert TOLD in message


def test_what_an_export_calls_its_base_is_checked_before_anything_is_made(finished: Path) -> None:
    for name in ("./nofolder", "my model", "mdoel/"):
        assert "it is neither a hub id" in refused("export", "--run", finished, overrides=[f"export.base={name}"])


@pytest.mark.parametrize("stage", ["reward", "policy"])
def test_an_adapter_of_a_base_that_is_nowhere_is_refused(stage: str, run: Path, tmp_path: Path) -> None:
    adapter = run / "round-000" / stage
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "./nofolder"}))
    assert (adapter / ADAPTER).is_file()
    assert TOLD in refused("merge", adapter, tmp_path / "merged")
    assert TOLD in refused("merge", adapter, tmp_path / "merged", "--model", "my model")
    if stage == "reward":
        pairs = tmp_path / "pairs.jsonl"
        write_jsonl(pairs, [{"prompt": "question?", "chosen": "yes", "rejected": "no"}])
        assert TOLD in refused("evaluate-reward", "--reward", adapter, "--pairs", pairs)


def test_a_reward_model_to_compare_with_is_named_as_well(finished: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "pairs.jsonl", [{"prompt": "question?", "chosen": "yes", "rejected": "no"}])
    reward = finished / "round-000" / "reward"
    command = ("evaluate-reward", "--reward", reward, "--pairs", tmp_path / "pairs.jsonl", "--against", "./nofolder")
    assert TOLD in refused(*command)
