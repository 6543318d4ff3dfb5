"""Our reward training beside TRL's `RewardTrainer` with its defaults, on the same pairs in the same run.

With `--beside probe`, beside a linear probe of the base's states instead, fitted in closed form.

Same training and held-out pairs (split by prompt anew with each seed), LoRA rank, target modules and epochs; all else
of TRL's is TRL's (learning rate, batch size, number format, gradient checkpointing, tokenisation). Each training has a
fresh process, so that its peak memory is its own. Both are judged by the same code on the same held-out pairs, after
memory and time have been read. Where the machine has other work to do, the times mean little: run it alone.

    python benchmarks/reward_training.py --json reward_training.json

One seed after the other, so that a run that is stopped leaves all data sets; started again, it goes on. FILE.runs.json
beside the results has the machine, the command and each training's own figures.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from benchmarks.rewards.published import DATA, SETS, Row, parts, published
from benchmarks.rewards.resampling import interval
from benchmarks.rewards.runs import Runs
from foundation import threads
from foundation.files import read_json, write_json
from foundation.intervals import clustered_share_interval
from reward_model.bag_of_words import BagOfWords
from reward_model.evaluation.accuracy import credit
from reward_model.evaluation.baselines import longer_wins
from reward_model.evaluation.calibration import calibration_error, cross_fitted
from reward_model.labels.reading import to_pairs
from reward_model.labels.records import Pair

OURS, BESIDE = "ours", ("trl", "probe")


def main() -> None:
    """Run every data set with every seed, and write the figures after each."""
    threads.settle()
    options = _options()
    if options.worker:
        _work(options.worker, Path(options.folder), options.model)
        return
    names = {name.partition("=")[0]: name for name in options.pairs or SETS}
    rows = {name: published(source, options.data) for name, source in names.items()}
    kept = ("model", "epochs", "rank", "held_out", "limit", "test", "longest", "set", "trl_learning_rate")
    settings = {key: getattr(options, key) for key in kept}
    workers = (OURS, *(options.beside or BESIDE[:1]))
    runs = Runs(options.json, settings, options.seeds * len(names) * len(workers))
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for seed in range(options.seeds):
        for name in names:
            most = (options.limit, options.test)
            train, test = parts(rows[name], options.model, options.longest, options.held_out, most, seed)
            one: dict[str, Any] = {"seed": seed, "train": train, "test": test}
            for worker in workers:
                one[worker] = runs.once(f"{name}, seed {seed}, {worker}", partial(_train, worker, one, options))
            found[name].append(one)
            results = {each: _figures(done) for each, done in found.items() if done}
            write_json(options.json, results)
            print(name, json.dumps(results[name]), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("reward_training.json"), help="where the figures go")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the published data")
    parser.add_argument(
        "--pairs", action="append", metavar="NAME[=FILE]", help=f"{', '.join(SETS)}, or any file of preferences"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=200, help="pairs to train on")
    parser.add_argument("--test", type=int, default=300, help="pairs to judge on, at most")
    parser.add_argument("--longest", type=int, default=384, help="tokens of the longest side that takes part")
    parser.add_argument("--held-out", type=float, default=0.5, help="share of the prompts to judge on")
    parser.add_argument("--model", default="demo", help='"demo", a folder, or a hub id')
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="a setting of our training")
    parser.add_argument("--trl-learning-rate", type=float, help="as a control, instead of TRL's default")
    parser.add_argument("--beside", nargs="+", choices=BESIDE, help="what ours is compared with; TRL unless said")
    parser.add_argument("--worker", choices=(OURS, *BESIDE), help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


def _train(worker: str, one: Row, options: argparse.Namespace) -> dict[str, Any]:
    """One training in a process of its own: `seconds`, `peak_bytes`, and score differences of the held-out pairs."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        settings = {"epochs": options.epochs, "lora_rank": options.rank, "max_length": options.longest}
        settings |= dict(entry.split("=", 1) for entry in options.set)
        task = {key: one[key] for key in ("seed", "train", "test")}
        task |= {"settings": settings, "trl_learning_rate": options.trl_learning_rate}
        write_json(folder / "task.json", task)
        command = [sys.executable, __file__, "--worker", worker, "--folder", scratch, "--model", options.model]
        subprocess.run(command, check=True)
        return dict(read_json(folder / "figures.json"))


def _work(worker: str, folder: Path, model: str) -> None:
    """Train in this process, and write figures.

    Seconds run from loading the model to the trained adapter on disk. Our peak memory includes the pass that measures
    uncertainty; neither includes the held-out pairs.
    """
    train = {OURS: partial(_ours, "adapter"), "trl": _trl, "probe": partial(_ours, "probe")}[worker]
    write_json(folder / "figures.json", train(model, read_json(folder / "task.json"), folder / "trained"))


def _ours(learn: str, model: str, task: Row, folder: Path) -> dict[str, Any]:
    from reward_model.config import RewardConfig
    from reward_model.evaluation.score_differences import score_differences
    from reward_model.scorer import RewardScorer
    from reward_model.training.train import train_reward

    def show(row: Row) -> None:
        print(
            f"\r{learn}: {row.get('phase', 'step')} {row['step']}/{row['steps']}", end="", file=sys.stderr, flush=True
        )

    config, test = RewardConfig.model_validate(task["settings"] | {"learn": learn}), task["test"]
    # It wants held-out pairs for its own figures, which nobody looks at here: the least that it takes.
    figures = train_reward(config, model, task["train"], folder, seed=task["seed"], held_out=test[:1], on_step=show)
    peak = _peak_bytes()
    print(file=sys.stderr)
    differences = score_differences(RewardScorer.load(folder), to_pairs(test))
    times = {"seconds": figures["seconds"], "uncertainty_seconds": figures["uncertainty_seconds"]}
    return {**times, "peak_bytes": peak, "differences": differences.tolist()}


