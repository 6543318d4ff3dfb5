"""How much is computed at once on a GPU: simple shares of what its memory has left beside the weights of the base.

Half of it holds the keys and values of responses that are sampled together, an eighth the activations of one layer
while the reward model scores, and a sixteenth three copies of a chunk of logits. The rest is for adapters, their
optimizer and the activations of a micro-batch, which the settings of the stages decide. On a CPU nothing is chosen: the
defaults of `Sizes` were measured there.
"""

from collections.abc import Hashable
from typing import Any, NamedTuple, cast

from transformers import PreTrainedModel

from foundation.sizes import MIB, Sizes, settle

_GIB = 1 << 30
_FLOAT32 = 4
_HIDDEN, _INTERMEDIATE = 8, 4  # states and MLP activations that one layer keeps for the backward pass, per token
LOGIT_COPIES = 3  # of a chunk: logits, probabilities, gradient
MOST_ROWS, MOST_SCORE_TOKENS, MOST_LOGIT_BYTES = 512, 1 << 16, 512 * MIB  # beyond these, a GPU gains nothing


class Shape(NamedTuple):
    """On what a causal model's memory depends; `itemsize` is in bytes, `cached` in numbers per token and layer."""

    vocabulary: int
    hidden: int
    layers: int
    cached: int
    inner: int
    itemsize: int

    @classmethod
    def of(cls, model: PreTrainedModel) -> "Shape":
        """Of a model, or of its outline."""
        text = model.config.get_text_config()
        vocabulary, hidden = (int(one) for one in cast(Any, model.get_input_embeddings()).weight.shape)
        heads = int(getattr(text, "num_attention_heads", 0) or 1)
        head_size = int(getattr(text, "head_dim", 0) or hidden // heads)
        cached = 2 * int(getattr(text, "num_key_value_heads", 0) or heads) * head_size
        inner = int(getattr(text, "intermediate_size", 0) or 4 * hidden)
        layers = int(getattr(text, "num_hidden_layers", 0) or 1)
        return cls(vocabulary, hidden, layers, cached, inner, model.dtype.itemsize)

    @property
    def cache_bytes(self) -> int:
        """Keys and values of one token, in all layers."""
        return self.layers * self.cached * self.itemsize

    @property
    def layer_bytes(self) -> int:
        """Activations of one token in one layer."""
        return (_HIDDEN * self.hidden + _INTERMEDIATE * self.inner) * self.itemsize


def settled_sizes(model: PreTrainedModel, name: Hashable, memory: tuple[int, int] | None) -> Sizes:
    """What a loaded `model` is computed with; `memory` is what its GPU had before, as `gpu_memory` gives it."""

    def measure() -> Sizes:
        weights = sum(weight.numel() * weight.element_size() for weight in model.parameters())
        return sizes_for(Shape.of(model), memory and memory[0] - weights)

    return settle(name, measure)


def sizes_for(shape: Shape, left: int | None) -> Sizes:
    """The sizes for `left` bytes of a GPU's memory beside the weights; for None, those of a CPU.

    Whole GiB count, so that a little more or less leaves the sizes as they are.
    """
    if left is None:
        return Sizes()
    left = max(0, left) // _GIB * _GIB
    least = Sizes()
    return Sizes(
        sample_rows=max(1, min(MOST_ROWS, left // 16 // (_FLOAT32 * shape.vocabulary))),
        sample_tokens=left // 2 // shape.cache_bytes,
        score_tokens=max(least.score_tokens, min(MOST_SCORE_TOKENS, left // 8 // shape.layer_bytes)),
        logit_bytes=max(least.logit_bytes, min(MOST_LOGIT_BYTES, left // 16 // LOGIT_COPIES // MIB * MIB)),
    )
