"""Collecting alone: the stage's own code, or vLLM on the same prompts, with responses that run to their longest.

python -m benchmarks.steps.collecting ours FOLDER   # FOLDER/task.json says what; FOLDER/ours.json gets the figures
"""

import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.steps.work import everyday_prompts
from foundation import threads
from foundation.files import read_json, write_json


def ours(task: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Responses of the base to training prompts, as `rlhf collect` draws and writes them."""
    from backbone.exactness import load_shared_base
    from backbone.sampling import Sample
    from backbone.sampling_config import SamplingConfig
    from benchmarks.policy_step import peak_bytes
    from labeling_ui.data_model import Prompt
    from pipeline.collection.candidates import collect
    from pipeline.collection.prompts import prompt_row
    from pipeline.config.collect import CollectConfig
    from pipeline.sampling.drawing import draw_here

    base = load_shared_base(task["model"], task["dtype"])
    rows = [prompt_row(Prompt(tuple(prompt)), "train") for prompt in everyday_prompts(task["prompts"])]
    sampling = SamplingConfig(max_new_tokens=task["tokens"], temperature=1.0)
    config, tokens = CollectConfig(candidates=task["group"], sampling=sampling), [0]

    def draw(*given: Any, **more: Any) -> list[Sample]:
        drawn = draw_here(*given, **more)
        tokens[0] += sum(len(one.response_ids) for one in drawn)
        return drawn

    seconds = 0.0
    for name in ("first", "timed"):  # the first one builds kernels
        tokens[0], began = 0, time.perf_counter()
        (folder / name).mkdir()
        collect(config, base, rows, folder / name, adapter=None, source={}, seed=0, advance=lambda n: None, draw=draw)
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "tokens": tokens[0], "peak_bytes": peak_bytes(), "sizes": base.sizes.model_dump()}


def vllm(task: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same by vLLM's own engine; its memory is what it was given, so none is told."""
    from vllm import LLM, SamplingParams

    engine = LLM(model=task["model"], dtype=task["dtype"], max_model_len=2048)
    asked = SamplingParams(n=task["group"], max_tokens=task["tokens"], temperature=1.0, ignore_eos=True)
    prompts, seconds, found = everyday_prompts(task["prompts"]), 0.0, []
    for _ in range(2):
        began = time.perf_counter()
        found = engine.chat(prompts, asked)
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "tokens": sum(len(one.token_ids) for answer in found for one in answer.outputs)}


if __name__ == "__main__":
    threads.settle()
    worker, where = sys.argv[1], Path(sys.argv[2])
    write_json(where / f"{worker}.json", {"ours": ours, "vllm": vllm}[worker](read_json(where / "task.json"), where))
