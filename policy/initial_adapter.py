"""The adapter that training begins with, whichever trainer runs."""

from pathlib import Path

import torch

from backbone.adapters import SharedBase, lora_config
from policy.config import PolicyConfig


def add_initial_adapter(base: SharedBase, name: str, config: PolicyConfig, seed: int, initial: Path | None) -> None:
    """Put a trainable adapter on the base: `initial` with its own rank and layers, or a new one drawn with `seed`."""
    if initial is not None:
        base.load_adapter(name, initial, trainable=True)
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        lora = lora_config(config.lora_rank, config.lora_alpha, config.lora_targets)
        base.add_adapter(name, lora, trainable=True, share=config.lora_layers)
