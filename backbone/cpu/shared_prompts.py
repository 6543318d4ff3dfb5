"""Hidden states of many responses without padding, each prompt computed once for all of its responses.

The tokens of a batch lie one after another in a single stream: a prompt, then the responses to it, then the next
prompt. Every layer that looks at one token alone does no wasted work; attention, where tokens meet, is computed
between a group's responses and their shared prompt. Long sequences, other devices than a CPU and models whose
attention is of another kind go the ordinary way, padded on the right, and give the same states.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor
from transformers import AttentionInterface

from backbone.adapters import SharedBase
from backbone.tokens import Ids, pad_right

NAME = "rlhf_packed"
# Sizes are filled up to a multiple: for each new one, oneDNN compiles kernels anew and keeps them in memory.
ROUND, TABLE = 64, 16  # of a stream; of a prompt and of a response in attention
LONGEST = 1024  # beyond this the attention scores of a group take more memory than sharing saves


def states_before(base: SharedBase, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids]) -> Tensor:
    """The state before each response token, row after row: (response tokens, hidden), under the active adapter.

    Differentiable. What the LM head needs in order to predict those tokens.
    """
    seen = [list(response[:-1]) for response in response_ids]  # nothing is predicted from the last one
    if not packs(base, prompt_ids, seen):
        states, before = _padded(base, prompt_ids, seen)
        index = [start + i for start, row in zip(before, seen, strict=True) for i in range(len(row) + 1)]
        return states[torch.tensor(index, device=base.device)]
    stream = Stream.of(prompt_ids, seen)
    index = [place for end, rest in zip(stream.prompt_ends, stream.places, strict=True) for place in (end, *rest)]
    return stream.states(base)[torch.tensor(index, device=base.device)]


def last_states(base: SharedBase, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids]) -> Tensor:
    """The state at the last token of each response: (n, hidden), under the active adapter. Differentiable."""
    if not packs(base, prompt_ids, response_ids):
        states, before = _padded(base, prompt_ids, response_ids)
        ends = [start + len(row) for start, row in zip(before, response_ids, strict=True)]
        return states[torch.tensor(ends, device=base.device)]
    stream = Stream.of(prompt_ids, response_ids)
    ends = [rest[-1] if rest else end for end, rest in zip(stream.prompt_ends, stream.places, strict=True)]
    return stream.states(base)[torch.tensor(ends, device=base.device)]


def batches(prompt_ids: Sequence[Ids], response_ids: Sequence[Ids], size: int) -> list[list[int]]:
    """Row numbers in batches of at most `size`, rows of one prompt together and rows of similar length together."""
    runs: list[list[int]] = []
    for row, prompt in enumerate(prompt_ids):
        same = runs and len(runs[-1]) < size and row and list(prompt_ids[row - 1]) == list(prompt)
        if same:
            runs[-1].append(row)
        else:
            runs.append([row])
    runs.sort(key=lambda run: (max(len(prompt_ids[row]) + len(response_ids[row]) for row in run), run))
    found: list[list[int]] = []
    for run in runs:
        if found and len(found[-1]) + len(run) <= size:
            found[-1].extend(run)
        else:
            found.append(run)
    return found


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

    def states(self, base: SharedBase) -> Tensor:
        """States after the final norm: (N, hidden)."""
        decoder = getattr(base.base, base.base.base_model_prefix)
        with attending(base.base.config.get_text_config(), NAME):
            states = decoder(
                input_ids=self.input_ids.to(base.device),
                position_ids=self.positions.to(base.device),
                use_cache=False,
                stream=self,
            ).last_hidden_state
        return cast(Tensor, states[0])


@contextmanager
def attending(config: Any, name: str | None) -> Iterator[None]:
    """Let the model compute attention by the function of this name, or by its own for None.

    `set_attn_implementation` does the same and walks through all modules, too slow for every token.
    """
    before = config._attn_implementation
    try:
        config._attn_implementation = name or before
        yield
    finally:
        config._attn_implementation = before


def packs(base: SharedBase, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids]) -> bool:
    """Whether these rows can be computed as one stream: on a CPU, not too long, and by a model that lets us."""
    longest = max(len(prompt) + len(response) for prompt, response in zip(prompt_ids, response_ids, strict=True))
    recomputes = base.base.is_activation_checkpointing  # in the backward pass, when our attention is no longer set
    return base.device.type == "cpu" and longest <= LONGEST and not recomputes and swappable(base)


@torch.no_grad()
def swappable(base: SharedBase) -> bool:
    """Whether attention of our own gives the states that the model's does: tried once on a few words, adapters off.

    Models with sliding windows, or whose tokens meet otherwise than in attention, keep their own.
    """
    if base.packs is None:
        kinds = set(getattr(base.base.config.get_text_config(), "layer_types", None) or ["full_attention"])
        base.packs = kinds == {"full_attention"} and base.base._can_set_attn_implementation() and _agrees(base)
    return base.packs


def _agrees(base: SharedBase) -> bool:
    said = ["Good day to you.", "No.", "Who is there?"]
    greeting, question = (base.renderer.prompt_ids([{"role": "user", "content": text}]) for text in ("Hello!", "Well?"))
    prompts, responses = [greeting, greeting, question], [base.renderer.response_ids(text)[:-1] for text in said]
    with base.using(None):
        states, before = _padded(base, prompts, responses)
        plain = states[[start + len(row) for start, row in zip(before, responses, strict=True)]].float()
        try:
            base.packs = True
            ours = last_states(base, prompts, responses).float()
        except (TypeError, ValueError, RuntimeError, AttributeError):  # the model takes no such stream
            return False
    # Wrong attention gives other states altogether; what is left room for is rounding in a 16-bit base.
    return bool(((ours - plain).norm(dim=-1) <= 0.2 * plain.norm(dim=-1)).all())


def _padded(base: SharedBase, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids]) -> tuple[Tensor, list[int]]:
    """The ordinary way: states of all positions, flat, and where in them each row's prompt ends."""
    sequences = [[*prompt, *response] for prompt, response in zip(prompt_ids, response_ids, strict=True)]
    ids, mask = pad_right(sequences, base.renderer.pad_id)
    states = base.hidden_states(ids.to(base.device), mask.to(base.device))
    return states.flatten(0, 1), [row * ids.shape[1] + len(prompt) - 1 for row, prompt in enumerate(prompt_ids)]


