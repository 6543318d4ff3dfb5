"""What the machine can do, and the floor under a step that follows from it."""

import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.steps.work import Setting


def measured_rates(setting: Setting, *_: Any) -> dict[str, Any]:
    """Operations a second of this machine's matrix products, wide and as narrow as sampling's; bytes a second."""
    import torch

    dtype = getattr(torch, setting.dtype)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def best(work: Callable[[], Any], times: int = 30) -> float:
        found = []
        for _ in range(times):
            began = time.perf_counter()
            work()
            if device == "cuda":
                torch.cuda.synchronize()
            found.append(time.perf_counter() - began)
        return statistics.median(found)

    weight = torch.randn(1536, 576, device=device).to(dtype)
    wide = torch.randn(2048, 576, device=device).to(dtype)
    narrow = torch.randn(setting.prompts * setting.group, 576, device=device).to(dtype)
    much = torch.ones(1 << 26, device=device)
    flops, few = (
        2 * len(x) * weight.numel() / best(lambda x=x: torch.nn.functional.linear(x, weight)) for x in (wide, narrow)
    )
    return {"flops": flops, "narrow_flops": few, "bytes_per_second": much.numel() * 4 / best(much.sum)}


def floor_of(ours: dict[str, Any], rates: dict[str, float]) -> dict[str, float]:
    """Seconds of each phase at the machine's rates, with nothing but the matrix products of the model.

    A token costs two operations a weight of the layers in a forward pass, and as many again where a gradient goes back
    through frozen weights; a prompt counts once for its group. A step of sampling cannot be faster than the
    weights are read. The adapter, attention, norms, the optimizer and Python are not in it.
    """
    shape = ours["shape"]
    layers, head = 2 * shape["layers"], 2 * shape["head"]
    prompt, response = shape["prompt_tokens"], shape["response_tokens"]
    through = layers * (prompt + response)
    reading = shape["bytes"] / rates["bytes_per_second"]
    step = max(reading, (layers + head) * shape["rows"] / rates["narrow_flops"])
    # For a gradient the head is passed twice: to the logits and back.
    return {
        "sample": layers * prompt / rates["flops"] + shape["decode_steps"] * step,
        "score": through / rates["flops"],
        "reference": (through + head * response) / rates["flops"],
        "update": (2 * through + 2 * head * response) / rates["flops"],
    }
