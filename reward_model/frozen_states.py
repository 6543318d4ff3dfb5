"""What the frozen base, without any adapter, makes of responses: features that no training changes."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from backbone.adapters import SharedBase
from backbone.batching import by_prompt
from backbone.hidden_states import last_states
from backbone.tokens import Ids

_ROWS = 8


@torch.no_grad()
def frozen_states(
    base: SharedBase,
    prompts: Sequence[Ids],
    responses: Sequence[Ids],
    on_batch: Callable[[int], None] = lambda responses: None,
) -> np.ndarray:
    """The state at the last token of each response, as it is rendered and cut: (n, d), float32.

    `on_batch` is told the number of responses of each batch that is done.
    """
    states = np.zeros((len(prompts), base.hidden_size), dtype=np.float32)
    with base.using(None):
        for rows in by_prompt(prompts, responses, _ROWS):
            found = last_states(base, [prompts[row] for row in rows], [responses[row] for row in rows])
            states[rows] = found.float().cpu().numpy()
            on_batch(len(rows))
    return states
