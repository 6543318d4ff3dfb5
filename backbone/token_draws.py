"""Draw the next token: temperature, top-k, top-p, and one uniform number per token from a named random stream.

A token is drawn by inverting the cumulative distribution, which is exact and far cheaper than `torch.multinomial`.
"""

import hashlib
import math
from collections.abc import Sequence

import torch

from foundation.errors import UserError

_NUCLEUS = 256  # tokens that top-p looks at before it sorts the whole vocabulary
_BLOCK = 256  # tokens summed at once while the cumulative distribution is inverted


def uniforms(seed: int, row: int, count: int) -> torch.Tensor:
    """The first `count` numbers in [0, 1) of the stream named by `(seed, row)`: (count,), float64."""
    name = hashlib.sha256(f"{seed}/{row}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(name[:8], "little", signed=True))
    return torch.rand(count, generator=generator, dtype=torch.float64)


def draw(
    logits: torch.Tensor, uniform: torch.Tensor, temperature: float, top_p: float = 1.0, top_k: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw one token per row by inverting the cumulative distribution.

    logits: (batch, vocabulary) fp32; uniform: (batch,) in [0, 1). Returns tokens (batch,) int64 and their
    log-probabilities (batch,) under the distribution that was drawn from: of the `top_k` likeliest tokens, the smallest
    set whose share of their mass reaches `top_p`. If a row's logits are not finite, neither is its log-probability
    (`check_drawn`).
    """
    if temperature == 0:
        tokens = logits.argmax(-1)
        return tokens, torch.log_softmax(logits, -1).gather(-1, tokens[:, None]).squeeze(-1)
    logits = logits / temperature if temperature != 1 else logits
    if top_p < 1 or (top_k is not None and top_k < logits.shape[-1]):
        return _draw_truncated(logits, uniform, top_p, top_k)
    masses = torch.softmax(logits, -1)  # on a CPU far faster than `torch.exp`
    tokens, total = _invert(masses, uniform)
    return tokens, masses.gather(-1, tokens[:, None]).squeeze(-1).log() - total.log()


def check_drawn(logprobs: Sequence[float]) -> None:
    """`UserError` if a log-probability that `draw` returned is not finite.

    On the numbers, which the caller has fetched from the device already: to ask there would wait once more per token.
    """
    if not all(map(math.isfinite, logprobs)):
        raise UserError(
            "the model's logits are not finite: its weights are damaged, or its training diverged. Use other "
            "weights, or train with a lower learning rate."
        )


def _invert(masses: torch.Tensor, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The first entry at which the running sum of a row exceeds the share `uniform` of its total; and the total.

    First the block, by the sums of blocks, then the entry within it. Any entry, if the total is not finite.
    """
    batch, size = masses.shape
    if size % _BLOCK:
        masses = torch.nn.functional.pad(masses, (0, -size % _BLOCK))
    blocks = masses.view(batch, -1, _BLOCK)
    sums = blocks.sum(-1)
    total = sums.sum(-1)
    block, rest = _first_beyond(sums, uniform.to(masses.dtype) * total)
    within = blocks.gather(1, block[:, None, None].expand(-1, 1, _BLOCK)).squeeze(1)
    return (block * _BLOCK + _first_beyond(within, rest)[0]).clamp(max=size - 1), total


def _first_beyond(masses: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The entry of each row at which its running sum exceeds `target`, and the rest of the target before that entry."""
    cumulative = masses.cumsum(-1)
    index = torch.searchsorted(cumulative, target[:, None], right=True).squeeze(-1)
    # Rounding may push the target past the end; then take the last entry with any probability.
    last = masses.shape[-1] - 1 - (masses > 0).to(torch.int8).flip(-1).argmax(-1)
    index = index.minimum(last)
    before = cumulative.gather(-1, index[:, None]) - masses.gather(-1, index[:, None])
    return index, (target - before.squeeze(-1)).clamp(min=0)


def _log_mass(logits: torch.Tensor) -> torch.Tensor:
    """The log of the sum of exp of each row, (batch, 1): `torch.logsumexp` is an order of magnitude slower on a CPU."""
    highest = logits.amax(-1, keepdim=True)
    return highest + torch.exp(logits - highest).sum(-1, keepdim=True).log()


def _draw_truncated(
    logits: torch.Tensor, uniform: torch.Tensor, top_p: float, top_k: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `draw` among the likeliest tokens; sorts the whole vocabulary only if it must."""
    vocabulary = logits.shape[-1]
    size = min(top_k or _NUCLEUS, vocabulary)
    top, ids = logits.topk(size, dim=-1)
    # With top_k, shares are of the mass of the k tokens, else of all.
    whole = _log_mass(top if top_k else logits)
    if not top_k and size < vocabulary and bool(((top - whole).exp().sum(-1) < top_p).any()):
        top, ids = logits.sort(dim=-1, descending=True)
    masses = (top - whole).exp()
    before = masses.cumsum(-1) - masses
    kept = masses.masked_fill(before >= top_p, 0.0)
    choice, total = _invert(kept, uniform)
    chosen = (top - whole).gather(-1, choice[:, None]).squeeze(-1)
    return ids.gather(-1, choice[:, None]).squeeze(-1), chosen - total.log()
