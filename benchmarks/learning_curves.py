"""What the algorithms of the policy stage learn from the same reward: against samples, against seconds and against KL.

Every algorithm starts from the same base, is given the same prompts, settings and streams of random numbers, and is run
with each seed. Only PPO does what it was made for, two passes over each batch in two minibatches: four updates where
the others make one. The reward is programmatic, cheap and dense: the share of a response's words that have at most four
letters. It is never negative, so that without a baseline every response looks worth repeating. `trl_rloo` is RLOO
by TRL's trainer on the same prompts, reward and adapter.

    python benchmarks/learning_curves.py --json learning_curves.json --figure docs/figures/learning-curves.svg

A run that is finished is kept beside the results (NAME.runs.json) and not run again, so a stopped benchmark goes on.
The times mean something on a quiet machine only.
"""

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from backbone.adapters import SharedBase
from backbone.exactness import load_shared_base
from backbone.tokens import Ids, Renderer
from benchmarks.optimising.prompts import PROMPTS
from benchmarks.rewards.runs import Runs
from foundation.files import read_jsonl, write_json
from policy.config import PolicyConfig, check_config

ALGORITHMS: dict[str, dict[str, Any]] = {
    "reinforce_none": {"algorithm": "reinforce", "baseline": "none"},
    "reinforce_mean": {"algorithm": "reinforce", "baseline": "mean"},
    "reinforce_value": {"algorithm": "reinforce", "baseline": "value"},
    "rloo": {"algorithm": "rloo"},
    "grpo": {"algorithm": "grpo"},
    "dr_grpo": {"algorithm": "dr_grpo"},
    "reinforce_plus_plus": {"algorithm": "reinforce_plus_plus"},
    "ppo": {"algorithm": "ppo", "epochs": 2, "minibatches": 2},
    "trl_rloo": {"algorithm": "rloo", "engine": "trl"},
}
COLOURS = ["#999999", "#56b4e9", "#0072b2", "#d55e00", "#009e73", "#66a61e", "#e6ab02", "#cc79a7", "#000000"]
LONGEST_PROMPT = 48  # tokens, with the chat template
SMOOTHED = 3  # steps over which the reward is averaged before it is held against the set reward
LAST = 5  # steps whose mean is the final reward and KL

Curve = dict[str, list[float]]
Found = dict[str, dict[str, dict[str, Any]]]


class ShortWords:
    """The share of a response's words that have at most four letters; 0 where it has no words."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer

    def score(self, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids]) -> torch.Tensor:
        """(n,), from 0 to 1."""
        words = [re.findall(r"[^\W\d_]+", self._renderer.text(ids)) for ids in response_ids]
        return torch.tensor([sum(len(word) <= 4 for word in each) / max(1, len(each)) for each in words])


def main() -> None:
    """Run what is missing, print a table, and write the figures."""
    options = _options()
    settings = {name: getattr(options, name) for name in ("model", "steps", "new_tokens", "learning_rate", "kl")}
    for name in options.algorithms:
        check_config(config_of(name, options), 8)
    results = options.json or Path("learning_curves.json")
    runs = Runs(results, settings, len(options.algorithms) * options.seeds)
    for seed in range(options.seeds):
        for name in options.algorithms:
            runs.once(f"{name}, seed {seed}", lambda n=name, s=seed: learn(n, s, options))
            curves = by_algorithm(runs.done)
            found = {name: {seed: measured(curve, options.set_reward) for seed, curve in by_seed.items()}
                     for name, by_seed in curves.items()}  # fmt: skip
            write_json(results, found)
    print(table(found, options))
    print(compared(found, "reinforce_value", "reinforce_none"))
    if options.figure:
        draw(curves, options.set_reward, options.figure)


def _options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--figure", type=Path, help="where the drawing goes; .svg or .png")
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=list(ALGORITHMS), metavar="NAME",
                        help=f"of {', '.join(ALGORITHMS)}")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=18, help="updates; each samples 8 prompts 4 times")
    parser.add_argument("--set-reward", type=float, default=0.7, help="the reward whose samples and seconds are told")
    parser.add_argument("--model", default="demo", help='"demo", a folder, or a hub id')
    parser.add_argument("--new-tokens", type=int, default=16, help="longest response")
    parser.add_argument("--learning-rate", type=float, default=7e-4, help="the same for all")
    parser.add_argument("--kl", type=float, default=0.01, help="what a nat of KL to the base costs in reward")
    return parser.parse_args(arguments)


def by_algorithm(done: Mapping[str, Curve]) -> dict[str, dict[str, Curve]]:
    """All runs that are finished, those of earlier calls too, by algorithm and seed."""
    curves: dict[str, dict[str, Curve]] = {}
    for run, curve in done.items():
        name, _, seed = run.partition(", seed ")
        curves.setdefault(name, {})[seed] = curve
    return {name: curves[name] for name in ALGORITHMS if name in curves}


def learn(name: str, seed: int, options: argparse.Namespace) -> Curve:
    """One run: reward, KL, seconds and samples after each step. Seconds are those of the steps, without loading."""
    from policy.native.train import train_policy
    from policy.trl.train_rloo_grpo import train_with_trl

    base, config = load_shared_base(options.model), config_of(name, options)
    curve: Curve = {key: [] for key in ("samples", "seconds", "reward", "kl")}

    def tell(row: Mapping[str, Any]) -> None:
        samples = row["step"] * config.prompts_per_step * config.group
        for key, value in zip(curve, (samples, time.monotonic() - start, row["score"], row["kl"]), strict=True):
            curve[key].append(round(float(value), 4))
        print(f"\r{name}, seed {seed}: step {row['step']} of {config.steps}, reward {row['score']:.3f} ",
              end="", file=sys.stderr, flush=True)  # fmt: skip

    train = train_with_trl if config.engine == "trl" else train_policy
    prompts = short_prompts(base)
    with tempfile.TemporaryDirectory() as scratch:
        start = time.monotonic()
        train(config, base, ShortWords(base.renderer), prompts, Path(scratch), seed=seed, on_step=tell)
    print(file=sys.stderr)
    return curve


def config_of(name: str, options: argparse.Namespace) -> PolicyConfig:
    """The same for all but for the algorithm."""
    return PolicyConfig(
        **ALGORITHMS[name],
        steps=options.steps,
        prompts_per_step=8,
        group=4,
        max_new_tokens=options.new_tokens,
        temperature=1.0,
        kl_coefficient=options.kl,
        kl_target=None,
        length_control="none",
        stop_on=(),
        missing_eos_penalty=0.0,
        learning_rate=options.learning_rate,
        checkpoint_every=options.steps,
    )


def short_prompts(base: SharedBase) -> list[list[int]]:
    """The benchmarks' prompts, as far as they are short."""
    every = (base.renderer.prompt_ids(row["prompt"]) for _, row in read_jsonl(PROMPTS))
    return [ids for ids in every if len(ids) <= LONGEST_PROMPT]


