"""On which device to compute, and in which dtype."""

import os
import time
from pathlib import Path

import torch

from foundation.errors import UserError

_BF16_WORTHWHILE = 1.25


def choose_device(device: str = "auto") -> torch.device:
    """`auto` is this process's GPU if there is one, else the CPU."""
    if device == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    chosen = torch.device(device)
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f'device "{device}" was asked for, but torch sees no CUDA GPU here. Use device: cpu or auto.')
    return chosen


def gpu_memory(device: torch.device) -> tuple[int, int] | None:
    """Bytes that are free on this GPU, and all that it has; None for a CPU."""
    return torch.cuda.mem_get_info(device) if device.type == "cuda" else None


def choose_dtype(dtype: str = "auto", device: torch.device | None = None) -> torch.dtype:
    """`auto` is bfloat16 if the machine multiplies it faster than float32, else float32.

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
    """Processor seconds for one product of the shape of a small model's feed-forward layer: the best of five.

    On one thread and without the time that other processes take: a busy machine must choose as a quiet one does. On the
    CPU whatever the default device: on "meta", where models are only outlined, every dtype takes no time at all.
    """
    inputs, weights = (torch.ones(rows, 576, dtype=dtype, device="cpu") for rows in (512, 1536))
    times = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(6):
            start = time.thread_time()
            for _ in range(4):
                torch.nn.functional.linear(inputs, weights)
            times.append(time.thread_time() - start)
    finally:
        torch.set_num_threads(threads)
    return min(times[1:])
