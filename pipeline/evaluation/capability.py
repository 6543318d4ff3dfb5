"""Whether a candidate lost what nobody asked it about: the likelihood of general text, and the form of its responses.

Both are compared with the champion's, each pair on the same text or prompt. A gain on the judged prompts may be paid
for with either: an adapter that has drifted far finds ordinary prose unlikely, and one that exploits a reward ends no
sentence, or says one thing for ever. What knowledge or skill was lost beyond that is not measured.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from backbone.adapters import SharedBase
from backbone.exactness import load_shared_base
from backbone.logprobs import response_logprobs
from backbone.sampling_config import SamplingConfig
from backbone.templates.answers import encode
from foundation.files import Row, read_json, read_rows, write_json
from foundation.intervals import paired_interval
from pipeline.config.config import Config
from pipeline.evaluation.comparison import respond
from pipeline.evaluation.statistics import mean_interval
from pipeline.terminal.progress import progress
from reward_model.labels.records import conversation_key

GENERAL = Path(__file__).with_name("general.jsonl")
"""Paragraphs of plain English about everyday knowledge, written for this project."""

_GIVEN = 8
"""Tokens of a paragraph that are given, so that the first words, which nothing announces, do not count."""
_BATCH = 8
_LOOP = re.compile(r"(.{8,200}?)(?:\1){2}", re.DOTALL)

CHAMPION, CANDIDATE = "champion", "candidate"


def compare_with_champion(
    config: Config, console: Console, folder: Path, *, candidate: Path, champion: Path | None, evaluation: Path
) -> dict[str, Any]:
    """Write `folder/capability.json`: the candidate's adapter against the champion's (None: the base) in both respects.

    Both answer the prompts of the `evaluation` once. Returns the figures.
    """
    base = load_shared_base(config.model, config.dtype, config.device, config.template, config.quantization)
    base.load_adapter(CANDIDATE, candidate)
    if champion:
        base.load_adapter(CHAMPION, champion)
    who = {CHAMPION: CHAMPION if champion else None, CANDIDATE: CANDIDATE}
    prompts = read_json(evaluation)["sampled"]["pairs"]
    with progress(console, "promote", 2 * len(prompts)) as advance:
        figures = {
            "likelihood": likelihood(base, who, [row["text"] for row in read_rows(GENERAL)]),
            "format": form(base, who, prompts, config.evaluate.sampling, folder, config.seed, advance),
        }
    write_json(folder / "capability.json", figures)
    return figures


@torch.no_grad()
def likelihood(base: SharedBase, who: Mapping[str, str | None], texts: Sequence[str]) -> dict[str, float]:
    """Mean log-likelihood in nats per token of the texts, by either adapter, and the difference over texts."""
    found: dict[str, list[float]] = {name: [] for name in who}
    tokens = [encode(base.renderer.tokenizer, text)[: base.renderer.max_length] for text in texts]
    for start in range(0, len(tokens), _BATCH):
        batch = tokens[start : start + _BATCH]
        given, rest = [ids[:_GIVEN] for ids in batch], [ids[_GIVEN:] for ids in batch]
        for name, adapter in who.items():
            with base.using(adapter):
                logprobs = response_logprobs(base, given, rest).logprobs.sum(1)
            found[name] += [float(one) / len(ids) for one, ids in zip(logprobs, rest, strict=True)]
    differences = np.subtract(found[CANDIDATE], found[CHAMPION])
    return _figure(found, differences, mean_interval(differences))


def form(
    base: SharedBase,
    who: Mapping[str, str | None],
    prompts: Sequence[Row],
    sampling: SamplingConfig,
    folder: Path,
    seed: int,
    advance: Callable[[int], None],
) -> dict[str, float]:
    """Share of sound responses by either adapter, and the difference, with an interval over conversations.

    Responses are kept in `folder` as they are made, so that an interrupted call goes on.
    """
    found = {
        name: [
            float(is_sound(row["response"], row["finish_reason"]))
            for row in respond(base, adapter, prompts, sampling, folder / f"{name}.jsonl", seed, advance)
        ]
        for name, adapter in who.items()
    }
    differences = np.subtract(found[CANDIDATE], found[CHAMPION])
    return _figure(
        found, differences, paired_interval(differences, [conversation_key(row["prompt"]) for row in prompts])
    )


def is_sound(response: str, finish_reason: str) -> bool:
    """Whether a response ended by itself, is not empty, and has no passage three times in a row."""
    return finish_reason == "stop" and bool(response.strip()) and not _LOOP.search(response)


def _figure(
    found: Mapping[str, Sequence[float]], differences: np.ndarray, interval: tuple[float, float]
) -> dict[str, float]:
    means = {name: float(np.mean(values)) for name, values in found.items()}
    low, high = interval
    return {**means, "difference": float(differences.mean()), "low": low, "high": high, "n": len(differences)}
