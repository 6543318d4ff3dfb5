"""A model without its weights: what its configuration says of layers and sizes, for checks before anything is loaded.

It lies on torch's "meta" device, which keeps shapes and no numbers, and takes no memory worth speaking of.
"""

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from backbone.loading.devices import choose_device, choose_dtype
from backbone.loading.model_name import resolve_model
from backbone.training.quiet_libraries import quiet
from foundation.errors import UserError

_FAILURES = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError)


def outline(model: str, dtype: str = "auto", device: str = "auto") -> PreTrainedModel:
    """The causal language model without numbers, in the dtype that it would be loaded in; `UserError` if it is none."""
    path = resolve_model(model)
    try:
        config, chosen = AutoConfig.from_pretrained(path), choose_dtype(dtype, choose_device(device))
        with quiet(), torch.device("meta"):
            found: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
                config, dtype=chosen
            )
    except _FAILURES as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f'the model "{model}" is no causal language model that transformers knows: {reason} Use another model.'
        ) from error
    found.config.name_or_path = path
    found.requires_grad_(False)
    found.train(False)
    return found
