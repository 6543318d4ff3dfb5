"""Sample, score, penalise: one batch of experience."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch

from rlhf_pipeline.backbone.adapters import SharedBase
from rlhf_pipeline.backbone.logprobs import response_logprobs, response_mask
from rlhf_pipeline.backbone.sampling import SamplingConfig, sample
from rlhf_pipeline.backbone.tokens import Ids
from rlhf_pipeline.errors import UserError


class Scorer(Protocol):
    """Whatever judges responses: a reward model, a metric, a mixture."""

    def score(self, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids]) -> torch.Tensor:
        """One score a response: (n,), fp32, higher is better."""


@runtime_checkable
class Mixture(Scorer, Protocol):
    """A scorer made of several parts, which are logged each on its own, and whose state goes into checkpoints."""

    @property
    def parts(self) -> Mapping[str, Sequence[float]]:
        """What each part said of each response in the last call."""

    def state(self) -> Any:
        """What the next call depends on, in plain lists, dictionaries and numbers."""

    def restore(self, state: Any) -> None:
        """Go on from that state."""


@dataclass(frozen=True)
class Rollout:
    """`n` sampled responses and what is known of them; tensors are on the base's device.

    logprobs, ref_logprobs, mask: (n, T); scores: (n,); finished: (n,) bool; seconds: by phase; parts: those of the
    scores where they are a mixture, each (n,).
    """

    prompt_ids: list[Ids]
    response_ids: list[list[int]]
    logprobs: torch.Tensor
    ref_logprobs: torch.Tensor
    mask: torch.Tensor
    scores: torch.Tensor
    finished: torch.Tensor
    seconds: dict[str, float]
    parts: dict[str, torch.Tensor] = field(default_factory=dict)


def roll_out(
    base: SharedBase,
    adapter: str,
    scorer: Scorer,
    prompts: Sequence[Ids],
    sampling: SamplingConfig,
    *,
    group: int,
    seed: int,
    rows: Sequence[int],
    micro_batch: int,
    merge: bool,
) -> Rollout:
    """`group` responses to each prompt, with their scores and the reference's log-probabilities.

    `rows` names each prompt's random stream (see `sampling.sample`). `UserError` on a score that is not finite.
    """
    clock: dict[str, float] = {}
    with timed(clock, "sample"), base.merged(adapter) if merge else base.using(adapter):
        samples = sample(base, prompts, sampling, group=group, seed=seed, rows=rows)
    prompt_ids = [prompts[one.prompt] for one in samples]
    response_ids = [one.response_ids for one in samples]
    with timed(clock, "score"):
        scores = scorer.score(prompt_ids, response_ids).float().to(base.device)
        found = scorer.parts if isinstance(scorer, Mixture) else {}
        parts = {name: torch.tensor(values, device=base.device) for name, values in found.items()}
    check_scores(scores, response_ids, base)
    mask = response_mask(response_ids).to(base.device)
    logprobs = torch.zeros_like(mask)
    for row, one in enumerate(samples):
        logprobs[row, : len(one.logprobs)] = torch.tensor(one.logprobs, device=base.device)
    with timed(clock, "reference"), torch.no_grad(), base.using(None):
        ref_logprobs = torch.zeros_like(mask)
        for rows_ in by_length(prompt_ids, response_ids, micro_batch):
            part = response_logprobs(
                base, [prompt_ids[r] for r in rows_], [response_ids[r] for r in rows_], sampling.temperature
            ).logprobs
            ref_logprobs[rows_, : part.shape[1]] = part
    finished = torch.tensor([one.finish_reason == "stop" for one in samples], device=base.device)
    return Rollout(prompt_ids, response_ids, logprobs, ref_logprobs, mask, scores, finished, clock, parts)


def by_length(prompt_ids: Sequence[Ids], response_ids: Sequence[Ids], size: int) -> list[list[int]]:
    """Row numbers in batches of rows of similar length, so that little is spent on padding."""
    order = sorted(range(len(prompt_ids)), key=lambda row: (len(prompt_ids[row]) + len(response_ids[row]), row))
    return [order[start : start + size] for start in range(0, len(order), size)]


def check_scores(scores: torch.Tensor, response_ids: Sequence[Ids], base: SharedBase) -> None:
    """Refuse scores of the wrong number, or that are not finite, naming the responses."""
    if scores.shape != (len(response_ids),):
        raise UserError(f"the scorer returned shape {tuple(scores.shape)} for {len(response_ids)} responses.")
    bad = (~scores.isfinite()).nonzero().flatten().tolist()
    if bad:
        shown = "; ".join(f'"{base.renderer.text(response_ids[row])[:80]}"' for row in bad[:3])
        raise UserError(
            f"the score of {len(bad)} of {len(response_ids)} responses is not finite, for instance of: {shown}. "
            "Check the reward model (rlhf evaluate-reward) and train it again."
        )


@contextmanager
def timed(clock: dict[str, float], phase: str) -> Iterator[None]:
    """Add the seconds spent inside to `clock[phase]`."""
    start = time.perf_counter()
    yield
    clock[phase] = clock.get(phase, 0.0) + time.perf_counter() - start
