"""Training adapters on a base that stays in evaluation mode, whatever mode a trainer of another library asks for.

Dropout regularises weights that are trained; a frozen base has none. In a policy it would also make the
log-probabilities of training differ from those of sampling. TRL's `disable_dropout` covers modules of `nn.Dropout`
only, and many layers call `functional.dropout` by themselves.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PreTrainedModel


@contextmanager
def evaluation_mode(base: PreTrainedModel) -> Iterator[None]:
    """Keep the base, and all modules in it, in evaluation mode; what wraps it may be in training mode."""
    base.train(False)
    vars(base)["train"] = lambda mode=True: base
    try:
        yield
    finally:
        del vars(base)["train"]
