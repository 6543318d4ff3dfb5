"""What a baseline is worth to REINFORCE, and whether a language model learns in the same environment.

    python benchmarks/textbook.py --json textbook.json --figures docs/figures
    python benchmarks/textbook.py --parts language-model --tasks seed_tasks.jsonl --json lm.json --figures docs/figures

samples: "the cat sat on the mat" from its words by BLEU alone, for each baseline and learning rate: in how many seeds
it is written, and the episodes until the mean reward of the last 160 is 0.8. Each baseline is compared at the learning
rate that suits it best. variance: the trace of the covariance of one episode's policy gradient under each baseline, for
the same policies and the same episodes, along the training of one of them; intervals are bootstraps over seeds.
language-model: REINFORCE on the demo model through the large engine, rewarded by BLEU + lambda * grammar against
the answers of instruction tasks (self-instruct's format: instruction, instances of input and output); the reward on
prompts held out, before and after, with a bootstrap over prompts. About ten minutes on two cores.
"""

import argparse
import json
import platform
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch.func import functional_call, grad, vmap

from foundation.files import read_jsonl, write_json
from policy.algorithms.losses import aggregate, surrogate
from policy.textbook.environment import TextGenerationEnv, TextGenerationVectorEnv
from policy.textbook.policy_gradient import Episodes, Learner, ReinforceConfig, advantages_of, collect, update
from reward_model.rewards.mixture import compose

SENTENCE = "the cat sat on the mat"
WORDS = ("the", "cat", "sat", "on", "mat", "<end>")
BASELINES = ("none", "mean", "value")
COLOURS = {"none": "0.5", "mean": "tab:orange", "value": "tab:blue"}
NAMES = {"none": "no baseline", "mean": "running mean", "value": "learned value"}
SET_REWARD, WINDOW = 0.8, 5


def main() -> None:
    """Run the parts that were asked for and write the figures."""
    options = _options()
    torch.set_num_threads(options.threads)
    results: dict[str, Any] = {
        "machine": f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}",
        "command": " ".join(sys.argv),
    }
    for part in options.parts.split(","):
        start = time.monotonic()
        if part == "language-model" and not options.tasks:
            print("language-model: skipped; name instruction tasks with --tasks FILE", file=sys.stderr)
            continue
        results[part] = {"samples": samples, "variance": variance, "language-model": language_model}[part](options)
        results[part]["seconds"] = round(time.monotonic() - start, 1)
        write_json(Path(options.json), results)
        print(part, json.dumps({name: value for name, value in results[part].items() if name != "runs"}), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="samples,variance,language-model", help="which, with commas between")
    parser.add_argument("--json", default="textbook.json", help="where the figures go")
    parser.add_argument("--figures", type=Path, help="folder for the drawings; none without it")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--episodes", type=int, default=9600, help="budget of a run (samples, variance)")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.003, 0.01, 0.03], help="learning rates (samples)")
    parser.add_argument("--probe", type=int, default=512, help="episodes from which a variance is estimated")
    parser.add_argument("--model", default="demo", help='"demo", a folder, or a hub id (language-model)')
    parser.add_argument("--tasks", action="append", default=[], metavar="FILE", help="instruction tasks; repeatable")
    parser.add_argument("--steps", type=int, default=40, help="updates (language-model)")
    parser.add_argument("--new-tokens", type=int, default=40, help="longest response (language-model)")
    parser.add_argument("--learning-rate", type=float, default=2e-4, help="of the adapter (language-model)")
    parser.add_argument("--grammar-weight", type=float, default=0.01, help="lambda (language-model)")
    parser.add_argument("--seed", type=int, default=0, help="of the language model's run")
    return parser.parse_args()


def _start(baseline: str, rate: float, seed: int, episodes: int) -> tuple[Learner, TextGenerationVectorEnv]:
    config = ReinforceConfig.model_validate(
        {"baseline": baseline, "learning_rate": rate, "episodes": episodes, "entropy_coefficient": 0.03}
    )
    reward = compose([{"name": "bleu", "smoothing": "add-k"}])
    envs = TextGenerationVectorEnv(WORDS, reward, num_envs=config.batch, max_length=8, eos="<end>", target=SENTENCE)
    return Learner.start(config, envs, 1.0, seed), envs


# --- samples: how many episodes each baseline needs ---


