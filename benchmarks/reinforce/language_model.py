"""REINFORCE on a language model, through the policy stage: its reward on held-out prompts, before and after."""

import argparse
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reinforce.drawings import draw_language_model
from benchmarks.reinforce.intervals import mean_interval
from foundation.files import read_jsonl
from policy.textbook.environment import TextGenerationEnv
from reward_model.rewards.mixture import compose


def language_model(options: argparse.Namespace) -> dict[str, Any]:
    """A few steps of REINFORCE on the demo model, and the reward on prompts that it did not train on."""
    from backbone.exactness import load_shared_base
    from policy.config import PolicyConfig
    from policy.native.train import train_policy
    from policy.native.training_state import ADAPTER
    from policy.textbook.language_model import EnvironmentScorer, env_prompts

    base = load_shared_base(options.model)
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
        kl_target=None,
        length_control="none",
        stop_on=(),
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
    gain = mean_interval(after["reward"] - before["reward"])
    means = {
        when: {name: float(values.mean()) for name, values in found.items()}
        for when, found in (("before", before), ("after", after))
    }
    if options.figures:
        draw_language_model(log, before["reward"], after["reward"], options.figures / "language-model-reward.svg")
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
    from backbone.sampling import sample
    from backbone.sampling_config import SamplingConfig

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
