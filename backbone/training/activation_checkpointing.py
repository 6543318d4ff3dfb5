"""Activation checkpointing: less memory for more time, since activations are recomputed in the backward pass.

transformers does this in training mode only, which would also switch dropout on. Here only the layers themselves are
put into that mode, and nothing inside them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer


@contextmanager
def checkpointed(model: PreTrainedModel, on: bool = True) -> Iterator[None]:
    """Keep only each layer's input for the backward pass (Chen et al. 2016); with `on` false, do nothing."""
    if not on:
        yield
        return
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    model.activation_checkpointing_enable({"use_reentrant": False})
    try:
        for layer in layers:
            layer.training = True
        yield
    finally:
        for layer in layers:
            layer.training = False
        model.activation_checkpointing_disable()  # type: ignore[no-untyped-call]