def _trl(model: str, task: Row, folder: Path) -> dict[str, Any]:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl import RewardConfig, RewardTrainer

    from backbone.loading.model_name import resolve_model
    from reward_model.scorer import RewardScorer

    name = resolve_model(model)
    start = time.monotonic()
    lora = LoraConfig(
        task_type="SEQ_CLS",
        r=int(task["settings"]["lora_rank"]),
        target_modules="all-linear",
        modules_to_save=["score"],
    )
    arguments = RewardConfig(
        output_dir=str(folder),
        num_train_epochs=float(task["settings"]["epochs"]),
        seed=task["seed"],
        report_to="none",
        **({"learning_rate": rate} if (rate := task["trl_learning_rate"]) else {}),
        use_cpu=not torch.cuda.is_available(),
    )
    columns = ("prompt", "chosen", "rejected")
    data = Dataset.from_list([{key: row[key] for key in columns} for row in task["train"]])
    trainer = RewardTrainer(model=name, args=arguments, train_dataset=data, peft_config=lora)
    trainer.train()
    trainer.save_model()
    seconds, peak = time.monotonic() - start, _peak_bytes()

    tokenizer = trainer.processing_class
    sequences = [  # rendered as TRL renders them
        tokenizer.apply_chat_template(list(row["prompt"]) + list(row[side]), tokenize=True, return_dict=False)
        for side in ("chosen", "rejected")
        for row in task["test"]
    ]
    chosen, rejected = RewardScorer.load(folder).score_sequences(sequences).chunk(2)
    return {"seconds": seconds, "peak_bytes": peak, "differences": (chosen.double() - rejected.double()).tolist()}


def _peak_bytes() -> int:
    """Of this process so far; of the GPU's memory where training ran on one."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _figures(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of one data set over its seeds.

    Accuracies are shares of all held-out pairs of all seeds, with conversations as clusters also across seeds; a gain
    is the mean of the paired difference to another's, bootstrapped over conversations. Times are summed over seeds, and
    memory is the largest. Calibration errors are over all pairs of all seeds, each after the temperature of its own
    seed, fitted on pairs of other conversations.
    """
    pairs = [to_pairs(one["test"]) for one in seeds]
    prompts = [pair.conversation_key for of_seed in pairs for pair in of_seed]
    found: dict[str, Any] = {}
    ours = credit(np.concatenate(_differences(seeds, OURS)))
    for worker in _workers(seeds):
        differences, prefix = _differences(seeds, worker), _prefix(worker)
        right = credit(np.concatenate(differences))
        found[f"{prefix}accuracy"] = float(right.mean())
        found[f"{prefix}accuracy_low"], found[f"{prefix}accuracy_high"] = clustered_share_interval(right, prompts)
        found[f"{prefix}ece_before"] = calibration_error(np.concatenate(differences))
        found[f"{prefix}ece_after"] = calibration_error(np.concatenate(_calibrated(differences, pairs)))
        if worker != OURS:
            found[f"{prefix}gain"] = float((ours - right).mean())
            found[f"{prefix}gain_low"], found[f"{prefix}gain_high"] = interval(ours - right, prompts)
            found[f"{prefix}time_ratio"] = _of_all(seeds, worker, "seconds", sum) / _of_all(seeds, OURS, "seconds", sum)
            peaks = [_of_all(seeds, each, "peak_bytes", max) for each in (OURS, worker)]
            found[f"{prefix}memory_ratio"] = peaks[0] / peaks[1]
    fitted = [BagOfWords.fit(to_pairs(one["train"])).differences(of) for one, of in zip(seeds, pairs, strict=True)]
    words = credit(np.concatenate(fitted))
    words_low, words_high = interval(ours - words, prompts)
    return {
        **found,
        "longer_wins": float(credit(np.concatenate([longer_wins(of) for of in pairs])).mean()),
        "bag_of_words": float(words.mean()),
        "bag_of_words_gain": float((ours - words).mean()),
        "bag_of_words_gain_low": words_low,
        "bag_of_words_gain_high": words_high,
        "seeds": [_of_seed(one) for one in seeds],
    }


def _workers(seeds: Sequence[Mapping[str, Any]]) -> list[str]:
    return [worker for worker in (OURS, *BESIDE) if worker in seeds[0]]


def _prefix(worker: str) -> str:
    return "" if worker == OURS else f"{worker}_"


def _differences(seeds: Sequence[Mapping[str, Any]], worker: str) -> list[np.ndarray]:
    return [np.array(one[worker]["differences"]) for one in seeds]


def _of_all(seeds: Sequence[Mapping[str, Any]], worker: str, key: str, together: Callable[[Any], float]) -> float:
    return together([one[worker][key] for one in seeds])


def _calibrated(differences: Sequence[np.ndarray], pairs: Sequence[Sequence[Pair]]) -> list[np.ndarray]:
    return [
        cross_fitted(each, [pair.conversation_key for pair in of]) for each, of in zip(differences, pairs, strict=True)
    ]


def _of_seed(one: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of one seed."""
    found: dict[str, Any] = {"seed": one["seed"], "training_pairs": len(one["train"]), "n": len(one["test"])}
    for worker in _workers([one]):
        prefix = _prefix(worker)
        found[f"{prefix}accuracy"] = float(credit(np.array(one[worker]["differences"])).mean())
        found |= {f"{prefix}{key}": one[worker][key] for key in ("seconds", "peak_bytes")}
    return found | {"uncertainty_seconds": one["ours"]["uncertainty_seconds"]}


if __name__ == "__main__":
    main()
