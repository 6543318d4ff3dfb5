"""The layout of a batch without padding, in which responses share their prompt: a `Stream`.

The tokens of a batch lie one after another: a prompt, then the responses to it, then the next prompt. Layers that look
at one token at a time do no wasted work; attention, where tokens meet, is in `shared_prompt_attention.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from backbone.tokens import Ids

# Sizes are rounded up to a multiple: for each new one, oneDNN compiles kernels anew and keeps them in memory.
ROUND, TABLE = 64, 16  # of a stream; of a prompt and of a response in attention
LONGEST = 1024  # beyond this the attention scores of a group take more memory than sharing saves


@dataclass(frozen=True)
class Stream:
    """`m` prompts, the most frequent with `k` responses, as one stream of N tokens.

    input_ids, positions: (1, N); prompts: (m, P) and responses: (m, k, T), where each token lies in the stream, N
    where there is none; home: (N,), where each token of the stream lies among those of `prompts` and `responses`, laid
    out flat, and one beyond them for what fills the stream up; prompt_ends: for each row, where its prompt ends;
    places: where its tokens lie.
    """

    input_ids: Tensor
    positions: Tensor
    prompts: Tensor
    responses: Tensor
    home: Tensor
    prompt_ends: list[int]
    places: list[list[int]]

    @classmethod
    def of(cls, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids]) -> "Stream":
        """Lay out the rows; those in a row whose prompts are equal share one."""
        ids: list[int] = []
        positions: list[int] = []
        prompts: list[list[int]] = []
        groups: list[list[list[int]]] = []
        ends: list[int] = []
        before: list[int] | None = None
        for prompt, response in zip(prompt_ids, response_ids, strict=True):
            if before is None or list(prompt) != before:
                before = list(prompt)
                prompts.append(list(range(len(ids), len(ids) + len(before))))
                groups.append([])
                ids += before
                positions += range(len(before))
            ends.append(prompts[-1][-1])
            groups[-1].append(list(range(len(ids), len(ids) + len(response))))
            ids += response
            positions += range(len(before), len(before) + len(response))
        ids += [0] * (-len(ids) % ROUND)
        positions += [0] * (len(ids) - len(positions))
        n, most = len(ids), max(map(len, groups))
        prompt_table = _table(prompts, n)
        rows = [row for group in groups for row in (*group, *([[]] * (most - len(group))))]
        response_table = _table(rows, n)
        flat = torch.cat([prompt_table.flatten(), response_table.flatten()])
        home = torch.full((n + 1,), len(flat)).scatter_(0, flat, torch.arange(len(flat)))[:n]
        return cls(
            torch.tensor([ids]),
            torch.tensor([positions]),
            prompt_table,
            response_table.view(len(groups), most, -1),
            home,
            ends,
            [row for group in groups for row in group],
        )

    @cached_property
    def masks(self) -> tuple[Tensor, Tensor]:
        """Minus infinity where prompts do not look, (P, P), and where responses do not, (m, 1, 1, T, P + T); else 0."""
        length, width = self.prompts.shape[1], self.responses.shape[2]
        causal = torch.full((length, length), -torch.inf).triu(1)
        seen = torch.zeros(len(self.prompts), 1, 1, width, length + width)
        seen[..., length:] = torch.full((width, width), -torch.inf).triu(1)
        absent = self.prompts == self.home.shape[0]
        seen[..., :length].masked_fill_(absent[:, None, None, None], -torch.inf)
        return causal, seen


def _table(rows: Sequence[Sequence[int]], filler: int) -> Tensor:
    longest = max(1, *map(len, rows))
    width = longest + -longest % TABLE
    return torch.tensor([[*row, *([filler] * (width - len(row)))] for row in rows])
