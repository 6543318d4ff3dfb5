"""Sample responses, score them, and compute the reference's log-probabilities; in one process or in many."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from backbone.adapters import SharedBase
from backbone.batching import by_prompt
from backbone.logprobs import response_logprobs, response_mask
from backbone.sampling import Draw, Sample, sample
from backbone.sampling_config import SamplingConfig
from backbone.tokens import Ids
from policy.metrics import timed
from policy.scorer_protocol import Mixture, Scorer, checked_scores

_ROWS_WITHOUT_GRADIENTS = 2  # times as many rows fit if no activations are kept for a backward pass


@dataclass(frozen=True)
class Rollout:
    """`n` sampled responses and what is known about them; tensors are on the base's device.

    rows: the names of their random streams; logprobs, ref_logprobs, mask: (n, T); scores: (n,); finished: (n,) bool;
    seconds: by phase; parts: the parts of a mixture's scores, each (n,).
    mismatch: (n, T), distances of the log-probabilities at temperature 1 of whoever drew from those of the policy here;
    None if `logprobs` are those of whoever drew.
    """

    rows: list[int]
    prompt_ids: list[Ids]
    response_ids: list[list[int]]
    logprobs: torch.Tensor
    ref_logprobs: torch.Tensor
    mask: torch.Tensor
    scores: torch.Tensor
    finished: torch.Tensor
    seconds: dict[str, float]
    parts: dict[str, torch.Tensor] = field(default_factory=dict)
    mismatch: torch.Tensor | None = None


class SampledResponse(NamedTuple):
    """A sampled response, the name of its random stream, and its prompt."""

    row: int
    prompt_ids: list[int]
    sample: Sample


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
    accelerator: Accelerator | None = None,
    draw: Draw | None = None,
) -> Rollout:
    """`group` responses to each prompt, with their scores and the reference's log-probabilities.

    `rows` names each prompt's random stream (see `sampling.sample`). If there are several processes, each samples
    responses to its prompts and then continues with its share of all of them. `draw` draws elsewhere, and gives the
    log-probabilities of temperature 1: at another, those of the policy are computed here. `UserError` on a score that
    is not finite.
    """
    seconds: dict[str, float] = {}
    with timed(seconds, "sample"):
        if draw is None:
            with base.merged(adapter) if merge else base.using(adapter):
                samples = sample(base, prompts, sampling, group=group, seed=seed, rows=rows)
        else:
            samples = draw(base, adapter, prompts, sampling, group=group, seed=seed, rows=rows) if prompts else []
    responses = [
        SampledResponse(rows[one.prompt] + place % group, list(prompts[one.prompt]), one)
        for place, one in enumerate(samples)
    ]
    if accelerator is not None and accelerator.num_processes > 1:
        shares = split_among_processes(gather_object(responses), group, accelerator.num_processes)
        responses = shares[accelerator.process_index]
    samples = [one.sample for one in responses]
    prompt_ids: list[Ids] = [one.prompt_ids for one in responses]
    response_ids = [one.response_ids for one in samples]
    with timed(seconds, "score"):
        scores = checked_scores(scorer, prompt_ids, response_ids, base)
        found = scorer.parts if isinstance(scorer, Mixture) else {}
        parts = {name: torch.tensor(values, device=base.device) for name, values in found.items()}
    mask = response_mask(response_ids).to(base.device)
    logprobs = torch.zeros_like(mask)
    for row, one in enumerate(samples):
        logprobs[row, : len(one.logprobs)] = torch.tensor(one.logprobs, device=base.device)

    @torch.no_grad()
    def own_logprobs(name: str | None, temperature: float) -> torch.Tensor:
        found = torch.zeros_like(mask)
        with base.using(name):
            for chosen in by_prompt(prompt_ids, response_ids, _ROWS_WITHOUT_GRADIENTS * micro_batch):
                part = response_logprobs(
                    base, [prompt_ids[r] for r in chosen], [response_ids[r] for r in chosen], temperature
                ).logprobs
                found[chosen, : part.shape[1]] = part
        return found

    mismatch = None
    if draw is not None and sampling.temperature != 1:
        with timed(seconds, "sample"):
            mismatch = (own_logprobs(adapter, 1.0) - logprobs).abs() * mask
            logprobs = own_logprobs(adapter, sampling.temperature)
    with timed(seconds, "reference"):
        ref_logprobs = own_logprobs(None, sampling.temperature)
    finished = torch.tensor([one.finish_reason == "stop" for one in samples], device=base.device)
    names = [one.row for one in responses]
    return Rollout(
        names, prompt_ids, response_ids, logprobs, ref_logprobs, mask, scores, finished, seconds, parts, mismatch
    )


def split_among_processes(
    responses: Sequence[SampledResponse], group: int, processes: int
) -> list[list[SampledResponse]]:
    """The share of each process: equally many groups, with long ones spread evenly so that no process waits long."""
    ordered = sorted(responses, key=lambda one: one.row)
    groups = [ordered[start : start + group] for start in range(0, len(ordered), group)]
    groups.sort(key=lambda one: -sum(len(each.prompt_ids) + len(each.sample.response_ids) for each in one))
    shares: list[list[SampledResponse]] = [[] for _ in range(processes)]
    for start in range(0, len(groups), processes):
        turn = range(processes) if start // processes % 2 == 0 else reversed(range(processes))
        for process, one in zip(turn, groups[start : start + processes], strict=True):
            shares[process] += one
    return [sorted(share, key=lambda one: one.row) for share in shares]


def gather_rollouts(
    rollout: Rollout, values: torch.Tensor | None, accelerator: Accelerator
) -> tuple[Rollout, torch.Tensor | None]:
    """Join the rollouts of all processes in the order of their rows, and likewise their `values` (n, T), if any."""
    if accelerator.num_processes == 1:
        return rollout, values
    device = rollout.mask.device
    tensors: dict[str, Any] = {
        name: value.cpu() for name, value in vars(rollout).items() if isinstance(value, torch.Tensor)
    }
    parts = {name: value.cpu() for name, value in rollout.parts.items()}
    everyone = gather_object([(replace(rollout, **tensors, parts=parts), None if values is None else values.cpu())])
    rollouts = [one for one, _ in everyone]
    rows = [row for one in rollouts for row in one.rows]
    order = sorted(range(len(rows)), key=rows.__getitem__)

    def joined(columns: Sequence[torch.Tensor]) -> torch.Tensor:
        width = max(column.shape[-1] for column in columns)
        if columns[0].dim() > 1:
            columns = [torch.nn.functional.pad(column, (0, width - column.shape[1])) for column in columns]
        return torch.cat(list(columns))[order].to(device)

    def in_order(lists: Sequence[Sequence[Any]]) -> list[Any]:
        found = [one for part in lists for one in part]
        return [found[place] for place in order]

    fields: dict[str, Any] = {name: joined([getattr(one, name) for one in rollouts]) for name in tensors}
    for name in ("rows", "prompt_ids", "response_ids"):
        fields[name] = in_order([getattr(one, name) for one in rollouts])
    fields["parts"] = {name: joined([one.parts[name] for one in rollouts]) for name in parts}
    whole = replace(rollout, **fields)
    return whole, None if values is None else joined([each for _, each in everyone])