def smoothed(values: Sequence[float], steps: int = SMOOTHED) -> list[float]:
    """The mean of each value and those before it, `steps` in all, as far as there are so many."""
    return [float(np.mean(values[max(0, end - steps) : end])) for end in range(1, len(values) + 1)]


def measured(curve: Curve, set_reward: float) -> dict[str, Any]:
    """What is told of one run. Null: the set reward was not reached; the first steps alone do not count as reaching."""
    reward = smoothed(curve["reward"])
    reached = next((step for step in range(SMOOTHED - 1, len(reward)) if reward[step] >= set_reward), None)
    return {
        "set_reward": set_reward,
        "samples_to_reward": None if reached is None else int(curve["samples"][reached]),
        "seconds_to_reward": None if reached is None else curve["seconds"][reached],
        "final_reward": float(np.mean(curve["reward"][-LAST:])),
        "final_kl": float(np.mean(curve["kl"][-LAST:])),
        "samples": int(curve["samples"][-1]),
        "seconds": curve["seconds"][-1],
    }


def table(found: Found, options: argparse.Namespace) -> str:
    """Markdown: an algorithm a line, each figure with its least and greatest over seeds."""
    told = f"{options.set_reward:g}"
    lines = [
        f"| algorithm | samples to {told} | seconds to {told} | final reward | final KL |",
        "|---|---|---|---|---|",
    ]
    for name, by_seed in found.items():
        runs = list(by_seed.values())
        cells = [_reached([run[f"{what}_to_reward"] for run in runs], [run[what] for run in runs])
                 for what in ("samples", "seconds")]  # fmt: skip
        cells += [_spread([run[what] for run in runs]) for what in ("final_reward", "final_kl")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def compared(found: Found, one: str, other: str) -> str:
    """How many of the samples of `other` the algorithm `one` needs to the set reward, seed by seed."""
    if one not in found or other not in found:
        return ""
    cells = []
    for seed in found[one].keys() & found[other].keys():
        runs = [found[name][seed] for name in (one, other)]
        needed = [run["samples_to_reward"] or run["samples"] for run in runs]
        marks = ["" if run["samples_to_reward"] else " or more" for run in runs]
        cells.append(f"{needed[0]}{marks[0]} against {needed[1]}{marks[1]}")
    return f"\nsamples of {one} against {other}, seed by seed: {'; '.join(sorted(cells))}"


def _reached(values: Sequence[float | None], budgets: Sequence[float]) -> str:
    """The mean over seeds; a run that did not get there counts with all that it was given."""
    counted = [budget if value is None else value for value, budget in zip(values, budgets, strict=True)]
    got = sum(value is not None for value in values)
    return f"{np.mean(counted):.0f}" + ("" if got == len(values) else f" or more ({got} of {len(values)} got there)")


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def draw(curves: Mapping[str, Mapping[str, Curve]], set_reward: float, path: Path) -> None:
    """Reward against samples, seconds and KL: the mean over seeds, the range of the seeds behind it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams.update({"svg.hashsalt": "rlhf", "svg.fonttype": "none", "font.size": 9})
    figure, panels = pyplot.subplots(1, 3, figsize=(10.5, 3.8), sharey=True, layout="constrained")
    for (name, by_seed), colour in zip(
        curves.items(), (COLOURS[list(ALGORITHMS).index(n)] for n in curves), strict=True
    ):
        style = "--" if ALGORITHMS[name].get("engine") == "trl" else "-"
        means = {key: np.mean([smoothed(curve[key], 1 if key in ("samples", "seconds") else SMOOTHED)
                               for curve in by_seed.values()], axis=0)
                 for key in ("samples", "seconds", "reward", "kl")}  # fmt: skip
        each = np.array([smoothed(curve["reward"]) for curve in by_seed.values()])
        for panel, key in zip(panels, ("samples", "seconds", "kl"), strict=True):
            panel.plot(means[key], means["reward"], style, color=colour, linewidth=1.4, label=name.replace("_", " "))
        panels[0].fill_between(means["samples"], each.min(0), each.max(0), color=colour, alpha=0.1, linewidth=0)
    for panel, label in zip(panels, ("samples", "seconds", "KL to the base, nats a response"), strict=True):
        panel.axhline(set_reward, color="0.8", linewidth=0.8, zorder=0)
        panel.spines[["top", "right"]].set_visible(False)
        panel.set(xlabel=label, xlim=(0, None))
    panels[0].set(ylabel=f"reward, mean of {SMOOTHED} steps and of seeds")
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=5)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
