"""Models and adapters as GGUF, the format of llama.cpp, written through its own `gguf` package.

Known are models like Llama with a byte-level BPE tokenizer, in float32 or bfloat16. Any other is refused: a file that
loads and computes something else would be worse than none. Quantising is left to llama.cpp's own tools.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import gguf
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from transformers import AutoConfig, PretrainedConfig

from backbone.adapter_folder import read_adapter, take_head
from backbone.publishing.gguf_vocabulary import vocabulary
from foundation.errors import UserError

GgufType = Literal["float32", "bfloat16"]
_ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""transformers' model types and llama.cpp's names of what computes the same."""
_WRITTEN = {
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "head_dim"),
    *("num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "rope_parameters", "tie_word_embeddings"),
}
"""Fields of a configuration that the file says, or that its weights do."""
_NO_MATTER = {
    *("model_type", "initializer_range", "use_cache", "pretraining_tp", "attention_dropout"),
    *("bos_token_id", "eos_token_id", "pad_token_id"),  # the tokenizer's are written
    *("sliding_window", "use_sliding_window", "max_window_layers", "layer_types"),  # see `_has_window`
}
"""Fields that change nothing of what is computed, or that are looked at apart."""
Array = NDArray[Any]


def write_model(folder: Path, file: Path, dtype: GgufType, name: str) -> None:
    """Write the model in `folder`, a causal language model in safetensors, as one GGUF file.

    Matrices get `dtype`, vectors float32. `UserError` if the model, or its tokenizer, is not known here.
    """
    config = AutoConfig.from_pretrained(folder)
    architecture = known(config, folder)
    told = vocabulary(folder, config.vocab_size)
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_name(name)
    _add_shape(writer, config)
    for add in told:
        add(writer)
    kind = gguf.GGMLQuantizationType.F32 if dtype == "float32" else gguf.GGMLQuantizationType.BF16
    writer.add_file_type(gguf.LlamaFileType.ALL_F32 if dtype == "float32" else gguf.LlamaFileType.MOSTLY_BF16)
    names = gguf.get_tensor_name_map(_member(architecture), config.num_hidden_layers)
    for key, weight in _weights(folder):
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        found = _name_of(names, key.rpartition(".")[0], folder)
        values = _reordered(config, key, weight.float()).numpy()
        as_written = kind if values.ndim > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(
            f"{found}.{key.rpartition('.')[2]}", gguf.quants.quantize(values, as_written), raw_dtype=as_written
        )
    _finish(writer)


def write_adapter(adapter: Path, base: str, file: Path, name: str) -> None:
    """Write a LoRA folder as a GGUF file in float32, for llama.cpp's `--lora`; `base` is the model that it is for.

    `UserError` if llama.cpp would compute something else.
    """
    config = AutoConfig.from_pretrained(base)
    architecture = known(config, Path(base))
    lora, weights = read_adapter(adapter)
    if lora.use_dora or lora.lora_bias or take_head(weights) is not None:
        raise UserError(
            f"the adapter in {adapter} is more than two matrices a layer (DoRA, biases or a score head), which "
            "llama.cpp does not know. Merge it instead."
        )
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_type("adapter")
    writer.add_name(name)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    scale = math.sqrt(lora.r) if lora.use_rslora else 1.0
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, lora.lora_alpha * scale)  # llama.cpp divides it by the rank
    names = gguf.get_tensor_name_map(_member(architecture), config.num_hidden_layers)
    for key, weight in weights.items():
        layer, _, half = key.removeprefix("base_model.model.").rpartition(".lora_")
        if half not in ("A.weight", "B.weight") or layer in ("lm_head", "model.embed_tokens"):
            raise UserError(f"the adapter in {adapter} changes {layer or key}; llama.cpp takes layers only. Merge it.")
        if lora.rank_pattern or lora.alpha_pattern:
            raise UserError(f"the layers of the adapter in {adapter} have scales of their own. Merge it instead.")
        values = weight.float()
        if half[0] == "B":
            values = _reordered(config, f"{layer}.weight", values)
        writer.add_tensor(f"{_name_of(names, layer, adapter)}.weight.lora_{half[0].lower()}", values.numpy())
    _finish(writer)


def known(config: PretrainedConfig, where: Path) -> str:
    """llama.cpp's name of this architecture; `UserError` if it is not one that can be written here."""
    architecture = _ARCHITECTURES.get(config.model_type)
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if architecture is None or rope != "default" or getattr(config, "quantization_config", None):
        what = config.model_type if architecture is None else f"{config.model_type} with {rope} positions"
        raise UserError(
            f"the model in {where} ({what}) is none that is written as GGUF here; known are unquantised models of the "
            f"types {', '.join(_ARCHITECTURES)}. Convert it with llama.cpp's convert_hf_to_gguf.py."
        )
    if _has_window(config):
        raise UserError(
            f"the model in {where} attends within a window, which is not written as GGUF here. Convert it with "
            "llama.cpp's convert_hf_to_gguf.py."
        )
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if architecture == "qwen2" and head * config.num_attention_heads != config.hidden_size:
        raise UserError(f"the model in {where} has heads of a size that llama.cpp's qwen2 has not.")
    if other := _beyond(config):
        raise UserError(
            f"the model in {where} has {', '.join(other)}, which llama.cpp's {architecture} has not, or which is not "
            "written as GGUF here. Use the merged model with transformers."
        )
    return architecture


def _has_window(config: PretrainedConfig) -> bool:
    window, kinds = getattr(config, "sliding_window", None), getattr(config, "layer_types", None)
    slides = window is not None if kinds is None else set(kinds) != {"full_attention"}
    return slides and (window or 0) < config.max_position_embeddings


def _beyond(config: PretrainedConfig) -> list[str]:
    """What of a configuration llama.cpp is not known to compute: `field=value` each.

    Every field of the class that is not listed above has to be at its default: so have hidden_act, mlp_bias and, but
    for Llama, attention_bias, and so would have one that comes with a new version of transformers.
    """
    known = _WRITTEN | _NO_MATTER | PretrainedConfig().to_dict().keys()
    if config.model_type == "llama":
        known |= {"attention_bias"}
    told = config.to_dict()
    return [
        f"{name}={told[name]}"
        for name, value in type(config)().to_dict().items()
        if name not in known and told[name] != value
    ]


def _add_shape(writer: gguf.GGUFWriter, config: PretrainedConfig) -> None:
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def _weights(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for key in opened.keys():  # noqa: SIM118
                yield key, opened.get_tensor(key)


def _reordered(config: PretrainedConfig, key: str, weight: torch.Tensor) -> torch.Tensor:
    """Queries and keys as llama.cpp's Llama turns them: neighbours in pairs, where transformers pairs halves."""
    if _ARCHITECTURES[config.model_type] != "llama":
        return weight
    for name, heads in (("q_proj", config.num_attention_heads), ("k_proj", config.num_key_value_heads)):
        if f".{name}." in f".{key}":
            halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
            return halves.swapaxes(1, 2).reshape(weight.shape)
    return weight


def _name_of(names: gguf.TensorNameMap, layer: str, where: Path) -> str:
    found = names.get_name(layer)
    if found is None:
        raise UserError(f"{where} has a layer {layer}, which llama.cpp's architecture has not. Merge it, or use PEFT.")
    return str(found)


def _member(architecture: str) -> gguf.MODEL_ARCH:
    return next(member for member, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
