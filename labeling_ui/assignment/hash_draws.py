"""Random draws as hashes of ids: the same after a restart, and nobody can steer them."""

import hashlib


def draw(*parts: str) -> int:
    """A uniform 64-bit integer that follows from `parts`."""
    return int.from_bytes(hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest(), "big")


def draw_share(*parts: str) -> float:
    """A uniform number in [0, 1) that follows from `parts`."""
    return draw(*parts) / 2**64
