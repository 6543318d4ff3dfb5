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
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.crowd.machine import machine
from foundation.files import read_json, write_json

NEVER = "<jupyter_output>"  # a token that the demo model does not write: as the end of a turn it never comes


class Setting(NamedTuple):
    """The work of one step, and in which dtype."""

    prompts: int
    group: int
    tokens: int
    dtype: str = "bfloat16"
    forced: bool = True


SETTINGS = {
    "8x4x64": Setting(8, 4, 64),
    "8x4x64 float32": Setting(8, 4, 64, "float32"),
    "8x4x64 until the end": Setting(8, 4, 64, forced=False),
    "16x8x128": Setting(16, 8, 128),
}


def main() -> None:
    """Run every setting and write the figures after each."""
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
    floor = _floor(ours, rates)
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


def _floor(ours: dict[str, Any], rates: dict[str, float]) -> dict[str, float]:
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


def _work(worker: str, folder: Path) -> None:
    task = read_json(folder / "task.json")
    work: dict[str, Callable[..., dict[str, Any]]] = {"ours": _ours, "trl": _trl, "rates": _rates}
    setting = Setting(**task["setting"])
    result = work[worker](setting, task["steps"], task["model"], task["given"].get(worker, {}), folder)
    write_json(folder / f"{worker}.json", {**result, "peak_bytes": _peak_bytes()})


def _peak_bytes() -> int:
    """Of this process so far; of the GPU's memory where the step ran on one."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _ours(setting: Setting, steps: int, model: str, given: dict[str, Any], folder: Path) -> dict[str, Any]:
    import torch

    from backbone.adapters import SharedBase, lora_config
    from policy.config import PolicyConfig
    from policy.native.train import train_policy
    from reward_model.scorer import RewardScorer

    base = SharedBase.load(model, setting.dtype)
    prompts = [base.renderer.prompt_ids(prompt) for prompt in _prompts(setting.prompts)]
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


def _trl(setting: Setting, steps: int, model: str, given: dict[str, Any], folder: Path) -> dict[str, Any]:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
    from trl import RLOOConfig, RLOOTrainer

    from backbone.loading.models import resolve_model

    name = resolve_model(model)
    tokenizer = AutoTokenizer.from_pretrained(name)
    judge = AutoModelForSequenceClassification.from_pretrained(
        name, num_labels=1, dtype=getattr(torch, setting.dtype), pad_token_id=tokenizer.pad_token_id
    )
    arguments = RLOOConfig(
        **{
            "output_dir": str(folder / "trl"),
            "max_steps": steps + 1,
            "per_device_train_batch_size": 8,
            "gradient_accumulation_steps": setting.prompts * setting.group // 8,
            "num_generations": setting.group,
            "max_completion_length": setting.tokens,
            "temperature": 1.0,
            "beta": 0.05,
            "learning_rate": 1e-6,
            "bf16": setting.dtype == "bfloat16",
            "model_init_kwargs": {"dtype": setting.dtype},
            "generation_kwargs": {"min_new_tokens": setting.tokens} if setting.forced else None,
            "report_to": "none",
            "save_strategy": "no",
            "logging_steps": 1,
            "disable_tqdm": True,
            "use_cpu": not torch.cuda.is_available(),
            **given,
        }
    )
    trainer = RLOOTrainer(
        model=name,
        reward_funcs=judge,
        reward_processing_classes=tokenizer,
        args=arguments,
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in _prompts(setting.prompts)]),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    ends: list[float] = []
    spent: dict[str, float] = {"sample": 0.0}
    sampling: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            ends.append(time.perf_counter())
            sampling.append(spent["sample"])
            spent["sample"] = 0.0
            print(f"\rTRL: {len(ends)}/{steps + 1}", end="", file=sys.stderr, flush=True)

    generate = trainer._generate

    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        result = generate(*args, **kwargs)
        spent["sample"] += time.perf_counter() - began
        return result

    trainer._generate = timed
    trainer.add_callback(Clock())
    trainer.train()
    print(file=sys.stderr)
    lengths = [row["completions/mean_length"] for row in trainer.state.log_history if "completions/mean_length" in row]
    return {
        "seconds": [after - before for before, after in pairwise(ends)],
        "phases": {"sample": sampling[1:]},
        "tokens": statistics.mean(lengths[1:]) * setting.prompts * setting.group,
    }


def _rates(setting: Setting, *_: Any) -> dict[str, Any]:
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


def _prompts(count: int) -> list[list[dict[str, str]]]:
    from foundation.files import read_jsonl
    from pipeline.collection.prompts import EVERYDAY

    return [row["prompt"] for _, row in read_jsonl(EVERYDAY)][:count]


if __name__ == "__main__":
    main()
