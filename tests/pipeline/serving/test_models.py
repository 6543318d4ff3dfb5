"""What cannot be served is refused before anything is loaded, with a remedy."""

import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from foundation.errors import UserError
from pipeline.config.config import load_config
from pipeline.runs.folder import Run
from pipeline.serving import models
from pipeline.serving.models import check_adapters, load, models_of, named_models
from tests.conftest import make_tiny_model
from tests.pipeline.cli.test_users_and_labels import rlhf


@pytest.fixture
def run(tmp_path: Path, adapters: Mapping[str, Path]) -> Run:
    """A run of two rounds, the second of which has no policy yet."""
    shutil.copytree(adapters["round-000"], tmp_path / "run" / "round-000" / "policy")
    (tmp_path / "run" / "round-001").mkdir()
    return Run(tmp_path / "run")


def test_a_run_serves_its_base_its_champion_and_the_rounds_that_have_a_policy(run: Run) -> None:
    assert models_of(run, load_config(None, [], {})) == {
        "base": None, "champion": None, "round-000": run.path / "round-000" / "policy",
    }  # fmt: skip


def test_a_run_without_an_adapter_says_how_to_make_one(tmp_path: Path) -> None:
    (tmp_path / "run" / "round-000").mkdir(parents=True)
    told = rlhf("serve", "--run", tmp_path / "run", status=2)
    assert "has no adapter yet" in told
    assert "rlhf serve --base MODEL" in told


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["formal"], "write NAME=FOLDER"),
        (["=folder"], "write NAME=FOLDER"),
        (["a/b=folder"], "write NAME=FOLDER"),
        (["base=folder"], 'there is a model "base" already'),
        (["one=x", "one=y"], 'there is a model "one" already'),
    ],
)
def test_names_that_clients_could_not_use_are_refused(given: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        named_models(given)


def test_a_folder_without_an_adapter_is_named(tiny_model: Path, tmp_path: Path) -> None:
    told = rlhf("serve", "--run", tmp_path, "--base", tiny_model, "--adapter", f"mine={tmp_path}", status=2)
    assert f'the adapter "mine" is not in {tmp_path}' in told.replace("\n", "")


def test_an_adapter_of_another_base_is_refused_with_both_hashes(
    tiny_model: Path, adapters: Mapping[str, Path], tmp_path: Path
) -> None:
    other = make_tiny_model(tmp_path / "other", seed=3)
    with pytest.raises(UserError, match=r"sha256 [0-9a-f]{64}, those of .* have [0-9a-f]{64}.*--base"):
        check_adapters({"base": None, "mine": adapters["round-000"]}, str(other))
    check_adapters({"base": None, "mine": adapters["round-000"]}, str(tiny_model))


def test_an_adapter_whose_base_was_changed_is_refused_with_both_hashes(
    tiny_model: Path, adapters: Mapping[str, Path], tmp_path: Path
) -> None:
    moved = shutil.copytree(tiny_model, tmp_path / "model")
    from tests.shared_base import add_random_adapter
    from tests.shared_base import load as load_base

    base = load_base(moved)
    add_random_adapter(base, "mine")
    base.save_adapter("mine", tmp_path / "mine")
    weights = load_file(moved / "model.safetensors")
    save_file({name: weight + 0.5 for name, weight in weights.items()}, moved / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"was changed since training: .*[0-9a-f]{64}.*[0-9a-f]{64}"):
        check_adapters({"base": None, "mine": tmp_path / "mine"}, str(moved))


def test_an_adapter_of_two_names_is_loaded_once(tiny_model: Path, adapters: Mapping[str, Path]) -> None:
    config = load_config(None, [f"model={tiny_model}", "dtype=float32", "device=cpu"], {})
    base, names = load({"base": None, "champion": adapters["round-001"], **adapters}, config)
    assert len(base.adapters) == 2
    assert names["champion"] == names["round-001"] != names["round-000"]
    assert names["base"] is None


def test_a_taken_port_is_told_before_a_model_is_loaded(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "load", None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = rlhf("serve", "--run", tmp_path, "--base", tiny_model, "--port", str(port), status=2)
    assert "another program is using it" in told
    assert "--port" in told
