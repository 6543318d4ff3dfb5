"""Sample, score, penalise: one batch of experience."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.profiler import record_function

from backbone.adapters import SharedBase
from backbone.cpu.shared_prompts import batches
from backbone.logprobs import response_logprobs, response_mask
from backbone.sampling import Sample, SamplingConfig, sample
from backbone.tokens import Ids
from foundation.errors import UserError

_UNTRACKED = 2  # times as many rows fit where no activations are kept for a backward pass


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

    rows: the names of their random streams; logprobs, ref_logprobs, mask: (n, T); scores: (n,); finished: (n,) bool;
    seconds: by phase; parts: those of the scores where they are a mixture, each (n,).
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


class Drawn(NamedTuple):
    """A response, the name of its random stream, and what it answers."""

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
) -> Rollout:
    """`group` responses to each prompt, with their scores and the reference's log-probabilities.

    `rows` names each prompt's random stream (see `sampling.sample`). Of several processes, all of which sample as many,
    each goes on with its share of everybody's responses. `UserError` on a score that is not finite.
    """
    clock: dict[str, float] = {}
    with timed(clock, "sample"), base.merged(adapter) if merge else base.using(adapter):
        samples = sample(base, prompts, sampling, group=group, seed=seed, rows=rows)
    drawn = [
        Drawn(rows[one.prompt] + place % group, list(prompts[one.prompt]), one) for place, one in enumerate(samples)
    ]
    if accelerator is not None and accelerator.num_processes > 1:
        shares = deal(gather_object(drawn), group, accelerator.num_processes)
        drawn = shares[accelerator.process_index]
    samples = [one.sample for one in drawn]
    prompt_ids: list[Ids] = [one.prompt_ids for one in drawn]
    response_ids = [one.response_ids for one in samples]
    with timed(clock, "score"):
        scores = scores_of(scorer, prompt_ids, response_ids, base)
        found = scorer.parts if isinstance(scorer, Mixture) else {}
        parts = {name: torch.tensor(values, device=base.device) for name, values in found.items()}
    mask = response_mask(response_ids).to(base.device)
    logprobs = torch.zeros_like(mask)
    for row, one in enumerate(samples):
        logprobs[row, : len(one.logprobs)] = torch.tensor(one.logprobs, device=base.device)
    with timed(clock, "reference"), torch.no_grad(), base.using(None):
        ref_logprobs = torch.zeros_like(mask)
        for rows_ in batches(prompt_ids, response_ids, _UNTRACKED * micro_batch):
            part = response_logprobs(
                base, [prompt_ids[r] for r in rows_], [response_ids[r] for r in rows_], sampling.temperature
            ).logprobs
            ref_logprobs[rows_, : part.shape[1]] = part
    finished = torch.tensor([one.finish_reason == "stop" for one in samples], device=base.device)
    names = [one.row for one in drawn]
    return Rollout(names, prompt_ids, response_ids, logprobs, ref_logprobs, mask, scores, finished, clock, parts)


def deal(drawn: Sequence[Drawn], group: int, processes: int) -> list[list[Drawn]]:
    """Each process's share: as many groups for each, and long ones spread so that nobody waits for long."""
    ordered = sorted(drawn, key=lambda one: one.row)
    groups = [ordered[start : start + group] for start in range(0, len(ordered), group)]
    groups.sort(key=lambda one: -sum(len(each.prompt_ids) + len(each.sample.response_ids) for each in one))
    shares: list[list[Drawn]] = [[] for _ in range(processes)]
    for start in range(0, len(groups), processes):
        turn = range(processes) if start // processes % 2 == 0 else reversed(range(processes))
        for process, one in zip(turn, groups[start : start + processes], strict=True):
            shares[process] += one
    return [sorted(share, key=lambda one: one.row) for share in shares]


def gathered(
    rollout: Rollout, values: torch.Tensor | None, accelerator: Accelerator
) -> tuple[Rollout, torch.Tensor | None]:
    """The rollouts of all processes as one, in the order of their rows; and so their `values` (n, T), if any."""
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


def scores_of(scorer: Scorer, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids], base: SharedBase) -> torch.Tensor:
    """What the scorer says, wherever it says it: (n,), fp32 constants on the base's device.

    The scorer may be anybody's code. `UserError` where it raises, or gives too few scores or ones that are not finite.
    """
    try:
        scores = torch.as_tensor(scorer.score(prompt_ids, response_ids)).detach().float().to(base.device)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the reward failed on {len(response_ids)} responses with {type(error).__name__}: {str(error)[:200]}. "
            "Mend the reward function, and run the command again."
        ) from error
    check_scores(scores, response_ids, base)
    return scores


def check_scores(scores: torch.Tensor, response_ids: Sequence[Ids], base: SharedBase) -> None:
    """Refuse scores of the wrong number, or that are not finite, naming the responses."""
    n = len(response_ids)
    if scores.shape != (n,):
        raise UserError(
            f"the scorer returned shape {tuple(scores.shape)} for {n} responses. Let it give one a response: ({n},)."
        )
    bad = (~scores.isfinite()).nonzero().flatten().tolist()
    if bad:
        shown = "; ".join(f'"{base.renderer.text(response_ids[row])[:80]}"' for row in bad[:3])
        raise UserError(
            f"the score of {len(bad)} of {n} responses is not finite, for instance of: {shown}. Mend the reward "
            "function, or check the reward model (rlhf evaluate-reward) and train it again."
        )


@contextmanager
def timed(clock: dict[str, float], phase: str) -> Iterator[None]:
    """Add the seconds spent inside to `clock[phase]`; a profiler sees the phase by its name."""
    start = time.perf_counter()
    with record_function(phase):
        yield
    clock[phase] = clock.get(phase, 0.0) + time.perf_counter() - start
