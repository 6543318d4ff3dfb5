"""What an adapter's saved weights say by themselves, read without torch: a report should not wait for it."""

import re
from pathlib import Path

from safetensors import deserialize

WEIGHTS = "adapter_model.safetensors"


def changes_nothing(folder: Path) -> bool:
    """Whether this adapter computes exactly what its base does: in every layer A or B is zero, and nothing else is set.

    DoRA's magnitudes cannot be told from the base's without it, so they count as a change; a score head does not.
    """
    zero = {key: _zero(data) for key, data in _weights(folder).items() if not is_head(key)}
    return all(nothing or zero.get(_partner(key), False) for key, nothing in zero.items())


def same_weights(one: Path, other: Path) -> bool:
    """Whether two adapter folders hold the same numbers under the same names."""
    return _weights(one) == _weights(other)


def is_head(key: str) -> bool:
    """Whether a weight of this name is a reward model's score head."""
    return key in ("base_model.model.score.weight", "base_model.model.score.modules_to_save.weight")


def _weights(folder: Path) -> dict[str, bytes]:
    return {key: bytes(found["data"]) for key, found in deserialize((folder / WEIGHTS).read_bytes())}  # type: ignore[no-untyped-call]


def _zero(data: bytes) -> bool:
    """Whether all numbers are 0.0 or -0.0, whose last byte is 128; no number of use consists of other such bytes."""
    return not data.translate(None, delete=b"\x00\x80")


def _partner(key: str) -> str:
    """The weight that this one is multiplied by."""
    pattern = r"(?<=\.lora_)((?:embedding_)?)([AB])(?=(\.weight)?$)"
    return re.sub(pattern, lambda match: match[1] + {"A": "B", "B": "A"}[match[2]], key)
