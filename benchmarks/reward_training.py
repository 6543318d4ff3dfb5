"""Our reward training beside TRL's `RewardTrainer` with its defaults, on the same split in the same run.

Same held-out prompts, LoRA rank, target modules and epochs; all else of TRL's is TRL's (learning rate, batch size,
number format, gradient checkpointing, tokenisation, length filter). Each training has a fresh process, so that peak
memory is its own. Where the machine has other work to do, the times mean little: run it alone.

    python benchmarks/reward_training.py --pairs hh=hh/preferences.jsonl --json results.json

`preferences.jsonl` is made by `rlhf import`; any file of pairs that `rlhf evaluate-reward` reads will do.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rlhf_pipeline.files import read_json, write_json, write_jsonl
from rlhf_pipeline.reward_model.data import read_pairs, split_by_prompt, to_pairs


def main() -> None:
    """Run every data set and write the figures."""
    options = _options()
    if options.worker:
        _work(options.worker, Path(options.folder), options.model)
        return
    results: dict[str, Any] = {"machine": _machine(), "command": " ".join(sys.argv), "data": {}}
    for name, file in (pair.split("=", 1) for pair in options.pairs):
        results["data"][name] = _compare(Path(file), options)
        print(name, json.dumps(results["data"][name]), flush=True)
        write_json(Path(options.json), results)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", action="append", default=[], metavar="NAME=FILE", help="a data set; may be repeated")
    parser.add_argument("--json", default="reward_training.json", help="where the figures go")
    parser.add_argument("--model", default="demo", help='"demo", a folder, or a hub id')
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--held-out", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="use the first pairs only")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="a setting of our training")
    parser.add_argument("--worker", choices=["ours", "trl"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


def _compare(file: Path, options: argparse.Namespace) -> dict[str, Any]:
    rows = read_pairs(file)[0][: options.limit]
    train, test = split_by_prompt(rows, options.held_out, options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_jsonl(folder / "train.jsonl", train)
        write_jsonl(folder / "test.jsonl", test)
        settings = {"epochs": options.epochs, "lora_rank": options.rank}
        settings |= dict(entry.split("=", 1) for entry in options.set)
        write_json(folder / "settings.json", {"settings": settings, "seed": options.seed})
        for worker in ("ours", "trl"):
            command = [sys.executable, __file__, "--worker", worker, "--folder", scratch, "--model", options.model]
            subprocess.run(command, check=True)
        ours, trl = read_json(folder / "ours.json"), read_json(folder / "trl.json")
    return {
        **{key: ours[key] for key in ("accuracy", "accuracy_low", "accuracy_high", "n")},
        "trl_accuracy": trl["accuracy"],
        "trl_accuracy_low": trl["accuracy_low"],
        "trl_accuracy_high": trl["accuracy_high"],
        "time_ratio": trl["seconds"] / ours["seconds"],
        "memory_ratio": ours["peak_bytes"] / trl["peak_bytes"],
        "longer_wins": ours["longer_wins"],
        "bag_of_words": ours["bag_of_words"],
        "seconds": ours["seconds"],
        "trl_seconds": trl["seconds"],
        "peak_bytes": ours["peak_bytes"],
        "trl_peak_bytes": trl["peak_bytes"],
        "training_pairs": len(train),
    }


def _work(worker: str, folder: Path, model: str) -> None:
    """Train in this process and write figures, seconds of training and peak memory.

    Seconds run from loading the model to the trained adapter on disk, without the evaluation on held-out pairs;
    our peak memory includes that evaluation, TRL's does not.
    """
    rows = [[json.loads(line) for line in (folder / f"{part}.jsonl").open()] for part in ("train", "test")]
    task = read_json(folder / "settings.json")
    figures = (_ours if worker == "ours" else _trl)(model, rows[0], rows[1], folder, task["settings"], task["seed"])
    write_json(folder / f"{worker}.json", figures)


def _peak_bytes() -> int:
    """Of this process so far; of the GPU's memory where training ran on one."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _ours(model: str, train: Any, test: Any, folder: Path, settings: dict[str, Any], seed: int) -> dict[str, Any]:
    from rlhf_pipeline.reward_model.train import RewardConfig, train_reward

    def show(row: Any) -> None:
        print(f"\rours: step {row['step']}/{row['steps']}", end="", file=sys.stderr, flush=True)

    config = RewardConfig.model_validate(settings)
    figures = train_reward(config, model, train, folder / "ours", seed=seed, held_out=test, on_step=show)
    print(file=sys.stderr)
    return {**figures, "peak_bytes": _peak_bytes()}


def _trl(model: str, train: Any, test: Any, folder: Path, settings: dict[str, Any], seed: int) -> dict[str, Any]:
    import numpy as np
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl import RewardConfig, RewardTrainer

    from rlhf_pipeline.backbone.loading import resolve_model
    from rlhf_pipeline.reward_model.evaluate import figures

    name = resolve_model(model)
    start = time.monotonic()
    lora = LoraConfig(
        task_type="SEQ_CLS", r=int(settings["lora_rank"]), target_modules="all-linear", modules_to_save=["score"]
    )
    arguments = RewardConfig(
        output_dir=str(folder / "trl"),
        num_train_epochs=float(settings["epochs"]),
        seed=seed,
        report_to="none",
        use_cpu=not torch.cuda.is_available(),
    )
    columns = ("prompt", "chosen", "rejected")
    data = Dataset.from_list([{key: row[key] for key in columns} for row in train])
    trainer = RewardTrainer(model=name, args=arguments, train_dataset=data, peft_config=lora)
    trainer.train()
    trainer.save_model()
    seconds, peak = time.monotonic() - start, _peak_bytes()

    tokenizer, scorer = trainer.processing_class, trainer.model.eval()

    @torch.no_grad()
    def score(messages: list[dict[str, str]]) -> float:
        ids = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
        with torch.autocast(scorer.device.type, torch.bfloat16):
            return float(scorer(torch.tensor([ids], device=scorer.device)).logits)

    differences = [score(row["prompt"] + row["chosen"]) - score(row["prompt"] + row["rejected"]) for row in test]
    return {**figures(to_pairs(test), np.array(differences)), "seconds": seconds, "peak_bytes": peak}


def _machine() -> dict[str, Any]:
    import peft
    import torch
    import transformers
    import trl

    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": {module.__name__: module.__version__ for module in (torch, transformers, trl, peft)},
    }


if __name__ == "__main__":
    main()
