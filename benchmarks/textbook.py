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
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from torch.func import functional_call, grad, vmap

from benchmarks.reinforce.drawings import BASELINES, SET_REWARD, WINDOW, draw_samples, draw_variance
from benchmarks.reinforce.intervals import ratio_interval
from benchmarks.reinforce.language_model import language_model
from foundation.files import write_json
from policy.algorithms.losses import aggregate, surrogate
from policy.textbook.environment import TextGenerationVectorEnv
from policy.textbook.policy_gradient import Episodes, Learner, ReinforceConfig, advantages_of, collect, update
from reward_model.rewards.mixture import compose

SENTENCE = "the cat sat on the mat"
WORDS = ("the", "cat", "sat", "on", "mat", "<end>")


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
    ratios = {f"value/{other}": ratio_interval(best["value"], best[other]) for other in ("mean", "none")}
    if options.figures:
        draw_samples(runs, table, options.figures / "baselines-samples.svg")
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
        ratios = {f"{name}/none": ratio_interval(values[name], values["none"]) for name in ("mean", "value")}
        rows.append({"episodes": place, **{name: float(np.median(values[name])) for name in BASELINES}, **ratios})
    total = {name: np.sum([found[place][name] for place in places], axis=0) for name in BASELINES}
    ratios = {f"{name}/none": ratio_interval(total[name], total["none"]) for name in ("mean", "value")}
    ratios["value/mean"] = ratio_interval(total["value"], total["mean"])
    if options.figures:
        draw_variance(rows, options.figures / "baselines-variance.svg")
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


if __name__ == "__main__":
    main()
