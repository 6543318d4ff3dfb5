"""An adapter added to the weights of its base: in memory while sampling, or written as a model that needs no PEFT.

What would not be the adapter's own function is not merged: in memory, only layers whose sum is exact are; on disk, the
merged model is compared with the adapter before it is written.
"""

import logging
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerBase

from backbone.adapter_folder import put_weights, read_adapter, take_head
from backbone.cpu.lora_layer import is_plain
from backbone.loading.base_identity import check_base
from backbone.loading.quantization import quantization_of
from foundation.errors import UserError
from foundation.files import publish_folder

_IDS = 16  # tokens on which a merged model is compared
_log = logging.getLogger(__name__)


def layers_of(model: nn.Module, name: str) -> list[Any]:
    """The layers of `model` that carry this adapter."""
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    return [layer for layer in layers if name in layer.lora_A or name in layer.lora_embedding_A]


@torch.no_grad()
def can_merge(model: PeftModel, name: str) -> bool:
    """Whether adding this adapter to the weights computes exactly what it does: tried on a few tokens.

    Not so for variants of LoRA, embeddings, stacked experts, quantised layers, weights that two layers share (tied
    embeddings), and layers that the model goes past: their weights are read, and the adapter is left out.
    """
    layers = layers_of(model, name)
    shared = Counter(id(weight) for _, weight in model.named_parameters(remove_duplicate=False))
    if not all(is_plain(layer, name) and shared[id(_weight(layer))] == 1 for layer in layers):
        return False
    asked: set[int] = set()
    hooks = [layer.register_forward_pre_hook(lambda module, _: asked.add(id(module))) for layer in layers]
    try:
        model.get_base_model()(torch.arange(_IDS, device=_weight(layers[0]).device)[None], use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return len(asked) == len(layers)


@contextmanager
def merged_layers(model: PeftModel, name: str) -> Iterator[None]:
    """Add this adapter to the weights of its layers, which compute without it meanwhile; they come back bit for bit."""
    layers = layers_of(model, name)
    kept = [_weight(layer).data for layer in layers]  # set aside, not copied: the sums are new tensors
    try:
        for layer in layers:
            weight = _weight(layer)
            weight.data = (weight.float() + layer.get_delta_weight(name).float()).to(weight.dtype)
        yield
    finally:
        for layer, original in zip(layers, kept, strict=True):
            _weight(layer).data = original


def check_new(folder: Path) -> None:
    """Refuse a folder that exists."""
    if folder.exists():
        raise UserError(f"{folder} exists already. Choose a new folder for the merged model, or remove this one.")


def write_merged(
    base: PreTrainedModel,
    name: str,
    adapter: Path,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    what: str = "adapter",
    dtype: str | None = None,
    beside: Sequence[str] = (),
    finish: Callable[[Path], None] = lambda folder: None,
) -> None:
    """Merge the adapter into `base`, a float32 copy of the model `name`, and write the sum to `folder`.

    It is written in `dtype`, by default the one in which `name` is saved. `what` is what messages call the adapter; its
    files that are named in `beside` are copied, and `finish` may add more before the folder gets its name.
    """
    if quantization_of(base):
        raise UserError(
            f"{name} is saved in quantised form, so the {what} cannot be added to its weights. Name the model that it "
            "was made from with --model."
        )
    merged = _merge(base, name, adapter, what)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        merged.to(dtype=getattr(torch, dtype or saved_dtype(name))).save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        for file in beside:
            if (adapter / file).is_file():
                shutil.copyfile(adapter / file, partial / file)
        finish(partial)
        publish_folder(partial, folder)
    except (OSError, SafetensorError) as error:  # safetensors tells of a full disk in its own way
        raise UserError(
            f"cannot write {folder}: {error}. Nothing was written; free some space or choose another folder."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def saved_dtype(name: str) -> str:
    """The dtype in which the model is saved, as in "bfloat16"."""
    return str(AutoConfig.from_pretrained(name).dtype or torch.float32).removeprefix("torch.")


@torch.no_grad()
def _merge(base: PreTrainedModel, name: str, adapter: Path, what: str) -> Any:
    config, weights = read_adapter(adapter)
    head, made_for = take_head(weights), config.base_model_name_or_path
    if difference := check_base(adapter, made_for, name):
        _log.warning(difference)
    with warnings.catch_warnings(action="ignore"):  # about tied embeddings, for instance, which `_untie` sees to
        try:
            if head is not None and hasattr(base, "score"):
                score = cast(nn.Linear, base.get_submodule("score")).weight
                score.copy_(head.reshape(score.shape))
            model: Any = PeftModel(base, config, autocast_adapter_dtype=False).eval()
            put_weights(model, "default", weights, adapter, name, made_for)
        except (RuntimeError, ValueError, TypeError, NotImplementedError, AttributeError) as error:
            reason = str(error).splitlines()[-1].strip()
            raise UserError(
                f"the {what} in {adapter} does not fit {name}: {reason}. Name its own base with --model."
            ) from error
        ids = torch.arange(_IDS, device=base.device)[None]
        expected = model(ids).logits
        with model.disable_adapter():
            effect = _distance(model(ids).logits, expected)
        _untie(model)
        try:
            merged = model.merge_and_unload()
            off = _distance(merged(ids).logits, expected)
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            reason = str(error).splitlines()[0].strip(" .")
            raise UserError(f"the {what} in {adapter} cannot be merged: {reason}. Use it as an adapter.") from error
    if not off <= 0.02 * effect + 1e-4 * expected.abs().median():
        raise UserError(
            f"the {what} in {adapter} cannot be merged: added to the weights of {name}, it is another model. Use it as "
            "an adapter."
        )
    return merged


def _untie(model: PeftModel) -> None:
    """Give the head weights of its own if the adapter is on it or on the embeddings, and they share one table."""
    base = cast(Any, model.get_base_model())
    table, head = base.get_input_embeddings(), base.get_output_embeddings()
    if head is None or not any(layer in (table, head) for layer in layers_of(model, "default")):
        return
    inner = getattr(head, "base_layer", head)
    inner.weight = nn.Parameter(inner.weight.detach().clone(), requires_grad=False)
    for config in (base.config, base.config.get_text_config()):
        config.tie_word_embeddings = False


def _distance(found: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """The largest difference at a position, in the median over positions: rounding may choose other experts for one."""
    return (found - expected).abs().amax(-1).median()


def _weight(layer: Any) -> nn.Parameter:
    return cast(nn.Parameter, layer.get_base_layer().weight)
