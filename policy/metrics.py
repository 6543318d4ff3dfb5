"""What a training log holds of each step, whichever trainer wrote it: repetition, spread of scores, time and memory.

docs/metrics.md explains every figure; the alarms that read them are in `alarms.py`.
"""

import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch.profiler import record_function


def repetition(response_ids: Sequence[Sequence[int]], n: int = 4) -> torch.Tensor:
    """The share of n-grams of each response that occurred earlier in it: (len(response_ids),), fp32, on the CPU.

    0 if all differ, and if there are none. seq-rep-n of Welleck et al. 2020 (arXiv 1908.04319).
    """
    shares = []
    for ids in response_ids:
        grams = [tuple(ids[start : start + n]) for start in range(len(ids) - n + 1)]
        shares.append(1 - len(set(grams)) / len(grams) if grams else 0.0)
    return torch.tensor(shares, dtype=torch.float32)


def score_spread(scores: Sequence[float], group: int) -> float:
    """The standard deviation of the scores of one prompt's responses, mean over prompts.

    `scores` are ordered by prompt, `group` per prompt. With groups of one, the standard deviation over all.
    """
    values = torch.tensor(scores, dtype=torch.float64)
    groups = values.view(-1, group) if group > 1 else values.view(1, -1)
    return float(groups.std(dim=1, correction=0).mean())


def machine_metrics(seconds: Mapping[str, float], tokens: int, device: torch.device) -> dict[str, float]:
    """What a step took: seconds per phase, response tokens per second, peak memory in GB."""
    spent = sum(seconds.values())
    return {
        **{f"seconds_{phase}": round(each, 3) for phase, each in seconds.items()},
        "tokens_per_second": round(tokens / spent, 1) if spent else 0.0,
        "peak_memory_gb": round(peak_memory(device) / 1e9, 3),
    }


def peak_memory(device: torch.device) -> int:
    """The most bytes this process has held so far: of GPU memory if `device` is a GPU, else of main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    """Add the seconds spent inside to `seconds[phase]`; a profiler sees the phase by its name."""
    start = time.perf_counter()
    with record_function(phase):
        yield
    seconds[phase] = seconds.get(phase, 0.0) + time.perf_counter() - start
