"""What the frozen base, without any adapter, makes of responses: features that no training changes.

A linear probe reads a reward off them. The middle of a language model tells more of a response than its last layer,
which is about the next token, and the mean over the response's tokens more than the last one alone (Alain and Bengio
2016 on probes; the figures are in docs/decisions.md, 278). How a probe is fitted is in `evaluation/probe.py`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from backbone.adapters import SharedBase
from backbone.batching import by_prompt
from backbone.hidden_states import pooled_states
from backbone.tokens import Ids
from foundation.errors import UserError

_PROBE = "probe.safetensors"


def frozen_states(
    base: SharedBase,
    prompts: Sequence[Ids],
    responses: Sequence[Ids],
    on_batch: Callable[[int], None] = lambda responses: None,
) -> np.ndarray:
    """The final state at the last token of each response, as it is rendered and cut: (n, d), float32."""
    return np.ascontiguousarray(states_of(base, prompts, responses, on_batch)[:, 0].numpy())


def states_of(
    base: SharedBase,
    prompts: Sequence[Ids],
    responses: Sequence[Ids],
    on_batch: Callable[[int], None] = lambda responses: None,
    *,
    final: bool = True,
) -> torch.Tensor:
    """`pooled_states` of the base alone, in batches: (n, 3, d), float32 on the CPU; `on_batch` is told their sizes."""
    found = torch.zeros(len(prompts), 3, base.hidden_size)
    if not prompts:
        return found
    longest = max(len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True))
    with base.using(None):
        batches = by_prompt(prompts, responses, max(1, base.sizes.score_tokens // longest))
        for rows in reversed(batches):  # the longest first: what is left is then done sooner than it seemed
            asked, said = [prompts[i] for i in rows], [responses[i] for i in rows]
            found[rows] = pooled_states(base, asked, said, final=final).cpu()
            on_batch(len(rows))
    return found


def probed(states: torch.Tensor) -> torch.Tensor:
    """What a probe sees of `states_of`, the two of the middle block: (n, 2d)."""
    return states[:, 1:].flatten(1)


def save_probe(folder: Path, probe: torch.Tensor) -> None:
    """Write the probe (2d,) beside an adapter."""
    save_file({"probe": probe.float().contiguous()}, folder / _PROBE)


def load_probe(folder: Path, hidden: int) -> torch.Tensor:
    """The probe of a reward folder: (2 hidden,). `UserError` if it is damaged or of another base."""
    try:
        probe = load_file(folder / _PROBE)["probe"]
    except (SafetensorError, OSError, KeyError) as error:
        raise UserError(f"{folder / _PROBE} is damaged ({error}). Train the reward model again.") from error
    if probe.shape != (2 * hidden,):
        width = len(probe) // 2
        raise UserError(f"{folder / _PROBE} does not fit: it is for a base {width} wide, and this one is {hidden}.")
    return probe
