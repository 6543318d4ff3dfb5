"""Steps a second of the text environment: single, and vectorised, beside what stable-baselines3 itself costs.

A step writes one token; actions are drawn before the clock starts. Rewards are paid at the end of a text of `--length`
tokens: `none` is 0 for all (what the environment itself costs) and `bleu` is the project's reward. stable-baselines3's
own overhead is its DummyVecEnv, and its PPO, on an environment of the same spaces that does nothing at all. Where the
machine has other work to do, the figures mean little: run it alone.

    python benchmarks/environment.py --json environment.json
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import gymnasium
import numpy as np
import torch

from benchmarks.crowd.extras import require
from foundation.files import write_json
from policy.textbook.environment import TextGenerationEnv
from reward_model.rewards.registry import RewardSpec, build

ID = "rlhf_pipeline/TextGeneration-v0"
WORDS = ["the", "cat", "sat", "on", "mat", "a", "dog", "ran", "to", "it"]


class Nothing(gymnasium.Env[Any, Any]):
    """An environment of the same spaces and episode length as `like` that does no work in a step."""

    def __init__(self, like: TextGenerationEnv) -> None:
        self.observation_space, self.action_space = like.observation_space, like.action_space
        self.length, self.steps = like.task.max_length, 0
        self.observation, _ = like.reset(seed=0)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.steps = 0
        return self.observation, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return self.observation, 0.0, self.steps == self.length, False, {}


def main() -> None:
    """Measure every case and write the figures."""
    options = _options()
    require("stable_baselines3")
    torch.set_num_threads(1)
    bleu = build(RewardSpec.model_validate({"name": "bleu"}))
    results: dict[str, Any] = {"machine": _machine(), "command": " ".join(sys.argv), "length": options.length}
    for name, reward in (("none", _zero), ("bleu", bleu)):
        task = {"vocabulary": WORDS, "reward": reward, "max_length": options.length, "target": "the cat sat on the mat"}
        rates = results[name] = {"single": _median(lambda task=task: single(task, options.steps), options.repeats)}
        for width in options.widths:
            for kind, measure in (("vectorised", vectorised), ("synchronous", synchronous), ("dummy", dummy)):
                rates[f"{kind} {width}"] = _median(
                    lambda task=task, width=width, measure=measure: measure(task, width, options.steps), options.repeats
                )
        rates["ppo"] = _median(lambda task=task: ppo(task, options.updates), options.repeats)
        print(name, json.dumps(rates), flush=True)
    nothing = results["nothing"] = {}
    for width in options.widths:
        nothing[f"dummy {width}"] = _median(
            lambda width=width: dummy(task, width, options.steps, True), options.repeats
        )
    nothing["ppo"] = _median(lambda: ppo(task, options.updates, True), options.repeats)
    results["share of PPO's time"] = {
        name: 1 - results[name]["ppo"]["median"] / nothing["ppo"]["median"] for name in ("none", "bleu")
    }
    print("nothing", json.dumps(nothing), json.dumps(results["share of PPO's time"]))
    if options.json:
        write_json(Path(options.json), results)


def single(task: dict[str, Any], steps: int) -> float:
    """Steps a second of one environment, played by hand."""
    env = gymnasium.make(ID, disable_env_checker=True, **task)
    actions = np.random.default_rng(0).integers(len(WORDS), size=steps)
    env.reset(seed=0)
    start = time.perf_counter()
    for action in actions:
        _, _, over, _, _ = env.step(action)
        if over:
            env.reset()
    return steps / (time.perf_counter() - start)


def vectorised(task: dict[str, Any], width: int, steps: int, mode: str = "vector_entry_point") -> float:
    """Tokens a second of `width` texts at a time; the steps at which texts begin anew are not counted."""
    envs = gymnasium.make_vec(ID, num_envs=width, vectorization_mode=mode, **task)
    actions = np.random.default_rng(0).integers(len(WORDS), size=(max(2, steps // width), width))
    envs.reset(seed=0)
    written, over = 0, np.zeros(width, dtype=bool)
    start = time.perf_counter()
    for row in actions:
        written += width - int(over.sum())
        _, _, over, _, _ = envs.step(row)
    return written / (time.perf_counter() - start)


def synchronous(task: dict[str, Any], width: int, steps: int) -> float:
    """The same with Gymnasium's SyncVectorEnv around single environments."""
    return vectorised(task, width, steps, "sync")


def dummy(task: dict[str, Any], width: int, steps: int, nothing: bool = False) -> float:
    """The same with stable-baselines3's DummyVecEnv; with `nothing`, around environments that do no work."""
    from stable_baselines3.common.vec_env import DummyVecEnv

    envs = DummyVecEnv([_maker(task, nothing)] * width)
    actions = np.random.default_rng(0).integers(len(WORDS), size=(max(2, steps // width), width))
    envs.reset()
    start = time.perf_counter()
    for row in actions:
        envs.step(row)
    return actions.size / (time.perf_counter() - start)


def ppo(task: dict[str, Any], updates: int, nothing: bool = False) -> float:
    """Steps a second of stable-baselines3's PPO, its defaults but for 8 environments and batches of 512 steps."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    model = PPO("MultiInputPolicy", DummyVecEnv([_maker(task, nothing)] * 8), n_steps=64, seed=0, device="cpu")
    start = time.perf_counter()
    model.learn(512 * updates)
    return 512 * updates / (time.perf_counter() - start)


def _maker(task: dict[str, Any], nothing: bool) -> Callable[[], gymnasium.Env[Any, Any]]:
    def make() -> gymnasium.Env[Any, Any]:
        env = TextGenerationEnv(**task)
        return Nothing(env) if nothing else env

    return make


def _zero(completions: list[str], **columns: Any) -> list[float]:
    return [0.0] * len(completions)


def _median(measure: Callable[[], float], repeats: int) -> dict[str, float]:
    """Median, least and greatest of several measurements, after one that is thrown away."""
    measure()
    rates = [measure() for _ in range(repeats)]
    return {"median": statistics.median(rates), "low": min(rates), "high": max(rates)}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="where the figures go")
    parser.add_argument("--steps", type=int, default=40_000, help="steps in one measurement")
    parser.add_argument("--updates", type=int, default=8, help="PPO's updates in one measurement, of 512 steps each")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--length", type=int, default=8, help="tokens in a text")
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 64, 256], help="texts at a time")
    return parser.parse_args()


def _machine() -> dict[str, Any]:
    import stable_baselines3

    modules = (gymnasium, stable_baselines3, torch, np)
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "versions": {module.__name__: module.__version__ for module in modules},
    }


if __name__ == "__main__":
    main()