def _table(rows: Sequence[Sequence[int]], filler: int) -> Tensor:
    longest = max(1, *map(len, rows))
    width = longest + -longest % TABLE
    return torch.tensor([[*row, *([filler] * (width - len(row)))] for row in rows])


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    stream: Stream,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention within a `Stream`, in the form transformers asks for: query (1, heads, N, d) to (1, N, heads, d)."""
    if kwargs.get("sliding_window") or kwargs.get("softcap") or kwargs.get("s_aux") is not None or dropout:
        raise ValueError("this attention is of another kind")
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    out = _Attention.apply(query[0], key[0], value[0], stream, scale)  # type: ignore[no-untyped-call]
    return out[None], None


class _Attention(torch.autograd.Function):
    """Attention (Vaswani et al. 2017, eq. 1), causal: of prompts to themselves, of responses to prompt and themselves.

    The backward pass computes the probabilities again, layer by layer, rather than keep them.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, stream: Stream, scale: float) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.stream, ctx.scale = stream, scale
        parts = _Parts.of(query, key, value, stream, scale)
        p, both = parts.probabilities()
        p1, p2 = parts.split(both)
        prompts = p @ parts.v
        responses = (p1 @ parts.v).view_as(parts.qr) + p2 @ parts.vr
        return parts.gather(prompts, responses, query.shape[0])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query, key, value = ctx.saved_tensors
        s = _Parts.of(query, key, value, ctx.stream, ctx.scale)
        p, both = s.probabilities()
        p1, p2 = s.split(both)
        g, gr = _apart(gradient, ctx.stream, key.shape[0])
        together = gr.flatten(2, 3)  # (m, KV, k r T, d)
        # Softmax: dS = P (dP - sum P dP).
        dp = g @ s.v.transpose(-1, -2)
        ds = dp.sub_(torch.linalg.vecdot(p, dp)[..., None]).mul_(p)
        dp = s.joined(together @ s.v.transpose(-1, -2), gr @ s.vr.transpose(-1, -2), torch.empty_like(both))
        ds1, ds2 = s.split(dp.sub_(torch.linalg.vecdot(both, dp)[..., None]).mul_(both))
        flat = s.qr.flatten(2, 3)
        to_q = ds @ s.k
        to_k = ds.transpose(-1, -2) @ s.q + ds1.transpose(-1, -2) @ flat
        to_v = p.transpose(-1, -2) @ g + p1.transpose(-1, -2) @ together
        to_qr = (ds1 @ s.k).view_as(s.qr) + ds2 @ s.kr
        to_kr, to_vr = ds2.transpose(-1, -2) @ s.qr, p2.transpose(-1, -2) @ gr
        shared = key.shape[0]
        return (
            s.gather(to_q, to_qr, query.shape[0]).mul_(s.scale).transpose(0, 1),
            s.gather(to_k, to_kr, shared).mul_(s.scale).transpose(0, 1),
            s.gather(to_v, to_vr, shared).transpose(0, 1),
            None,
            None,
        )


