"""On a GPU: policy steps, collecting and reward training on models of 1B and 8B shape, beside TRL and vLLM.

The models have random weights and are made here: nothing comes from a hub. Each figure is measured in a fresh process,
by the code of `policy_step.py`, `reward_training.py` and `steps/`. FILE.json and FILE.md are written after each row, so
that a run that is stopped keeps what it measured. `make bench` leaves this out; run it alone:

    make bench-gpu ARGS='--json gpu.json'
"""

import argparse
import importlib.metadata
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.crowd.machine import machine
from benchmarks.steps.random_model import SHAPES, save_random_model
from benchmarks.steps.work import Setting
from foundation import threads
from foundation.files import read_json, write_json, write_text

ROOT = Path(__file__).resolve().parents[1]
STEPS = 3  # of the policy that are timed, after one that is not
VLLM = {"use_vllm": True, "vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.3}
REHEARSAL = "**A rehearsal with tiny models: no figure here is a measurement.**"


class Work(NamedTuple):
    """What is measured on every model; reward pairs are trained on once."""

    steps: Sequence[Setting]
    collect: Setting
    pairs: int


WORK = Work([Setting(8, 4, 64, forced=False), Setting(32, 8, 128, forced=False)], Setting(128, 4, 128), 256)
TINY = Work([Setting(2, 4, 4, "float32", forced=False)], Setting(3, 2, 4, "float32"), 16)


def main() -> None:
    """Measure row after row until all are done or the time is up."""
    threads.settle()
    options = _options()
    import torch

    if not (options.rehearse or torch.cuda.is_available()):
        print("bench-gpu: torch sees no CUDA GPU here, so nothing was measured. Run it on a machine with a GPU, and "
              "with a build of torch for it.", file=sys.stderr)  # fmt: skip
        sys.exit(2)
    ends = time.monotonic() + 60 * options.minutes
    table: dict[str, Any] = {"rehearsal": options.rehearse, "machine": machine(), "gpu": _gpu()}
    table |= {"versions": _versions(), "rows": []}
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        for shape in ["tiny"] if options.rehearse else SHAPES:
            work = TINY if options.rehearse else WORK
            model = save_random_model(Path(scratch) / shape, shape, options.tokenizer, work.collect.dtype)
            for row in _rows(work, str(model)):
                found = _measure(row, ends - time.monotonic())
                table["rows"].append({"model": shape, "what": row.what, "side": row.side, **found})
                write_json(options.json, table)
                write_text(options.json.with_suffix(".md"), markdown(table))
                print(_line(table["rows"][-1]), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--json", type=Path, default=Path("gpu.json"), help="where the figures go, and a table beside it"
    )
    parser.add_argument("--minutes", type=float, default=28, help="after which rows are left out")
    parser.add_argument("--scratch", type=Path, help="a folder with 20 GB free, for the models; default: the system's")
    parser.add_argument("--tokenizer", default="demo", help="the model whose tokenizer is used")
    parser.add_argument("--rehearse", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


class Row(NamedTuple):
    """One figure: `command` runs in a folder with `task`, and leaves `result` there; `count` is of what it did."""

    what: str
    side: str
    command: list[str]
    task: dict[str, Any]
    result: str
    count: int = 0


def _rows(work: Work, model: str) -> list[Row]:
    rows = []
    for setting in work.steps:
        what = f"policy step {setting.prompts}x{setting.group}x{setting.tokens}"
        task = {"setting": setting._asdict(), "steps": STEPS, "model": model, "given": {}}
        script = [str(ROOT / "benchmarks" / "policy_step.py"), "--worker"]
        rows.append(Row(what, "ours", [*script, "ours"], task, "ours.json"))
        rows.append(Row(what, "TRL, generate", [*script, "trl"], task, "trl.json"))
        rows.append(Row(what, "TRL, vLLM", [*script, "trl"], {**task, "given": {"trl": VLLM}}, "trl.json"))
    drawn = work.collect
    task = {"model": model, **drawn._asdict()}
    what = f"collect {drawn.prompts}x{drawn.group}x{drawn.tokens}"
    module = ["-m", "benchmarks.steps.collecting"]
    rows += [Row(what, side, [*module, side.lower()], task, f"{side.lower()}.json") for side in ("ours", "vLLM")]
    settings = {"epochs": 1, "lora_rank": 16, "max_length": 384, "micro_batch": 8}
    task = {"seed": 0, "settings": settings, "trl_learning_rate": None, "train": _pairs(work.pairs), "test": _pairs(2)}
    script = [str(ROOT / "benchmarks" / "reward_training.py"), "--model", model, "--worker"]
    what = f"reward training, {work.pairs} pairs"
    for side, worker in (("ours", "ours"), ("TRL", "trl")):
        rows.append(Row(what, side, [*script, worker], task, "figures.json", work.pairs))
    return rows


def _pairs(count: int) -> list[dict[str, Any]]:
    """As many pairs of prompts and responses of a few hundred tokens."""

    def said(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    longer, shorter = "one two three four five six seven eight " * 20, "nine ten eleven twelve " * 30
    return [
        {"prompt": said("user", f"Count, {n} of {count}."), "chosen": said("assistant", f"{n} {longer}"),
         "rejected": said("assistant", f"{n} {shorter}")}
        for n in range(count)
    ]  # fmt: skip


def _measure(row: Row, seconds: float) -> dict[str, Any]:
    """The row's figures, or why there are none: `not_run`."""
    if "vLLM" in row.side and importlib.util.find_spec("vllm") is None:
        return {"not_run": "vllm is not installed"}
    if seconds <= 0:
        return {"not_run": "the time was up"}
    with tempfile.TemporaryDirectory() as scratch:
        write_json(Path(scratch) / "task.json", row.task)
        folder = [scratch] if row.command[0] == "-m" else ["--folder", scratch]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        try:
            done = subprocess.run([sys.executable, *row.command, *folder], cwd=ROOT, env=environment, timeout=seconds,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)  # fmt: skip
        except subprocess.TimeoutExpired:
            return {"not_run": "the time was up"}
        if done.returncode:
            return {"not_run": f"it failed: {(done.stderr.strip().splitlines() or ['without a word'])[-1]}"}
        found = read_json(Path(scratch) / row.result)
    seconds = statistics.median(found["seconds"]) if isinstance(found["seconds"], list) else found["seconds"]
    number, unit = (row.count, "pairs") if row.count else (found["tokens"], "tokens")
    return {"seconds": seconds, f"{unit}_per_second": number / seconds, "peak_bytes": found.get("peak_bytes")}


def markdown(table: dict[str, Any]) -> str:
    """The rows as a table, with what they were measured on."""
    versions = ", ".join(f"{name} {version}" for name, version in table["versions"].items())
    about = f"{table['gpu']}; {table['machine']}; {versions}."
    head = "| model | what | side | seconds | a second | peak memory, GB |\n|---|---|---|---|---|---|"
    mark = [REHEARSAL] if table["rehearsal"] else []
    return "\n\n".join([*mark, about, "\n".join([head, *map(_line, table["rows"])])]) + "\n"


def _line(row: dict[str, Any]) -> str:
    cells = [row["model"], row["what"], row["side"]]
    if "not_run" in row:
        return f"| {' | '.join(cells)} | not run: {row['not_run']} | | |"
    rate = next(f"{row[key]:,.1f} {key.split('_')[0]}" for key in row if key.endswith("_per_second"))
    peak = f"{row['peak_bytes'] / 1e9:.2f}" if row["peak_bytes"] else "not known"
    return f"| {' | '.join(cells)} | {row['seconds']:.2f} | {rate} | {peak} |"


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"


def _versions() -> dict[str, str]:
    found = [name for name in ("torch", "transformers", "trl", "peft", "vllm") if importlib.util.find_spec(name)]
    return {name: importlib.metadata.version(name) for name in found}


if __name__ == "__main__":
    main()
