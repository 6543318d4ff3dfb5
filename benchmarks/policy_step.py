"""One step of the policy stage beside TRL's `RLOOTrainer`, on the same work in the same run.

Both take the same prompts, sample as many responses of the same length, score them with a reward model of the
same size, and update a LoRA adapter of rank 16 on all linear layers by RLOO with a KL penalty of 0.05. Each side has
fresh processes, so that peak memory is its own. Printed are medians over steps, the first left out, and the floor: what
the same arithmetic would take at the rates of matrix products and of memory that this machine shows in the same run.
Run it alone.

    python benchmarks/policy_step.py --json policy_step.json
"""

import argparse
import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.crowd.machine import machine
from benchmarks.steps.rates import floor_of, measured_rates
from benchmarks.steps.trl import trl_steps
from benchmarks.steps.work import Setting, everyday_prompts
from foundation import threads
from foundation.files import read_json, write_json

NEVER = "<jupyter_output>"  # a token that the demo model does not write: as the end of a turn it never comes
SETTINGS = {
    "8x4x64": Setting(8, 4, 64),
    "8x4x64 float32": Setting(8, 4, 64, "float32"),
    "8x4x64 until the end": Setting(8, 4, 64, forced=False),
    "16x8x128": Setting(16, 8, 128),
}


def main() -> None:
    """Run every setting and write the figures after each."""
    threads.settle()
    options = _options()
    if options.worker:
        _work(options.worker, Path(options.folder))
        return
    path = Path(options.json)
    results: dict[str, Any] = read_json(path) if path.is_file() else {}
    for name in options.settings or SETTINGS:
        results[name] = _compare(name, options)
        write_json(path, results)
        print(json.dumps({name: results[name]}, indent=2), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", default="policy_step.json", help="where the figures go; settings there are replaced")
    parser.add_argument("--settings", nargs="*", choices=list(SETTINGS), help="some of the settings; default: all")
    parser.add_argument("--steps", type=int, default=4, help="steps to time, after one that is not")
    parser.add_argument("--model", default="demo", help='"demo", a folder, or a hub id')
    parser.add_argument("--trl", action="append", default=[], metavar="NAME=JSON", help="an argument of RLOOConfig")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON", help="a setting of ours")
    parser.add_argument("--worker", choices=["ours", "trl", "rates"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


def _compare(name: str, options: argparse.Namespace) -> dict[str, Any]:
    setting = SETTINGS[name]
    given = {side: dict(_pair(entry) for entry in entries) for side, entries in _given(options).items()}
    with tempfile.TemporaryDirectory() as scratch:
        task = {"setting": setting._asdict(), "steps": options.steps, "model": options.model, "given": given}
        write_json(Path(scratch) / "task.json", task)
        found = {}
        for worker in ("rates", "ours", "trl"):
            command = [sys.executable, __file__, "--worker", worker, "--folder", scratch]
            subprocess.run(command, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
            found[worker] = read_json(Path(scratch) / f"{worker}.json")
    ours, trl, rates = found["ours"], found["trl"], found["rates"]
    floor = floor_of(ours, rates)
    seconds, theirs = statistics.median(ours["seconds"]), statistics.median(trl["seconds"])
    phases = {phase: statistics.median(spent) for phase, spent in ours["phases"].items()}
    return {
        "step_ratio": theirs / seconds,
        "memory_ratio": ours["peak_bytes"] / trl["peak_bytes"],
        "seconds": seconds,
        "floor_seconds": sum(floor.values()),
        "phases": {phase: {"seconds": spent, "floor": floor[phase]} for phase, spent in phases.items()},
        "trl_seconds": theirs,
        "trl_phases": {phase: statistics.median(spent) for phase, spent in trl["phases"].items()},
        "peak_bytes": ours["peak_bytes"],
        "trl_peak_bytes": trl["peak_bytes"],
        "tokens": ours["tokens"],
        "trl_tokens": trl["tokens"],
        "each": {"ours": ours["seconds"], "trl": trl["seconds"]},
        "rates": rates,
        "given": given,
        "machine": machine(),
    }


def _given(options: argparse.Namespace) -> dict[str, list[str]]:
    return {"trl": options.trl, "ours": options.set}


def _pair(entry: str) -> tuple[str, Any]:
    name, value = entry.split("=", 1)
    return name, json.loads(value)


def _work(worker: str, folder: Path) -> None:
    task = read_json(folder / "task.json")
    work: dict[str, Callable[..., dict[str, Any]]] = {"ours": _ours, "trl": trl_steps, "rates": measured_rates}
    setting = Setting(**task["setting"])
    result = work[worker](setting, task["steps"], task["model"], task["given"].get(worker, {}), folder)
    write_json(folder / f"{worker}.json", {**result, "peak_bytes": peak_bytes()})


def peak_bytes() -> int:
    """Of this process so far; of the GPU's memory where the step ran on one."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _ours(setting: Setting, steps: int, model: str, given: dict[str, Any], folder: Path) -> dict[str, Any]:
    import torch

    from backbone.adapters import lora_config
    from backbone.exactness import load_shared_base
    from policy.config import PolicyConfig
    from policy.native.train import train_policy
    from reward_model.scorer import RewardScorer

    base = load_shared_base(model, setting.dtype)
    prompts = [base.renderer.prompt_ids(prompt) for prompt in everyday_prompts(setting.prompts)]
    if setting.forced:
        never = base.tokenizer.convert_tokens_to_ids(NEVER)
        assert isinstance(never, int)
        base.renderer = dataclasses.replace(base.renderer, eos_ids=(never,))
    base.add_adapter("reward", lora_config(16, 32))
    base.heads["reward"] = torch.nn.Linear(base.hidden_size, 1, bias=False, device=base.device)
    config = PolicyConfig.model_validate(
        {
            "steps": steps + 1,
            "prompts_per_step": setting.prompts,
            "group": setting.group,
            "max_new_tokens": setting.tokens,
            "temperature": 1.0,
            "kl_coefficient": 0.05,
            "kl_target": None,
            "length_control": "none",
            "checkpoint_every": steps + 1,
            "warmup_steps": 0,
            "learning_rate": 1e-6,
            "merge_for_sampling": True,
            **given,
        }
    )
    rows: list[dict[str, Any]] = []
    ends = [time.perf_counter()]

    def on_step(row: Any) -> None:
        ends.append(time.perf_counter())
        rows.append(dict(row))
        print(f"\rours: {len(rows)}/{steps + 1}", end="", file=sys.stderr, flush=True)

    train_policy(config, base, RewardScorer(base), prompts, folder / "policy", seed=0, on_step=on_step)
    print(file=sys.stderr)
    seen = rows[1:]
    if setting.forced:
        assert all(row["length"] == setting.tokens for row in seen), "a response ended before it should"
    number = sum(weight.numel() for name, weight in base.base.named_parameters() if "lora_" not in name)
    head = base.lm_table.numel()
    length = statistics.mean(row["length"] for row in seen)
    return {
        "seconds": [after - before for before, after in pairwise(ends[1:])],
        "phases": {
            phase: [row[f"seconds_{phase}"] for row in seen] for phase in ("sample", "score", "reference", "update")
        },
        "tokens": length * setting.prompts * setting.group,
        "shape": {
            "layers": number - head,
            "head": head,
            "bytes": number * base.lm_table.element_size(),
            "rows": length / setting.tokens * setting.prompts * setting.group,
            "prompt_tokens": sum(map(len, prompts)),
            "response_tokens": length * setting.prompts * setting.group,
            "decode_steps": setting.tokens,
        },
    }


if __name__ == "__main__":
    main()
