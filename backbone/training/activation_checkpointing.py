"""Activation checkpointing: less memory for more time, since activations are recomputed in the backward pass.

transformers does this in training mode only, which switches dropout on as well: in modules of `nn.Dropout`, and in
layers that read `self.training` themselves. Here the layers stay in evaluation mode, and are called through
`torch.utils.checkpoint` from outside.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from foundation.errors import UserError


@contextmanager
def checkpointed(model: PreTrainedModel, on: bool = True) -> Iterator[None]:
    """Keep only each layer's input for the backward pass (Chen et al. 2016); with `on` false, do nothing.

    The backward pass, too, belongs inside. `UserError` as from `layers_to_recompute`.
    """
    layers = layers_to_recompute(model) if on else []
    own = [vars(layer).get("forward") for layer in layers]
    try:
        for layer in layers:
            layer.forward = partial(_recomputed, layer.forward)
            layer.gradient_checkpointing = True  # for `is_activation_checkpointing`; else without effect
        yield
    finally:
        for layer, forward in zip(layers, own, strict=True):
            del layer.forward
            if forward is not None:
                layer.forward = forward
            layer.gradient_checkpointing = False
        if on:
            model.activation_checkpointing_disable()  # type: ignore[no-untyped-call] # TRL switches it on after sampling


def layers_to_recompute(model: PreTrainedModel) -> list[GradientCheckpointingLayer]:
    """The layers of the model, each a unit of recomputation; `UserError` if transformers marks none of them as such."""
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise UserError(
            f"gradient_checkpointing: the layers of {type(model).__name__} cannot be recomputed. Leave the setting "
            "out; a smaller micro_batch saves memory as well."
        )
    return layers


def _recomputed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    # Nothing in evaluation mode draws random numbers, so their state need not be kept.
    return checkpoint(partial(forward, **kwargs), *args, use_reentrant=False, preserve_rng_state=False)
