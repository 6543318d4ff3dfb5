"""How much is computed at once: settled when a base is loaded, and kept by a stage that is resumed.

On a CPU these are fixed, as they were measured best there; on a GPU they follow its free memory
(`backbone/loading/sizes.py`). What the user has set wins. Results depend on them in the last bits at most, and what is
sampled does not: every response has its own random stream.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from foundation.settings import Settings

MIB = 1 << 20


class Sizes(BaseModel):
    """What is computed at once; the defaults are those of a CPU.

    sample_rows: responses that are decoded together; sample_tokens: most tokens of theirs, prompts included, if there
    is a limit; score_tokens: tokens that the reward model reads at once; logit_bytes: fp32 logits of a training step
    that exist at once.
    """

    model_config = ConfigDict(frozen=True)

    sample_rows: int = 64
    sample_tokens: int | None = None
    score_tokens: int = 2048
    logit_bytes: int = 24 * MIB

    def rows(self, length: int) -> int:
        """How many responses are decoded together if each takes up to `length` tokens with its prompt."""
        if self.sample_tokens is None:
            return self.sample_rows
        return max(1, min(self.sample_rows, self.sample_tokens // max(1, length)))

    def __str__(self) -> str:
        limit = "" if self.sample_tokens is None else f" of {self.sample_tokens:,} tokens together"
        return (
            f"up to {self.sample_rows} responses{limit} sampled, {self.score_tokens:,} tokens scored, and "
            f"{self.logit_bytes // MIB} MiB of logits at a time"
        )


class SizesConfig(Settings):
    """How much is computed at once (docs/scaling.md); null follows the device."""

    sample_rows: int | None = Field(None, ge=1, description="responses that are sampled together; on a CPU 64")
    score_tokens: int | None = Field(
        None, ge=1, description="tokens that the reward model reads at once; on a CPU 2048"
    )
    logit_mib: int | None = Field(None, ge=1, description="MiB of logits at once in a training step; on a CPU 24")

    def over(self, sizes: Sizes) -> Sizes:
        """`sizes` with what is set here in place of theirs; rows that were asked for have no limit of tokens."""
        update: dict[str, int | None] = {}
        if self.sample_rows:
            update |= {"sample_rows": self.sample_rows, "sample_tokens": None}
        if self.score_tokens:
            update |= {"score_tokens": self.score_tokens}
        if self.logit_mib:
            update |= {"logit_bytes": self.logit_mib * MIB}
        return sizes.model_copy(update=update)


@dataclass
class _Stage:
    """`kept` are the sizes that an interrupted attempt had; `tell` is given what is settled, and what else would be."""

    kept: Sizes | None
    tell: Callable[[Sizes, Sizes], None]
    settled: Sizes | None = None


_asked = SizesConfig()
_found: dict[Hashable, Sizes] = {}
_stage: ContextVar[_Stage | None] = ContextVar("stage", default=None)


@contextmanager
def asking(config: SizesConfig) -> Iterator[None]:
    """What the user has set, for all that is loaded inside."""
    global _asked
    before, _asked = _asked, config
    try:
        yield
    finally:
        _asked = before


@contextmanager
def kept(sizes: Sizes | None, tell: Callable[[Sizes, Sizes], None]) -> Iterator[None]:
    """One stage: it has the same sizes throughout, those that it began with if it was interrupted.

    `tell` is called with them, and with those that would be settled anew, when the first base is loaded.
    """
    token = _stage.set(_Stage(sizes, tell))
    try:
        yield
    finally:
        _stage.reset(token)


def settle(model: Hashable, measure: Callable[[], Sizes]) -> Sizes:
    """The sizes to compute `model` with; the device is measured once a command for each model."""
    if model not in _found:
        _found[model] = measure()
    here, stage = _asked.over(_found[model]), _stage.get()
    if stage is None:
        return here
    if stage.settled is None:
        stage.settled = _asked.over(stage.kept or here)
        stage.tell(stage.settled, here)
    return stage.settled