def samples(options: argparse.Namespace) -> dict[str, Any]:
    """Every baseline at every learning rate and seed."""
    runs = [
        {"baseline": baseline, "learning_rate": rate, "seed": seed, **_run(baseline, rate, seed, options.episodes)}
        for baseline in BASELINES
        for rate in options.rates
        for seed in range(options.seeds)
    ]
    table: dict[str, Any] = {}
    best: dict[str, np.ndarray] = {}
    for baseline in BASELINES:
        for rate in options.rates:
            mine = [run for run in runs if (run["baseline"], run["learning_rate"]) == (baseline, rate)]
            needed = np.array([run["needed"] or options.episodes for run in mine], dtype=float)
            row = {
                "learning_rate": rate,
                "written": sum(run["written"] for run in mine),
                "seeds": len(mine),
                "reached": sum(run["needed"] is not None for run in mine),
                "episodes_needed": needed.mean(),
            }
            if baseline not in table or row["episodes_needed"] < table[baseline]["episodes_needed"]:
                table[baseline], best[baseline] = row, needed
    # A run that never came to the set reward counts with the whole budget: its ratio is a lower bound of the gain.
    ratios = {f"value/{other}": _ratio(best["value"], best[other]) for other in ("mean", "none")}
    if options.figures:
        _draw_samples(runs, table, options.figures / "baselines-samples.svg")
    return {"budget": options.episodes, "set_reward": SET_REWARD, "best": table, "ratios": ratios, "runs": runs}


def _run(baseline: str, rate: float, seed: int, episodes: int) -> dict[str, Any]:
    learner, envs = _start(baseline, rate, seed, episodes)
    rewards: list[float] = []
    needed = None
    while len(rewards) * envs.num_envs < episodes:
        drawn = collect(learner.policy, envs, learner.generator)
        update(learner, drawn)
        rewards.append(float(drawn.rewards.sum(1).mean()))
        if needed is None and len(rewards) >= WINDOW and np.mean(rewards[-WINDOW:]) >= SET_REWARD:
            needed = len(rewards) * envs.num_envs
    said = collect(learner.policy, envs, learner.generator, greedy=True)
    length = int(said.mask[0].sum())
    text = envs.task.vocabulary.decode(said.actions[0, :length].tolist())
    print(f"samples: {baseline}, rate {rate}, seed {seed}: {needed} episodes, writes {text!r}", file=sys.stderr)
    return {"needed": needed, "written": text == SENTENCE, "rewards": [round(value, 4) for value in rewards]}


# --- variance: of the gradient under each baseline, along one training ---


