"""The reward model that training begins with, if not with a new adapter and a head of zeros."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel

from backbone.adapter_folder import other_base, put_weights, read_adapter, take_head
from backbone.adapters import SharedBase
from foundation.errors import UserError
from reward_model.labels.label_model import LabelModel
from reward_model.reward_folder import check_reward_folder
from reward_model.score_head import load_aspect_heads

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InitialReward:
    """A reward folder that was read, trained here or elsewhere: its LoRA's settings and weights, its score head."""

    folder: Path
    made_for: str | None
    lora: LoraConfig
    weights: dict[str, torch.Tensor]
    head: torch.Tensor
    """(1, hidden)"""

    @classmethod
    def read(cls, folder: Path) -> InitialReward:
        """Read `folder`; `UserError` if it is no reward adapter with one trained head that can be computed exactly."""
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}. Name the folder of a reward adapter.")
        if (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file():
            raise UserError(
                f"{folder} is a whole model, and training begins with an adapter on the run's own base. "
                'Let such a model give the reward as it is (docs/rewards.md, "model"), or name a reward adapter.'
            )
        check_reward_folder(folder)
        lora, weights = read_adapter(folder)
        head = take_head(weights)
        assert head is not None
        return cls(folder, lora.base_model_name_or_path, lora, weights, head)

    def put_on(self, model: PeftModel, base: SharedBase) -> None:
        """Give adapter and head of `model` these weights; `UserError` if they do not fit its base."""
        if self.head.shape[-1] != base.hidden_size:
            raise UserError(
                f"the score head in {self.folder} is {self.head.shape[-1]} wide, and {base.name} is "
                f"{base.hidden_size}. It was made for {self.made_for or 'another base'}; name a reward adapter of "
                f"{base.name}."
            )
        put_weights(model, "default", self.weights, self.folder, base.name, self.made_for)
        for difference in other_base(self.folder, self.made_for, base.name, base.quantization):
            _log.warning(difference)
        cast(Any, model.base_model.model).score.modules_to_save["default"].weight.data.copy_(self.head)

    def put_aspects(self, labels: LabelModel, hidden: int) -> None:
        """Begin the heads of rated aspects that the folder has at its own; the others stay at zero."""
        if labels.aspects is None:
            return
        known = load_aspect_heads(self.folder, hidden)
        for place, aspect in enumerate(labels.encoding.aspects[1:]):
            if aspect in known:
                labels.aspects.weight.data[place].copy_(known[aspect])
