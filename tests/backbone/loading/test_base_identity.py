"""An adapter names its base so that it is found everywhere, and is not used on one that was changed since."""

import json
import logging
import shutil
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from backbone.loading.base_identity import base_beside, published_name, revision_of, trained_on, weights_sha256
from backbone.loading.model_folder import DEMO_HUB_ID, DEMO_MODEL
from backbone.loading.model_name import resolve_model
from foundation.errors import UserError
from policy.export import merge
from tests.conftest import make_tiny_model
from tests.hub_cache import cached_as, python_with
from tests.shared_base import add_random_adapter, load


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_model, tmp_path / "work" / "mine" / "model")


@pytest.fixture
def adapter(model: Path, tmp_path: Path) -> Path:
    base = load(model)
    add_random_adapter(base, "policy", trainable=True)
    base.save_adapter("policy", tmp_path / "work" / "runs" / "policy")
    return tmp_path / "work" / "runs" / "policy"


def named_in(adapter: Path) -> str:
    return str(json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"])


def rename(adapter: Path, base: str) -> None:
    config = adapter / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": base}))


def change(model: Path) -> None:
    weights = load_file(model / "model.safetensors")
    save_file({name: weight * 2 for name, weight in weights.items()}, model / "model.safetensors", {"format": "pt"})


def test_a_folder_is_named_by_its_absolute_path(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path / "work")
    base = load(Path("mine/model"))
    add_random_adapter(base, "policy", trainable=True)
    base.save_adapter("policy", tmp_path / "adapter")
    assert named_in(tmp_path / "adapter") == str(model)


def test_the_demo_model_is_named_by_its_hub_id_and_found_without_the_hub(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLHF_MODELS", "models")
    demo = shutil.copytree(model, Path("models") / DEMO_MODEL)
    for name in ("demo", DEMO_MODEL, DEMO_HUB_ID):
        assert resolve_model(name) == str(demo)
    assert published_name(str(demo)) == published_name(str(demo.resolve())) == DEMO_HUB_ID
    assert published_name("some/model") == "some/model"
    copy = shutil.copytree(model, tmp_path / "other" / DEMO_MODEL)
    assert published_name(str(copy)) == str(copy)


def test_a_folder_that_is_gone_is_not_looked_up_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match='"models/mine" is neither a folder nor a hub id'):
        resolve_model("models/mine")


def test_a_relative_name_of_an_earlier_version_is_found_from_another_folder(
    model: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rename(adapter, "mine/model")
    assert base_beside(adapter, "mine/model") == str(model)
    merge(adapter, tmp_path / "merged")
    assert (tmp_path / "merged" / "model.safetensors").is_file()
    demo = base_beside(adapter, f"models/{DEMO_MODEL}")  # there may be one above the folder of temporary files
    assert demo == DEMO_HUB_ID or Path(demo).is_absolute()
    assert base_beside(adapter, "some/model") == "some/model"


def test_a_base_that_was_changed_since_training_is_refused_with_both_hashes(
    model: Path, adapter: Path, tmp_path: Path
) -> None:
    before = trained_on(adapter)
    assert before == weights_sha256(str(model))
    change(model)
    now = weights_sha256(str(model))
    base = load(model)
    with pytest.raises(UserError, match=f"changed since training.*{before}.*{now}"):
        base.load_adapter("policy", adapter)
    assert base.adapters == []
    with pytest.raises(UserError, match=f"changed since training.*{before}.*{now}"):
        merge(adapter, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_the_same_weights_elsewhere_are_the_same_base_and_others_are_told(
    model: Path, adapter: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    moved = shutil.copytree(model, tmp_path / "other name")
    other = make_tiny_model(tmp_path / "model", seed=1)
    with caplog.at_level(logging.WARNING):
        load(moved).load_adapter("policy", adapter)
        assert not caplog.text
        load(other).load_adapter("policy", adapter)
    assert "was made for" in caplog.text
    assert str(trained_on(adapter)) in caplog.text
    assert str(weights_sha256(str(other))) in caplog.text


def test_a_base_that_is_gone_is_named(model: Path, adapter: Path, tmp_path: Path) -> None:
    shutil.rmtree(model)
    with pytest.raises(UserError, match=f'"{model}" is neither a folder nor a hub id'):
        merge(adapter, tmp_path / "merged")


def test_the_hash_of_several_files_is_what_sha256sum_says(tiny_model: Path, tmp_path: Path) -> None:
    base = load(tiny_model)
    base.base.save_pretrained(tmp_path, max_shard_size="40KB")
    sums = "sha256sum *.safetensors | sha256sum"
    printed = subprocess.run(sums, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert weights_sha256(str(tmp_path)) == printed.split()[0]


def test_a_model_of_the_hub_keeps_its_revision(tiny_model: Path, tmp_path: Path) -> None:
    cached_as("some/model", tiny_model, tmp_path, commit="c0ffee")
    code = (
        "from backbone.loading.base_identity import revision_of, weights_sha256\n"
        "print(revision_of('some/model'), weights_sha256('some/model'))"
    )
    printed = python_with(tmp_path, code, project=True)
    assert printed.split() == ["c0ffee", weights_sha256(str(tiny_model))]
    assert revision_of(str(tiny_model)) is None
