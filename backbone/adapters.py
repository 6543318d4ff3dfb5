"""One frozen base model that carries many named LoRA adapters and small heads.

The policy, the reward model and the value function are adapters on the same weights; the reference is the base with
every adapter off. Adapters are read and written in PEFT's folder format.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import cast

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model_state_dict
from peft.tuners.lora import LoraModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from backbone.adapter_folder import other_base, put_weights, read_adapter, take_head, write_weights
from backbone.cpu.gated_mlp import fuse_mlps
from backbone.cpu.lora_layer import fuse_lora, unfuse_lora
from backbone.cpu.rms_norm import fuse_norms
from backbone.loading.base_identity import published_name, revision_of
from backbone.loading.models import renderer_of
from backbone.loading.quantization import quantization_of
from backbone.lora_targets import resolve_targets, take_off
from backbone.merging import can_merge, merged_layers
from backbone.own_function import Paths, decoder_of, head_is_linear, own_logits, states_by_length
from foundation.errors import UserError
from foundation.sizes import Sizes

_MAGNITUDE = ("lora_magnitude_vector.weight", "lora_magnitude_vector")  # PEFT's module, and its name in the file
_log = logging.getLogger(__name__)


class SharedBase:
    """A causal language model that is in memory once, however many adapters use it.

    Exactly one adapter is active inside `using(name)`; outside, and inside `using(None)`, the model is the
    untouched base. Only the adapter named by `trainable` ever requires gradients.
    """

    def __init__(self, base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        fuse_norms(base)
        fuse_mlps(base)
        self.name = name
        self.base = base
        self.quantization = quantization_of(base)
        head = base.get_output_embeddings()  # type: ignore[no-untyped-call]
        if head is None:
            raise UserError(f"{name} ({type(base).__name__}) has no LM head, so it is no causal language model.")
        self.hidden_size = int(head.weight.shape[1])
        self.tokenizer = tokenizer
        self.renderer = renderer_of(base, tokenizer)
        self.heads: dict[str, torch.nn.Linear] = {}
        self.trainable: str | None = None
        self.paths = Paths()  # the plain ways, until `exactness.check` finds faster ones
        self.sizes = Sizes()  # a CPU's, until `load_shared_base` finds out what the device can hold
        self._peft: PeftModel | None = None
        self.active: str | None = None
        self.scratch: torch.Tensor | None = None  # of `logprobs.py`, kept from call to call
        self._linear_head: bool | None = None
        self._owned: dict[str, dict[str, tuple[torch.nn.Module, str]]] = {}
        self._merges: dict[str, bool] = {}  # whether an adapter can be merged; found out when first needed

    @property
    def device(self) -> torch.device:
        """Where the base lives."""
        return self.base.device

    @property
    def decoder(self) -> torch.nn.Module:
        """The base without its LM head: what gives the states after the final norm."""
        return decoder_of(self.base)

    @property
    def adapters(self) -> list[str]:
        """Names of the adapters on this base."""
        return list(self._peft.peft_config) if self._peft else []

    @property
    def peft_model(self) -> PeftModel:
        """The base with all its adapters as PEFT's model, for trainers of other libraries."""
        assert self._peft is not None
        return self._peft

    def add_adapter(self, name: str, config: LoraConfig, *, trainable: bool = False, share: float = 1.0) -> None:
        """Put a new adapter on the base, on this share of its blocks, the last ones.

        Its weights have the base's dtype; B is zero, so it changes nothing yet.
        """
        resolve_targets(self.base, config, share)
        self._add(name, config)
        if trainable:
            self.trainable = name
        self._activate(None)

    def _add(self, name: str, config: LoraConfig) -> None:
        config.task_type = TaskType.CAUSAL_LM
        config.base_model_name_or_path, config.revision = published_name(self.name), revision_of(self.name)
        try:
            with warnings.catch_warnings(action="ignore"):  # Conv1D's layout, tied embeddings: both are handled here
                if self._peft is None:
                    self._peft = PeftModel(self.base, config, adapter_name=name, autocast_adapter_dtype=False)
                    self._peft.eval()
                else:
                    self._peft.add_adapter(name, config, autocast_adapter_dtype=False)
            self._owned.clear()
            fuse_lora(self._peft)
            if self.quantization:  # PEFT takes the dtype of the layer's weights, which is none to compute in
                for parameter in self.parameters(name).values():
                    parameter.data = parameter.data.to(self.base.dtype)
        except Exception as error:  # settings may come from elsewhere, and PEFT fails on them in any way
            take_off(self.base, name)
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise UserError(f'cannot put the adapter "{name}" on {self.name}: {reason}') from error

    def load_adapter(self, name: str, folder: Path, *, trainable: bool = False) -> None:
        """Read a PEFT LoRA folder; a saved `score` head goes to `heads[name]`.

        The weights of a `trainable` adapter stay in fp32 until the trainer rounds them; others take the base's dtype.
        `UserError` if the folder is missing, damaged, more or other than a LoRA, or does not fit the base.
        """
        config, weights = read_adapter(folder)
        made_for = config.base_model_name_or_path
        head = take_head(weights)
        if head is not None and (head.dim() != 2 or head.shape[1] != self.hidden_size):
            wide = head.shape[-1] if head.dim() else 0
            raise UserError(
                f"the score head in {folder} does not fit: it is {wide} wide, {self.name} is {self.hidden_size}."
            )
        self._add(name, config)
        assert self._peft is not None
        if trainable:
            for parameter in self.parameters(name).values():
                parameter.data = parameter.data.float()
        try:
            put_weights(self._peft, name, weights, folder, self.name, made_for)
            for difference in other_base(folder, made_for, self.name, self.quantization):
                _log.warning(difference)
        except UserError:
            self.remove_adapter(name)
            raise
        if head is not None:
            self.heads[name] = torch.nn.Linear(head.shape[1], head.shape[0], bias=False, device=self.device)
            self.heads[name].weight.data.copy_(head)
            self.heads[name].requires_grad_(False)
        if trainable:
            self.trainable = name
        self._activate(None)

    def save_adapter(self, name: str, folder: Path, weights: dict[str, torch.Tensor] | None = None) -> None:
        """Write the adapter as an ordinary PEFT folder, in fp32; `weights` are master copies to write instead."""
        assert self._peft is not None
        folder.mkdir(parents=True, exist_ok=True)
        state = {key: (weights or {}).get(key, value) for key, value in self._state(name).items()}
        write_weights(folder, state, self.quantization, self.name)
        config = self._peft.peft_config[name]
        config.inference_mode = True
        config.save_pretrained(str(folder))

    def parameters(self, name: str) -> dict[str, torch.nn.Parameter]:
        """The adapter's own weights by their names in its PEFT folder."""
        assert self._peft is not None
        if name not in self._owned:  # walking through all modules takes longer than a layer's forward pass
            self._owned[name] = {
                f"{path}.{kind}.".replace(f".{name}.", ".")[:-1].replace(*_MAGNITUDE): (module, kind)
                for path, module in self._peft.named_modules()
                if "lora_" in path
                for kind, _ in module.named_parameters(recurse=False)
                if f".{name}." in f"{path}.{kind}."
            }
        # FSDP puts other parameters in place of these, so they are looked up in their modules.
        return {key: module.get_parameter(kind) for key, (module, kind) in self._owned[name].items()}

    def use_peft_layers(self) -> None:
        """Compute LoRA layers by PEFT's own code, which ZeRO-3 needs in order to gather sharded weights."""
        unfuse_lora(self.base)

    @contextmanager
    def using(self, name: str | None) -> Iterator[None]:
        """Compute with this adapter, or with none (the reference)."""
        before = self.active
        if name == before:
            yield
            return
        try:
            self._activate(name)
            yield
        finally:
            self._activate(before)

    @contextmanager
    def merged(self, name: str) -> Iterator[None]:
        """Compute without gradients, with this adapter added into the base weights; they come back bit for bit.

        Saves two small products per layer while sampling. In a 16-bit base, an update smaller than half a unit in the
        last place vanishes in the sum, so samples do not quite follow the adapter; `using` is exact, and takes over
        where a sum would be another function than the adapter. No other adapter can be used inside.
        """
        assert self._peft is not None
        if name not in self._merges:
            with self.using(name):
                self._merges[name] = can_merge(self._peft, name)
            if not self._merges[name]:
                _log.warning('The adapter "%s" cannot be merged exactly: it samples unmerged, a little slower.', name)
        merges = self._merges[name]
        with (
            merged_layers(self._peft, name) if merges else nullcontext(),
            self.using(None if merges else name),
            torch.no_grad(),
        ):
            yield

    def hidden_states(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """States after the final norm under the active adapter, of rows padded on the right: (batch, length, hidden).

        A model that padding disturbs computes rows of one length at a time; the states of padding are then zero.
        """
        if self.paths.scoring == "alone":
            return states_by_length(self.decoder, input_ids, attention_mask.sum(1).tolist())
        padded = self.decoder(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        return cast(torch.Tensor, padded.last_hidden_state)

    @property
    def linear_head(self) -> bool:
        """Whether the logits are `lm_table` applied to the states (and a bias), and nothing more."""
        if self._linear_head is None:
            self._linear_head = head_is_linear(self.base)
        return self._linear_head and type(self.base.get_output_embeddings()) is torch.nn.Linear  # type: ignore[no-untyped-call]

    def lm_head(self, states: torch.Tensor) -> torch.Tensor:
        """Logits over the vocabulary for (..., hidden) states, by all that the model itself does after its decoder."""
        if self.linear_head:
            head = self.base.get_output_embeddings()  # type: ignore[no-untyped-call]
            return cast(torch.Tensor, head(states.to(head.weight.dtype)))
        return own_logits(self.base, states.flatten(0, -2)).view(*states.shape[:-1], -1)

    @property
    def lm_table(self) -> torch.Tensor:
        """The output embedding's weights: (vocabulary, hidden)."""
        head = self.base.get_output_embeddings()  # type: ignore[no-untyped-call]
        assert head is not None
        return cast(torch.Tensor, head.weight)

    def check_trainable(self, name: str) -> None:
        """Assert that all of this adapter, and nothing else, will be trained."""
        wanted = {id(parameter) for parameter in self.parameters(name).values()}
        found = {id(parameter) for parameter in self.base.parameters() if parameter.requires_grad}
        if not wanted or wanted != found:
            raise AssertionError(f"trainable weights are not those of {name}: {len(found)} found, {len(wanted)} wanted")

    def _activate(self, name: str | None) -> None:
        if self._peft is None:
            return
        if name is None:
            self._tuner.disable_adapter_layers()
        else:
            self._tuner.enable_adapter_layers()
            self._peft.set_adapter(name, inference_mode=True)
        self.active = name
        # PEFT flips requires_grad whenever it switches: say again who is trained.
        for adapter in self.adapters:
            for parameter in self.parameters(adapter).values():
                parameter.requires_grad_(adapter == self.trainable)

    @property
    def _tuner(self) -> LoraModel:
        assert self._peft is not None
        return cast(LoraModel, self._peft.base_model)

    def remove_adapter(self, name: str) -> None:
        """Take an adapter off; without any, the layers are those of the base again."""
        assert self._peft is not None
        self._owned.pop(name, None)
        self._merges.pop(name, None)
        if others := [one for one in self.adapters if one != name]:
            self._peft.set_adapter(others[0], inference_mode=True)  # left to choose, PEFT warns
            self._peft.delete_adapter(name)
        else:
            self._tuner.unload()
            self._peft = self.active = None
        self._activate(None)

    def _state(self, name: str) -> dict[str, torch.Tensor]:
        # Left to itself, PEFT asks the hub whether the vocabulary was changed; adapters here never change it.
        with warnings.catch_warnings(action="ignore"):  # it takes the biases of an adapter for weights cut short
            state = get_peft_model_state_dict(self._peft, adapter_name=name, save_embedding_layers=False)
        return cast(dict[str, torch.Tensor], state)


def lora_config(
    rank: int, alpha: float, targets: str | Sequence[str] = "all-linear", dropout: float = 0.0
) -> LoraConfig:
    """A LoRA of this rank on these linear layers (Hu et al. 2021); scale alpha/rank."""
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]
        target_modules=targets if isinstance(targets, str) else list(targets),
        lora_dropout=dropout,
        bias="none",
    )
