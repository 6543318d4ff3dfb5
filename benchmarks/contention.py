"""How much slower is work beside other work? Steps of each stage with 0, 1, 2 and 4 busy neighbours.

A neighbour is a process that burns one core. Each figure comes from a fresh process: the model is loaded and the work
is done once, then timed a few times, and the median counts. "before" lets waiting threads spin as libgomp does by
itself, "after" as `foundation/threads.py` sets it; TRL's `RLOOTrainer` stands beside the policy step, with libgomp's
own. Printed are seconds, and how many times as long it took as with no neighbour. Run it alone.

    python benchmarks/contention.py --json contention.json
    python benchmarks/contention.py --work policy collect --neighbours 0 1
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.crowd.machine import machine
from benchmarks.steps.trl import trl_steps
from benchmarks.steps.work import Setting, everyday_prompts
from foundation import threads
from foundation.files import read_json, write_json

OWN_SPINS = "300000"  # libgomp's, where there are no more threads than cores
BURN = "while True: pass"
SETTING = Setting(4, 4, 24)


def main() -> None:
    """Run every work in every way beside every number of neighbours, and write the figures after each."""
    options = _options()
    if options.worker:
        threads.settle()
        write_json(options.out, WORK[options.worker](options.model, options.dtype, options.repeats))
        return
    found: dict[str, Any] = read_json(options.json) if options.json.is_file() else {}
    found["machine"] = machine()
    for name in options.work:
        for way in ("TRL",) if name == "trl" else options.ways:
            figures = found.setdefault(f"{name} {way}", {})
            for neighbours in options.neighbours:
                figures[str(neighbours)] = _median(name, way, neighbours, options)
                write_json(options.json, found)
            quiet = figures.get("0")
            told = (
                f"{number}: {seconds:.2f} s" + (f" ({seconds / quiet:.2f})" if quiet else "")
                for number, seconds in figures.items()
            )
            print(f"{name:9} {way:7} " + ", ".join(told), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("contention.json"), help="where the figures go")
    parser.add_argument("--work", nargs="*", choices=list(WORK), default=list(WORK))
    parser.add_argument("--ways", nargs="*", choices=["before", "after"], default=["before", "after"])
    parser.add_argument("--neighbours", nargs="*", type=int, default=[0, 1, 2, 4])
    parser.add_argument("--repeats", type=int, default=3, help="times that each work is timed, after one that is not")
    parser.add_argument("--model", default="demo", help='"demo", a folder, or a hub id')
    parser.add_argument("--dtype", default="auto", help="dtype of the base")
    parser.add_argument("--worker", choices=list(WORK), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _median(name: str, way: str, neighbours: int, options: argparse.Namespace) -> float:
    spinning = {} if way == "after" else {"GOMP_SPINCOUNT": OWN_SPINS}
    unset = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")
    own = {key: value for key, value in os.environ.items() if key not in unset}
    with tempfile.TemporaryDirectory() as scratch, _busy(neighbours):
        out = Path(scratch) / "seconds.json"
        command = [sys.executable, __file__, "--worker", name, "--out", str(out), "--repeats", str(options.repeats)]
        command += ["--model", options.model, "--dtype", options.dtype]
        subprocess.run(command, check=True, env=own | spinning | {"HF_HUB_OFFLINE": "1"}, stderr=subprocess.DEVNULL)
        return statistics.median(read_json(out))


@contextmanager
def _busy(neighbours: int) -> Iterator[None]:
    burning = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(neighbours)]
    try:
        yield
    finally:
        for process in burning:
            process.kill()
            process.wait()


def _timed(work: Callable[[], Any], repeats: int) -> list[float]:
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return seconds[1:]


def _loaded(model: str, dtype: str) -> Any:
    """The base with an untrained reward model on it."""
    import torch

    from backbone.adapters import lora_config
    from backbone.exactness import load_shared_base

    base = load_shared_base(model, dtype)
    base.add_adapter("reward", lora_config(16, 32))
    base.heads["reward"] = torch.nn.Linear(base.hidden_size, 1, bias=False, device=base.device)
    return base


def _policy(model: str, dtype: str, repeats: int) -> list[float]:
    """Steps of the policy stage."""
    from policy.config import PolicyConfig
    from policy.native.train import train_policy
    from reward_model.scorer import RewardScorer

    base = _loaded(model, dtype)
    prompts = [base.renderer.prompt_ids(prompt) for prompt in everyday_prompts(SETTING.prompts)]
    settings = {"steps": repeats + 1, "checkpoint_every": repeats + 1, "learning_rate": 1e-6}
    sizes = {"prompts_per_step": SETTING.prompts, "group": SETTING.group, "max_new_tokens": SETTING.tokens}
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        train_policy(
            PolicyConfig.model_validate(settings | sizes), base, RewardScorer(base), prompts, Path(scratch) / "policy",
            seed=0, on_step=lambda _: ends.append(time.perf_counter()),
        )  # fmt: skip
    return [after - before for before, after in pairwise(ends)]


def _reward(model: str, dtype: str, repeats: int) -> list[float]:
    """Steps of training a reward model."""
    from reward_model.config import RewardConfig
    from reward_model.training.train import train_reward

    rows = [
        {
            "prompt": prompt, "chosen": [{"role": "assistant", "content": "This is the better one of two answers."}],
            "rejected": [{"role": "assistant", "content": "No."}], "ids": {"prompt": str(place)}, "annotators": 1,
        }
        for place, prompt in enumerate(everyday_prompts(9))
    ]  # fmt: skip
    ends: list[float] = []
    config = RewardConfig.model_validate({"epochs": repeats + 1, "batch_size": 8})
    with tempfile.TemporaryDirectory() as scratch:
        train_reward(
            config, model, rows[1:], Path(scratch) / "reward", seed=0, dtype=dtype, held_out=rows[:1],
            on_step=lambda row: None if "phase" in row else ends.append(time.perf_counter()),
        )  # fmt: skip
    return [after - before for before, after in pairwise(ends)]


def _collect(model: str, dtype: str, repeats: int) -> list[float]:
    """Sampling as the collect stage does it."""
    from backbone.sampling import sample
    from backbone.sampling_config import SamplingConfig

    base = _loaded(model, dtype)
    prompts = [base.renderer.prompt_ids(prompt) for prompt in everyday_prompts(2 * SETTING.prompts)]
    sampling = SamplingConfig(max_new_tokens=SETTING.tokens)
    with base.using(None):
        return _timed(lambda: sample(base, prompts, sampling, group=SETTING.group, seed=0), repeats)


def _evaluate(model: str, dtype: str, repeats: int) -> list[float]:
    """Comparing a policy with the base as the evaluate stage does it."""
    from backbone.adapters import lora_config
    from backbone.sampling_config import SamplingConfig
    from pipeline.config.evaluate import EvaluateConfig
    from pipeline.evaluation.comparison import evaluate
    from reward_model.scorer import RewardScorer

    base = _loaded(model, dtype)
    base.add_adapter("policy", lora_config(16, 32))
    rows = [{"id": str(place), "prompt": prompt} for place, prompt in enumerate(everyday_prompts(SETTING.prompts))]
    config = EvaluateConfig(prompts=len(rows), sampling=SamplingConfig(max_new_tokens=SETTING.tokens))
    scorer = RewardScorer(base)

    def judge(prompts: Any, answers: Any) -> list[float]:
        asked = [base.renderer.prompt_ids(row["prompt"]) for row in prompts]
        return [float(score) for score in scorer.score(asked, [answer["ids"] for answer in answers])]

    def once() -> None:
        with tempfile.TemporaryDirectory() as scratch:
            evaluate(
                config, base, "policy", rows, {"reward model": judge}, Path(scratch), seed=0, advance=lambda _: None
            )

    return _timed(once, repeats)


def _trl(model: str, dtype: str, repeats: int) -> list[float]:
    """Steps of TRL's trainer."""
    from backbone.loading.devices import choose_device, choose_dtype

    chosen = str(choose_dtype(dtype, choose_device("auto"))).removeprefix("torch.")
    with tempfile.TemporaryDirectory() as scratch:
        found = trl_steps(SETTING._replace(dtype=chosen, forced=False), repeats, model, {}, Path(scratch))
    return [float(seconds) for seconds in found["seconds"]]


WORK: dict[str, Callable[[str, str, int], list[float]]] = {
    "policy": _policy, "reward": _reward, "collect": _collect, "evaluate": _evaluate, "trl": _trl,
}  # fmt: skip


if __name__ == "__main__":
    main()
