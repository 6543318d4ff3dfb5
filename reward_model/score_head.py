"""The score head: put on a base, read off after training, saved beside the adapter, and the heads of rated aspects.

The overall head is saved by PEFT among the adapter's weights and loaded with them (`backbone/adapters.py`).
"""

from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel, TaskType
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from backbone.adapter_folder import write_weights
from backbone.adapters import SharedBase
from backbone.loading.base_identity import published_name, revision_of
from backbone.loading.quantization import quantization_of
from backbone.loading.saved_weights import WEIGHTS
from foundation.errors import UserError
from reward_model.labels.records import OVERALL

ASPECTS = "aspects.safetensors"


def add_score_head(base: SharedBase) -> None:
    """Put a new score head on the base, `score`. It is zero: every score begins at zero."""
    head = torch.nn.Linear(base.hidden_size, 1, bias=False)
    torch.nn.init.zeros_(head.weight)
    cast(Any, base.base).score = head.to(base.device)
    base.base.config.num_labels = 1


def head_weight(model: PeftModel) -> torch.Tensor:
    """The trained head's weights, (hidden,), float32 on the CPU."""
    score = cast(Any, model.base_model.model).score.modules_to_save["default"]
    return cast(torch.Tensor, score.weight.detach().float().cpu().squeeze(0).clone())


def save_adapter_and_heads(
    model: PeftModel, folder: Path, heads: dict[str, torch.Tensor], task: TaskType, base: str
) -> None:
    """Adapter and overall head as PEFT has them; the heads of aspects, if there are any, in a file beside them.

    `task` says which of transformers' classes the folder is for. PEFT's own loaders refuse another. `base` is what the
    adapter was trained on.
    """
    config: Any = model.peft_config["default"]
    config.task_type, config.modules_to_save = task, ["score"]  # PEFT has added the heads of every classifier
    config.base_model_name_or_path, config.revision = published_name(base), revision_of(base)
    cast(Any, model.base_model.model).score.modules_to_save["default"].weight.data.copy_(heads[OVERALL])
    model.save_pretrained(str(folder), save_embedding_layers=False)
    write_weights(folder, load_file(folder / WEIGHTS), quantization_of(model), base)
    aspects = {name: head.contiguous() for name, head in heads.items() if name != OVERALL}
    if aspects:
        save_file(aspects, folder / ASPECTS)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's card is an empty form


def load_aspect_heads(folder: Path, hidden: int) -> dict[str, torch.Tensor]:
    """The heads of rated aspects, each (hidden,); none if none was rated apart from the whole."""
    if not (folder / ASPECTS).is_file():
        return {}
    try:
        heads = load_file(folder / ASPECTS)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{folder / ASPECTS} is damaged ({error}). Train the reward model again.") from error
    if wrong := next((name for name, head in heads.items() if head.shape != (hidden,)), None):
        raise UserError(f'"{wrong}" in {folder / ASPECTS} is of another size. Train the reward model again.')
    return heads
