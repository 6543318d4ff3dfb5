"""A policy's export without a run: a random adapter that is far from zero."""

from pathlib import Path

from policy.export import export_adapter
from tests.shared_base import add_random_adapter, load


def export(model: Path, folder: Path, *, seed: int = 1, card: str = "") -> Path:
    """Write the folder that `rlhf export` writes, of a random adapter for `model`."""
    base = load(model)
    add_random_adapter(base, "policy", seed=seed, trainable=True)
    trained = folder.with_name(f"{folder.name}-trained")
    base.save_adapter("policy", trained)
    folder.mkdir()
    export_adapter(trained, base.tokenizer, folder, card)
    return folder
