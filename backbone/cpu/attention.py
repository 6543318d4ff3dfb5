"""Let a model compute attention by a function of ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def use_attention(config: Any, name: str | None) -> Iterator[None]:
    """Compute attention by the registered function of this name, or by the model's own for None.

    `set_attn_implementation` does the same but walks through all modules, which is too slow for every token.
    """
    before = config._attn_implementation
    try:
        config._attn_implementation = name or before
        yield
    finally:
        config._attn_implementation = before
