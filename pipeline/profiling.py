"""A trace of one step of the policy stage, for `rlhf policy --profile`.

The first step warms up, the next one is recorded: every operator with its time, under the phase that it
belongs to. What is learned stays the same; only the recorded step takes longer.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

Row = Mapping[str, Any]
TRACE, OPERATORS = "trace.json.gz", "operators.txt"
_LISTED = 40


@contextmanager
def profiled(folder: Path, say: Callable[[str], None]) -> Iterator[Callable[[Row], None]]:
    """Yield what is told of each step by its row; writes `folder/trace.json.gz` and `folder/operators.txt`.

    `say` is told where they are, or why there are none.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it would write into the figures on the terminal
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    recorder = profile(activities=activities)
    last, made = time.monotonic(), 0

    def on_step(row: Row) -> None:
        nonlocal last, made
        before, last = last, time.monotonic()
        # The rows of an interrupted attempt are told again at once, sooner than the steps that they tell of were made.
        took = sum(value for name, value in row.items() if name.startswith("seconds_"))
        if last - before < took / 2:
            return
        made += 1
        if made == 1:
            recorder.start()
        elif made == 2:
            recorder.stop()
            say("profile: writing what was recorded; with a large model this takes a minute or so.")
            _write(recorder, folder)
            say(
                f"profile: step {row['step']} is recorded in {folder / TRACE} (open it at ui.perfetto.dev); what its "
                f"operators cost is in {folder / OPERATORS}."
            )
        last = time.monotonic()

    try:
        yield on_step
    finally:
        if made == 1:
            recorder.stop()
    if made < 2:
        say("profile: nothing was recorded, for that takes two steps. Ask for more with policy.steps.")


def _write(recorder: profile, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    recorder.export_chrome_trace(str(folder / TRACE))
    order = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    (folder / OPERATORS).write_text(recorder.key_averages().table(sort_by=order, row_limit=_LISTED), encoding="utf-8")