@dataclass(frozen=True)
class _Parts:
    """A stream's queries, keys and values, taken apart; r query heads share a key head, padding is zero.

    Prompts: q (m, KV, r P, d), k and v (m, KV, P, d). Responses: qr (m, KV, k, r T, d), kr and vr (m, KV, k, T, d).
    """

    q: Tensor
    k: Tensor
    v: Tensor
    qr: Tensor
    kr: Tensor
    vr: Tensor
    stream: Stream
    scale: float
    dtype: torch.dtype

    @classmethod
    def of(cls, query: Tensor, key: Tensor, value: Tensor, stream: Stream, scale: float) -> "_Parts":
        q, k, v = (_apart(x.transpose(0, 1), stream, key.shape[0]) for x in (query, key, value))
        return cls(q[0], k[0], v[0], q[1], k[1], v[1], stream, scale, query.dtype)

    def probabilities(self) -> tuple[Tensor, Tensor]:
        """Of prompt tokens over their prompt; of response tokens over their prompt and then their own response."""
        length, width = self.stream.prompts.shape[1], self.stream.responses.shape[2]
        causal, seen = self.stream.masks
        alone = (self.q @ self.k.transpose(-1, -2)).float().view(*self.k.shape[:2], -1, length, length)
        torch.add(causal, alone, alpha=self.scale, out=alone)
        scores = torch.empty(*self.qr.shape[:-1], length + width)
        self.joined(self.qr.flatten(2, 3) @ self.k.transpose(-1, -2), self.qr @ self.kr.transpose(-1, -2), scores)
        apart = scores.view(len(scores), self.kr.shape[1], -1, width, length + width)
        torch.add(seen, apart, alpha=self.scale, out=apart)
        for each in (alone, scores):
            torch.softmax(each, -1, out=each)
        return alone.to(self.dtype).flatten(2, 3), scores.to(self.dtype)

    def joined(self, to_prompt: Tensor, to_own: Tensor, into: Tensor) -> Tensor:
        """What response tokens have to do with their prompt and with their own response, side by side."""
        length = self.stream.prompts.shape[1]
        into[..., :length], into[..., length:] = to_prompt.view(*into.shape[:-1], length), to_own
        return into

    def split(self, both: Tensor) -> tuple[Tensor, Tensor]:
        """The reverse: (m, KV, k r T, P) and (m, KV, k, r T, T)."""
        length = self.stream.prompts.shape[1]
        return both[..., :length].flatten(2, 3), both[..., length:]

    def gather(self, prompts: Tensor, responses: Tensor, heads: int) -> Tensor:
        """Tensors laid out as `q` and `qr` (or `k` and `kr`) as a stream again: (N, heads, d)."""
        m, most, width = self.stream.responses.shape
        length, shared, d = self.stream.prompts.shape[1], self.k.shape[1], self.k.shape[-1]
        first = prompts.view(m, shared, -1, length, d).permute(0, 3, 1, 2, 4).reshape(m * length, heads, d)
        rest = responses.view(m, shared, most, -1, width, d).permute(0, 2, 4, 1, 3, 5).reshape(-1, heads, d)
        nothing = first.new_zeros(1, heads, d)  # where the filling of the stream lies
        return torch.cat([first, rest, nothing]).index_select(0, self.stream.home)


def _apart(x: Tensor, stream: Stream, shared: int) -> tuple[Tensor, Tensor]:
    """A stream (N, heads, d) as prompts (m, shared, r P, d) and responses (m, shared, k, r T, d)."""
    m, most, width = stream.responses.shape
    length, d = stream.prompts.shape[1], x.shape[-1]
    padded = torch.cat([x, x.new_zeros(1, *x.shape[1:])])
    first = padded.index_select(0, stream.prompts.flatten()).view(m, length, shared, -1, d)
    rest = padded.index_select(0, stream.responses.flatten()).view(m, most, width, shared, -1, d)
    return (
        first.permute(0, 2, 3, 1, 4).reshape(m, shared, -1, d),
        rest.permute(0, 3, 1, 4, 2, 5).reshape(m, shared, most, -1, d),
    )


AttentionInterface.register(NAME, packed_attention)
