"""The blind comparison: policy against base on held-out prompts.

Both answer every prompt once sampled, from the same random stream, and once greedily. Judges see a prompt and a
response and never which of the two wrote it. Win rates come with a bootstrap interval over prompts.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from rlhf_pipeline.backbone.adapters import SharedBase
from rlhf_pipeline.backbone.logprobs import response_logprobs
from rlhf_pipeline.backbone.sampling import SamplingConfig, sample
from rlhf_pipeline.files import Row, read_jsonl, write_jsonl
from rlhf_pipeline.settings import Settings

Judge = Callable[[Sequence[Row], Sequence[Row]], list[float]]
"""Scores of (prompts, responses): a prompt is a row of prompts.jsonl, a response a row of `respond`."""

_RESAMPLES = 10_000
_BATCH = 16


class EvaluateConfig(Settings):
    """How many held-out prompts are answered, and how."""

    prompts: int = Field(64, ge=2, description="held-out prompts, the first so many")
    sampling: SamplingConfig = Field(SamplingConfig(), description="of the sampled comparison; the other one is greedy")
    shown: int = Field(8, ge=0, description="best and worst pairs to show in the report")


def evaluate(
    config: EvaluateConfig,
    base: SharedBase,
    adapter: str,
    prompts: Sequence[Row],
    judges: Mapping[str, Judge],
    folder: Path,
    *,
    seed: int,
    advance: Callable[[int], None],
) -> dict[str, Any]:
    """Answer, judge and compare; returns the content of evaluation.json.

    `judges` by name; the first gives the order of best and worst pairs. Answers are kept in `folder` as they are
    made, so that an interrupted call goes on.
    """
    modes = {"sampled": config.sampling, "greedy": config.sampling.model_copy(update={"temperature": 0.0})}
    compared: dict[str, dict[str, Any]] = {}
    for mode, sampling in modes.items():
        answers = {
            who: respond(base, name, prompts, sampling, folder / f"{who}-{mode}.jsonl", seed, advance)
            for who, name in (("base", None), ("policy", adapter))
        }
        scores = {
            judge: {who: score(prompts, rows) for who, rows in answers.items()} for judge, score in judges.items()
        }
        compared[mode] = {
            "win_rates": {judge: win_rate(found["policy"], found["base"], seed) for judge, found in scores.items()},
            "measures": {who: measures(rows) for who, rows in answers.items()},
            "pairs": _pairs(prompts, answers, scores),
        }
        if mode == "sampled":
            compared[mode]["kl"] = mean_kl(base, adapter, prompts, answers["policy"], sampling.temperature)
    base_measures, policy_measures = (compared["sampled"]["measures"][who] for who in ("base", "policy"))
    return {
        "prompts": len(prompts),
        "shown": min(config.shown, len(prompts)),
        "sampling": config.sampling.model_dump(),
        "mean_kl": compared["sampled"]["kl"],
        "distinct2_ratio": policy_measures["distinct_2"] / max(base_measures["distinct_2"], 1e-9),
        **compared,
    }


def respond(
    base: SharedBase,
    adapter: str | None,
    prompts: Sequence[Row],
    sampling: SamplingConfig,
    path: Path,
    seed: int,
    advance: Callable[[int], None],
) -> list[Row]:
    """One response to each prompt: `{"ids", "response", "finish_reason"}`; kept in `path` and reused."""
    if path.is_file():
        advance(len(prompts))
        return [row for _, row in read_jsonl(path)]
    ids = [base.renderer.prompt_ids(row["prompt"], sampling.max_new_tokens) for row in prompts]
    with base.using(adapter):
        drawn = sample(base, ids, sampling, seed=seed, progress=advance)
    rows = [
        {
            "ids": one.response_ids,
            "response": base.renderer.text(one.response_ids),
            "finish_reason": one.finish_reason,
        }
        for one in drawn
    ]
    write_jsonl(path, rows)
    return rows


def win_rate(policy: Sequence[float], base: Sequence[float], seed: int = 0) -> dict[str, float]:
    """Share of prompts on which the policy scores higher, ties one half; 95% bootstrap interval over prompts."""
    wins = (np.sign(np.subtract(policy, base)) + 1) / 2
    drawn = np.random.default_rng(seed).choice(wins, (_RESAMPLES, len(wins))).mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"win_rate": float(wins.mean()), "low": float(low), "high": float(high), "n": len(wins)}


@torch.no_grad()
def mean_kl(
    base: SharedBase, adapter: str, prompts: Sequence[Row], answers: Sequence[Row], temperature: float
) -> float:
    """KL(policy || base) of a whole response in nats, estimated on the policy's own responses.

    The mean over prompts of sum_t log pi(token_t) - log pi_base(token_t), at the sampling temperature: Schulman
    2020, k1. Under top-p sampling it is that of the untruncated distributions on the responses that were drawn.
    """
    total = 0.0
    for start in range(0, len(answers), _BATCH):
        ids = [base.renderer.prompt_ids(row["prompt"]) for row in prompts[start : start + _BATCH]]
        responses = [row["ids"] for row in answers[start : start + _BATCH]]
        with base.using(adapter):
            policy = response_logprobs(base, ids, responses, temperature or 1.0).logprobs
        with base.using(None):
            reference = response_logprobs(base, ids, responses, temperature or 1.0).logprobs
        total += float((policy - reference).sum())
    return total / len(answers)


def measures(rows: Sequence[Row]) -> dict[str, float]:
    """Length in words, share that ended by itself, and distinct-n (Li et al. 2016): different n-grams / n-grams."""
    texts = [row["response"].split() for row in rows]
    return {
        "words": float(np.mean([len(words) for words in texts])),
        "finish_rate": float(np.mean([row["finish_reason"] == "stop" for row in rows])),
        "distinct_1": distinct(texts, 1),
        "distinct_2": distinct(texts, 2),
    }


def distinct(texts: Sequence[Sequence[str]], n: int) -> float:
    """Different n-grams over all n-grams of all texts; 0 where there are none."""
    grams = [tuple(words[i : i + n]) for words in texts for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def _pairs(
    prompts: Sequence[Row], answers: Mapping[str, Sequence[Row]], scores: Mapping[str, Mapping[str, Sequence[float]]]
) -> list[Row]:
    """Every prompt with both answers and their scores, the policy's greatest gain (by the first judge) first."""
    first = next(iter(scores.values()))
    gain = np.subtract(first["policy"], first["base"])
    return [
        {
            "prompt": prompts[i]["prompt"],
            "base": answers["base"][i]["response"],
            "policy": answers["policy"][i]["response"],
            "scores": {judge: {who: float(found[who][i]) for who in found} for judge, found in scores.items()},
        }
        for i in np.argsort(-gain, kind="stable").tolist()
    ]