def variance(options: argparse.Namespace) -> dict[str, Any]:
    """Probe policies along the training with a learned baseline; each row has one value a seed."""
    places = list(range(0, options.episodes, max(1, options.episodes // 12)))
    found: dict[int, dict[str, list[float]]] = {place: {name: [] for name in BASELINES} for place in places}
    for seed in range(options.seeds):
        learner, envs = _start("value", 0.01, seed, options.episodes)
        reward = compose([{"name": "bleu", "smoothing": "add-k"}])
        probes = TextGenerationVectorEnv(
            WORDS, reward, num_envs=options.probe, max_length=8, eos="<end>", target=SENTENCE
        )
        made = 0
        for place in places:
            while made < place:
                update(learner, collect(learner.policy, envs, learner.generator))
                made += envs.num_envs
            drawn = collect(learner.policy, probes, torch.Generator().manual_seed(seed))
            for name in BASELINES:
                config = learner.config.model_copy(update={"baseline": name})
                advantages, _ = advantages_of(replace(learner, config=config), drawn)
                found[place][name].append(gradient_variance(learner, drawn, advantages))
        print(f"variance: seed {seed} done", file=sys.stderr)
    rows = []
    for place in places:
        values = {name: np.array(found[place][name]) for name in BASELINES}
        if not values["none"].any():
            break  # every policy has settled on one text
        ratios = {f"{name}/none": _ratio(values[name], values["none"]) for name in ("mean", "value")}
        rows.append({"episodes": place, **{name: float(np.median(values[name])) for name in BASELINES}, **ratios})
    total = {name: np.sum([found[place][name] for place in places], axis=0) for name in BASELINES}
    ratios = {f"{name}/none": _ratio(total[name], total["none"]) for name in ("mean", "value")}
    ratios["value/mean"] = _ratio(total["value"], total["mean"])
    if options.figures:
        _draw_variance(rows, options.figures / "baselines-variance.svg")
    return {"seeds": options.seeds, "probe": options.probe, "ratios": ratios, "rows": rows}


def gradient_variance(learner: Learner, episodes: Episodes, advantages: torch.Tensor) -> float:
    """The trace of the covariance of one episode's gradient in all the policy's weights."""
    weights = {name: value.detach() for name, value in learner.policy.named_parameters()}

    def loss(weights: Any, tokens: Any, written: Any, actions: Any, advantages: Any, mask: Any) -> torch.Tensor:
        logits = functional_call(learner.policy, weights, (tokens, written))
        logprobs = torch.log_softmax(logits, -1).gather(-1, actions[:, None]).squeeze(-1)
        return aggregate(surrogate(logprobs, advantages), mask, 1)

    each = vmap(grad(loss), in_dims=(None, 0, 0, 0, 0, 0))(
        weights, episodes.tokens, episodes.written, episodes.actions, advantages, episodes.mask
    )
    return sum(float(gradient.var(0).sum()) for gradient in each.values())


# --- a language model as the policy ---


def language_model(options: argparse.Namespace) -> dict[str, Any]:
    """A few steps of REINFORCE on the demo model, and the reward on prompts that it did not train on."""
    from backbone.adapters import SharedBase
    from policy.config import PolicyConfig
    from policy.native.train import train_policy
    from policy.native.training_state import ADAPTER
    from policy.textbook.language_model import EnvironmentScorer, env_prompts

    base = SharedBase.load(options.model)
    prompts, references = _tasks(options.tasks)
    held_out = len(prompts) // 3
    sides = [slice(held_out, None), slice(0, held_out)]
    reward = compose([{"name": "bleu"}, {"name": "grammar", "weight": options.grammar_weight}])
    training, judging = (
        TextGenerationEnv(
            base.tokenizer,
            reward,
            max_length=options.new_tokens,
            prompts=prompts[side],
            columns={"references": references[side]},
        )
        for side in sides
    )
    config = PolicyConfig(
        algorithm="reinforce",
        steps=options.steps,
        prompts_per_step=8,
        group=4,
        max_new_tokens=options.new_tokens,
        kl_coefficient=0.01,
        missing_eos_penalty=0.0,
        learning_rate=options.learning_rate,
    )
    scorer = EnvironmentScorer(judging)
    before = _judged(base, None, scorer, env_prompts(judging), config)

    def tell(row: dict[str, Any]) -> None:
        print(f"language-model: step {row['step']}/{config.steps}, reward {row['score']:.4f}", file=sys.stderr)

    with tempfile.TemporaryDirectory() as scratch:
        log = train_policy(
            config, base, EnvironmentScorer(training), env_prompts(training), Path(scratch), seed=options.seed,
            on_step=tell,
        )  # fmt: skip
    after = _judged(base, ADAPTER, scorer, env_prompts(judging), config)
    gain = _mean(after["reward"] - before["reward"])
    means = {
        when: {name: float(values.mean()) for name, values in found.items()}
        for when, found in (("before", before), ("after", after))
    }
    if options.figures:
        _draw_language_model(log, before["reward"], after["reward"], options.figures / "language-model-reward.svg")
    return {
        "model": options.model,
        "dtype": str(base.base.dtype),
        "prompts": {"training": len(training.task.prompts), "held_out": held_out, "samples_each": 4},
        "grammar_weight": options.grammar_weight,
        "held_out": means,
        "gain": gain,
        "log": [{name: row[name] for name in ("step", "score", "kl", "length", "finish_rate")} for row in log],
    }


def _tasks(files: Sequence[str]) -> tuple[list[list[dict[str, str]]], list[list[str]]]:
    """Tasks whose first answer has 4 to 30 words and whose prompt at most 60, in an order of their own."""
    found = []
    for file in files:
        for _, row in read_jsonl(Path(file), {"instruction": str, "instances": list}):
            given, answer = row["instances"][0]["input"], row["instances"][0]["output"]
            prompt = f"{row['instruction']}\n\n{given}".strip()
            if 4 <= len(answer.split()) <= 30 and len(prompt.split()) <= 60:
                found.append((prompt, answer))
    found = list(dict(found).items())
    random.Random(0).shuffle(found)
    return [[{"role": "user", "content": prompt}] for prompt, _ in found], [[answer] for _, answer in found]


def _judged(base: Any, adapter: str | None, scorer: Any, prompts: Any, config: Any) -> dict[str, np.ndarray]:
    """Mean reward and its parts on each prompt: four samples, the same random numbers before and after."""
    from backbone.sampling import SamplingConfig, sample

    sampling = SamplingConfig(max_new_tokens=config.max_new_tokens, temperature=config.temperature)
    with base.using(adapter):
        drawn = sample(base, prompts, sampling, group=4, seed=1)
    mixture = scorer.env.task.rewards["composite"][0]
    columns: dict[str, list[float]] = {"reward": [], "bleu": [], "grammar": [], "tokens": []}
    for one in drawn:
        columns["reward"] += scorer.score([prompts[one.prompt]], [one.response_ids]).tolist()
        for name in ("bleu", "grammar"):
            columns[name] += mixture.last[name]
        columns["tokens"].append(len(one.response_ids))
    return {name: np.array(values).reshape(-1, 4).mean(1) for name, values in columns.items()}


# --- intervals and drawings ---


def _resampled(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(count, size=(10_000, count))


def _interval(estimate: float, draws: np.ndarray) -> dict[str, float]:
    low, high = np.nanquantile(draws, (0.025, 0.975))
    return {"estimate": float(estimate), "low": float(low), "high": float(high)}


def _mean(values: np.ndarray) -> dict[str, float]:
    return _interval(values.mean(), values[_resampled(len(values))].mean(1))


def _ratio(above: np.ndarray, below: np.ndarray) -> dict[str, float]:
    """Of two means over the same seeds."""
    rows = _resampled(len(above))
    with np.errstate(invalid="ignore"):
        draws = above[rows].mean(1) / below[rows].mean(1)
    return _interval(above.mean() / below.mean(), draws)


def _axes(ylabel: str, xlabel: str = "episodes") -> tuple[Figure, Any]:
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Figure, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})


def _draw_samples(runs: Sequence[dict[str, Any]], table: dict[str, Any], file: Path) -> None:
    figure, axes = _axes("BLEU, mean over seeds and its 95% interval")
    for name in BASELINES:
        rate = table[name]["learning_rate"]
        curves = [run["rewards"] for run in runs if (run["baseline"], run["learning_rate"]) == (name, rate)]
        curve = np.array(curves)[:, : len(curves[0]) // WINDOW * WINDOW].reshape(len(curves), -1, WINDOW).mean(2)
        episodes = (np.arange(curve.shape[1]) + 1) * WINDOW * ReinforceConfig().batch
        low, high = np.quantile(curve[_resampled(len(curve))[:2000]].mean(1), (0.025, 0.975), axis=0)
        axes.fill_between(episodes, low, high, color=COLOURS[name], alpha=0.2, linewidth=0)
        axes.plot(episodes, curve.mean(0), color=COLOURS[name], label=f"{NAMES[name]} (learning rate {rate:g})")
    axes.axhline(SET_REWARD, color="0.8", linewidth=0.8, zorder=0)
    axes.set_ylim(0)
    axes.legend(frameon=False, loc="lower right")
    _save(figure, file)


def _draw_variance(rows: Sequence[dict[str, Any]], file: Path) -> None:
    figure, axes = _axes("variance of the gradient / without a baseline")
    episodes = [row["episodes"] for row in rows]
    for name in ("mean", "value"):
        ratios = [row[f"{name}/none"] for row in rows]
        low, high = ([ratio[end] for ratio in ratios] for end in ("low", "high"))
        axes.fill_between(episodes, low, high, color=COLOURS[name], alpha=0.2, linewidth=0)
        axes.plot(episodes, [ratio["estimate"] for ratio in ratios], color=COLOURS[name], label=NAMES[name])
    axes.axhline(1, color="0.8", linewidth=0.8, zorder=0)
    axes.set_yscale("log")
    axes.legend(frameon=False)
    _save(figure, file)


def _draw_language_model(log: Sequence[dict[str, Any]], before: np.ndarray, after: np.ndarray, file: Path) -> None:
    figure, axes = _axes("BLEU + λ · grammar", "step")
    steps = [row["step"] for row in log]
    axes.plot(steps, [row["score"] for row in log], color="0.75", linewidth=0.8, label="training prompts, each step")
    for step, values in ((0, before), (steps[-1], after)):
        mean = _mean(values)
        axes.plot([step, step], [mean["low"], mean["high"]], color="tab:blue")
    axes.plot(
        [0, steps[-1]], [before.mean(), after.mean()], "o--", color="tab:blue", label="held-out prompts, 95% interval"
    )
    axes.legend(frameon=False)
    _save(figure, file)


if __name__ == "__main__":
    main()
