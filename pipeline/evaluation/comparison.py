"""The blind comparison: policy against base on held-out prompts.

Both answer every prompt once sampled, from the same random stream, and once greedily. Judges see a prompt and a
response and never which of the two wrote it. Win rates come with an interval over conversations. On request the
policy also meets best-of-n of the base, which reaches for the same score without any training.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backbone.adapters import SharedBase
from backbone.logprobs import response_kl
from backbone.sampling import Draw, Sample
from backbone.sampling_config import SamplingConfig
from backbone.tokens import Ids
from foundation.files import Row, read_jsonl, write_jsonl
from pipeline.config.evaluate import EvaluateConfig
from pipeline.evaluation.statistics import mean_interval, measures, ratio_interval, win_rate
from pipeline.sampling.drawing import draw_here
from policy.algorithms.kl import best_of_n_kl
from policy.best_of_n import best_of_n
from policy.scorer_protocol import Scorer
from reward_model.labels.records import conversation_key

Judge = Callable[[Sequence[Row], Sequence[Row]], list[float]]
"""Scores of (prompts, responses): a prompt is a row of prompts.jsonl, a response a row of `respond`."""


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
    scorer: Scorer | None = None,
    draw: Draw = draw_here,
) -> dict[str, Any]:
    """Answer, judge and compare; returns the content of evaluation.json.

    `judges` by name; the first gives the order of best and worst pairs. `scorer` is what best-of-n chooses by. Answers
    are kept in `folder` as they are made, so that an interrupted call goes on.
    """
    modes = {"sampled": config.sampling, "greedy": config.sampling.model_copy(update={"temperature": 0.0})}
    compared: dict[str, dict[str, Any]] = {}
    conversations = [conversation_key(row["prompt"]) for row in prompts]
    for mode, sampling in modes.items():
        answers = {
            who: respond(base, name, prompts, sampling, folder / f"{who}-{mode}.jsonl", seed, advance, draw)
            for who, name in (("base", None), ("policy", adapter))
        }
        scores = {
            judge: {who: score(prompts, rows) for who, rows in answers.items()} for judge, score in judges.items()
        }
        kl: list[float] = []
        if mode == "sampled":
            asked = [base.renderer.prompt_ids(row["prompt"]) for row in prompts]
            said = [row["ids"] for row in answers["policy"]]
            kl = response_kl(base, adapter, asked, said, sampling.temperature or 1.0).tolist()
        compared[mode] = {
            "win_rates": {
                judge: win_rate(found["policy"], found["base"], conversations) for judge, found in scores.items()
            },
            "measures": {who: measures(rows) for who, rows in answers.items()},
            "pairs": _pairs(prompts, answers, scores, kl),
        }
        if mode == "sampled":
            compared[mode] |= {"kl": float(np.mean(kl)), **_intervals(kl, answers, conversations)}
            if config.best_of_n > 1:
                assert scorer is not None, "best-of-n needs a scorer to choose by"
                best = best_responses(base, scorer, prompts, config, folder / "best-of-n-sampled.jsonl", seed, advance)
                compared[mode]["best_of_n"] = _against_best(config.best_of_n, prompts, best, scores, judges)
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
    draw: Draw = draw_here,
) -> list[Row]:
    """One response to each prompt: `{"ids", "response", "finish_reason"}`; kept in `path` and reused."""

    def drawn(ids: Sequence[Ids]) -> list[Sample]:
        return draw(base, adapter, ids, sampling, seed=seed, progress=advance)

    return _kept(base, prompts, sampling, path, drawn, lambda: advance(len(prompts)))


def best_responses(
    base: SharedBase,
    scorer: Scorer,
    prompts: Sequence[Row],
    config: EvaluateConfig,
    path: Path,
    seed: int,
    advance: Callable[[int], None],
) -> list[Row]:
    """As `respond` for the base, but of `config.best_of_n` responses to a prompt the one that `scorer` likes best."""
    n = config.best_of_n

    def draw(ids: Sequence[Ids]) -> list[Sample]:
        with base.using(None):
            return best_of_n(base, scorer, ids, config.sampling, n, seed=seed, progress=advance)

    return _kept(base, prompts, config.sampling, path, draw, lambda: advance(n * len(prompts)))


def _kept(
    base: SharedBase,
    prompts: Sequence[Row],
    sampling: SamplingConfig,
    path: Path,
    draw: Callable[[Sequence[Ids]], list[Sample]],
    found: Callable[[], None],
) -> list[Row]:
    """What `draw` answers to the prompts' ids, as rows in `path`; where the file is there, `found` is told instead."""
    if path.is_file():
        found()
        return [row for _, row in read_jsonl(path)]
    drawn = draw([base.renderer.prompt_ids(row["prompt"], sampling.max_new_tokens) for row in prompts])
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


def _against_best(
    n: int,
    prompts: Sequence[Row],
    best: Sequence[Row],
    scores: Mapping[str, Mapping[str, Sequence[float]]],
    judges: Mapping[str, Judge],
) -> dict[str, Any]:
    """The policy against best-of-n, and best-of-n against the base, by every judge."""
    judged = {name: judge(prompts, best) for name, judge in judges.items()}
    conversations = [conversation_key(row["prompt"]) for row in prompts]
    return {
        "n": n,
        "kl": best_of_n_kl(n),
        "win_rates": {name: win_rate(scores[name]["policy"], judged[name], conversations) for name in judges},
        "over_base": {name: win_rate(judged[name], scores[name]["base"], conversations) for name in judges},
        "measures": measures(best),
    }


def _intervals(
    kl: Sequence[float], answers: Mapping[str, Sequence[Row]], conversations: Sequence[str]
) -> dict[str, list[float]]:
    """95% intervals over conversations of the mean KL and the ratio of words; none where there is nothing to go by."""
    words = {who: np.array([len(row["response"].split()) for row in rows]) for who, rows in answers.items()}
    found = {
        "kl_interval": mean_interval(np.array(kl), conversations),
        "length_interval": ratio_interval(words["policy"], words["base"], conversations),
    }
    return {name: list(interval) for name, interval in found.items() if np.isfinite(interval).all()}


def _pairs(
    prompts: Sequence[Row],
    answers: Mapping[str, Sequence[Row]],
    scores: Mapping[str, Mapping[str, Sequence[float]]],
    kl: Sequence[float],
) -> list[Row]:
    """Every prompt with both answers and their scores, the policy's greatest gain (by the first judge) first.

    With the `kl` of the policy's response where it was estimated.
    """
    first = next(iter(scores.values()))
    gain = np.subtract(first["policy"], first["base"])
    return [
        {
            "prompt": prompts[i]["prompt"],
            "base": answers["base"][i]["response"],
            "policy": answers["policy"][i]["response"],
            "scores": {judge: {who: float(found[who][i]) for who in found} for judge, found in scores.items()},
            **({"kl": kl[i]} if kl else {}),
        }
        for i in np.argsort(-gain, kind="stable").tolist()
    ]
