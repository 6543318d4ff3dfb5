"""Attention within a `Stream`: of prompts to themselves, of responses to their prompt and themselves."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface

from backbone.cpu.shared_prompts import Stream

SHARED_PROMPT_ATTENTION = "rlhf_packed"


def shared_prompt_attention(
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
    """Attention within a `Stream`, as transformers calls it: query (1, heads, N, d) to (1, N, heads, d)."""
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
        parts = _Parts.of(query, key, value, stream, scale)
        ctx.save_for_backward(parts.q, parts.k, parts.v, parts.qr, parts.kr, parts.vr)
        ctx.stream, ctx.scale, ctx.heads = stream, scale, (query.shape[0], key.shape[0])
        p, both = parts.probabilities()
        p1, p2 = parts.split(both)
        prompts = p @ parts.v
        responses = (p1 @ parts.v).view_as(parts.qr) + p2 @ parts.vr
        return parts.gather(prompts, responses, query.shape[0])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        heads, shared = ctx.heads
        q, k, v, qr, kr, vr = ctx.saved_tensors
        s = _Parts(q, k, v, qr, kr, vr, ctx.stream, ctx.scale)
        p, both = s.probabilities()
        p1, p2 = s.split(both)
        nothing = gradient.new_zeros(1, *gradient.shape[1:])  # no gradient comes from where there is no token
        g, gr = _apart(torch.cat([gradient, nothing]), ctx.stream, shared)
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
        return (
            s.gather(to_q, to_qr, heads).mul_(s.scale).transpose(0, 1),
            s.gather(to_k, to_kr, shared).mul_(s.scale).transpose(0, 1),
            s.gather(to_v, to_vr, shared).transpose(0, 1),
            None,
            None,
        )


@dataclass(frozen=True)
class _Parts:
    """A stream's queries, keys and values, taken apart; r query heads share a key head; padding has no effect.

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

    @classmethod
    def of(cls, query: Tensor, key: Tensor, value: Tensor, stream: Stream, scale: float) -> "_Parts":
        q, k, v = (_apart(x.transpose(0, 1), stream, key.shape[0]) for x in (query, key, value))
        return cls(q[0], k[0], v[0], q[1], k[1], v[1], stream, scale)

    def probabilities(self) -> tuple[Tensor, Tensor]:
        """Of prompt tokens over their prompt; of response tokens over their prompt and then their own response."""
        length, width = self.stream.prompts.shape[1], self.stream.responses.shape[2]
        # No need to widen where half precision holds the scaled scores exactly: a softmax adds up in fp32 by itself.
        wide = self.q.dtype if math.frexp(self.scale)[0] == 0.5 else torch.float32
        causal, seen = (mask.to(wide) for mask in self.stream.masks)
        alone = (self.q @ self.k.transpose(-1, -2)).to(wide).view(*self.k.shape[:2], -1, length, length)
        torch.add(causal, alone, alpha=self.scale, out=alone)
        scores = self.qr.new_empty(*self.qr.shape[:-1], length + width, dtype=wide)
        self.joined(self.qr.flatten(2, 3) @ self.k.transpose(-1, -2), self.qr @ self.kr.transpose(-1, -2), scores)
        apart = scores.view(len(scores), self.kr.shape[1], -1, width, length + width)
        torch.add(seen, apart, alpha=self.scale, out=apart)
        for each in (alone, scores):
            torch.softmax(each, -1, out=each)
        return alone.to(self.q.dtype).flatten(2, 3), scores.to(self.q.dtype)

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
        flat = prompts.new_empty(m * (length + most * width) + 1, heads, d)
        first, rest = flat[: m * length], flat[m * length : -1]
        first.view(m, length, shared, -1, d).copy_(prompts.view(m, shared, -1, length, d).permute(0, 3, 1, 2, 4))
        apart = responses.view(m, shared, most, -1, width, d).permute(0, 2, 4, 1, 3, 5)
        rest.view(m, most, width, shared, -1, d).copy_(apart)
        flat[-1] = 0  # where the filling of the stream lies
        return flat.index_select(0, self.stream.home)


def _apart(x: Tensor, stream: Stream, shared: int) -> tuple[Tensor, Tensor]:
    """A stream (N, heads, d) as prompts (m, shared, r P, d) and responses (m, shared, k, r T, d).

    Where there is no token stands what comes last in `x`.
    """
    m, most, width = stream.responses.shape
    length, d, last = stream.prompts.shape[1], x.shape[-1], len(x) - 1
    first = x.index_select(0, stream.prompts.flatten().clamp(max=last)).view(m, length, shared, -1, d)
    rest = x.index_select(0, stream.responses.flatten().clamp(max=last)).view(m, most, width, shared, -1, d)
    return (
        first.permute(0, 2, 3, 1, 4).reshape(m, shared, -1, d),
        rest.permute(0, 3, 1, 4, 2, 5).reshape(m, shared, most, -1, d),
    )


AttentionInterface.register(SHARED_PROMPT_ATTENTION, shared_prompt_attention)
