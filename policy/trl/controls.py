"""What holds a policy that TRL trains in its bounds: as `native/controls.py`, by setting the trainer's own beta.

The first step's mean length stands for the base's: a base that is sharded, or sampled by vLLM, is not sampled here.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object

from foundation.files import read_json, write_json
from policy.algorithms.kl import AdaptiveKL
from policy.algorithms.length import LengthBand
from policy.config import PolicyConfig
from policy.metrics import score_spread

_FILE = "controls.json"
_STILL = 1e-9
Row = dict[str, Any]


class Controls:
    """The KL coefficient and the price of a token; `trainer` is the one whose beta is set."""

    def __init__(self, config: PolicyConfig) -> None:
        self._config = config
        self._kl: AdaptiveKL | None = None
        self._length: LengthBand | None = None
        self.trainer: Any = None

    @property
    def price(self) -> float:
        """What a token costs in this step."""
        return self._length.price if self._length else 0.0

    def begin(self, rewards: torch.Tensor, lengths: torch.Tensor) -> None:
        """Begin what has not begun, on the scale of this step's rewards (n,), which this process's share are of."""
        config = self._config
        wanted = config.kl_target is not None and config.kl_coefficient > 0
        if (self._kl or not wanted) and (self._length or config.length_control == "none"):
            return
        rewards, lengths = torch.tensor(gather_object(rewards.tolist())), torch.tensor(gather_object(lengths.tolist()))
        spread = score_spread(rewards.tolist(), config.group)
        if spread < _STILL:
            return
        if self._length is None and config.length_control == "band":
            varied = score_spread(lengths.tolist(), config.group)
            self._length = LengthBand(float(lengths.mean()), spread / max(varied, 1.0))
        if self._kl is None and config.kl_target is not None and config.kl_coefficient:
            scaled = config.algorithm == "grpo"  # which divides the rewards of a group by their spread
            self._kl = AdaptiveKL(config.kl_target, 1.0 if scaled else spread)
            self.trainer.beta = self._kl.coefficient

    def follow(self, row: Row) -> Row:
        """Let the controls follow a step; returns its row with what they were."""
        n, found = self._config.prompts_per_step * self._config.group, dict(row)
        if self._length:
            found |= {"length_ratio": row["length"] / self._length.base, "length_price": self.price}
            self._length = self._length.after(row["length"], n)
        if self._kl and "kl" in row:
            found["kl_coefficient"] = float(self.trainer.beta)
            self._kl = self._kl.after(row["kl"], n)
            self.trainer.beta = self._kl.coefficient
        return found

    def save(self, folder: Path) -> None:
        """Write what the next step depends on into a checkpoint."""
        parts = {"kl": self._kl and asdict(self._kl), "length": self._length and asdict(self._length)}
        write_json(folder / _FILE, parts)

    def restore(self, folder: Path) -> None:
        """Go on from a checkpoint."""
        saved = read_json(folder / _FILE)
        self._kl = AdaptiveKL(**saved["kl"]) if saved["kl"] else None
        self._length = LengthBand(**saved["length"]) if saved["length"] else None
        if self._kl:
            self.trainer.beta = self._kl.coefficient
