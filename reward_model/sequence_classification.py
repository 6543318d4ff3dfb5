"""transformers' own sequence classification of a causal model, where it gives the scores that this project gives.

Here a score is the head's output on the last token's final state, whatever the model. Most models have a class in
transformers that does the same. Some have none, and some classes do something else (another head, further layers,
another token): names are not believed, numbers are compared.
"""

import copy
from typing import Any, cast

import torch
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoModelForSequenceClassification, PreTrainedModel
from transformers.configuration_utils import PreTrainedConfig

from backbone.adapters import SharedBase
from backbone.tokens import pad_right
from backbone.training.quiet_libraries import quiet

_WRONG = (TypeError, ValueError, RuntimeError, AttributeError, KeyError, IndexError)


def as_classifier(base: SharedBase, config: PreTrainedConfig) -> PreTrainedModel | None:
    """The base, without adapters, under the sequence-classification class of `config`; its `score` is random.

    The weights are the base's own, not copies. None if there is no such class, or if its scores or the names of its
    weights are others.
    """
    config = copy.deepcopy(config)
    config.num_labels = 1
    config.pad_token_id = config.get_text_config().pad_token_id = base.renderer.pad_id
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        return None
    prefix = base.base.base_model_prefix
    try:
        with quiet(), torch.device("meta"):
            classifier = cast(PreTrainedModel, AutoModelForSequenceClassification.from_config(config))  # type: ignore[no-untyped-call]
        inner = base.base.get_submodule(prefix)
        ours = {f"{prefix}.{name}" for name, _ in inner.named_parameters()}
        if {name for name, _ in classifier.named_parameters()} != ours | {"score.weight"}:
            return None
        setattr(classifier, prefix, inner)
        cast(Any, classifier).score = _random_head(base)
        classifier.train(False)
        return classifier if _agrees(classifier, base) else None
    except _WRONG:
        return None


def decoder_path(base: SharedBase) -> str:
    """Where in the causal model its decoder is: `model`, or `transformer`."""
    return str(next(name for name, module in base.base.named_modules() if module is base.decoder))


def _random_head(base: SharedBase) -> torch.nn.Linear:
    weight = torch.randn(1, base.hidden_size, generator=torch.Generator().manual_seed(0))
    head = torch.nn.Linear(base.hidden_size, 1, bias=False, device=base.device, dtype=base.base.dtype)
    head.weight.data.copy_(weight)
    return head.requires_grad_(False)


@torch.no_grad()
def _agrees(classifier: PreTrainedModel, base: SharedBase) -> bool:
    """Whether the scores of a few padded conversations are those of the head on the last token's final state."""
    render = base.renderer
    prompt = render.prompt_ids([{"role": "user", "content": "Good day to you."}])
    rows = [[*prompt, *render.response_ids(text)] for text in ("Hello!", "No.", "Who is there, and what for?")]
    ids, mask = (tensor.to(base.device) for tensor in pad_right(rows, render.pad_id))
    states = base.hidden_states(ids, mask)[torch.arange(len(rows)), mask.sum(1) - 1]
    expected = cast(Any, classifier).score(states)
    found = classifier(input_ids=ids, attention_mask=mask).logits
    tolerance = 1e-4 if base.base.dtype == torch.float32 and not base.quantization else 0.02
    return found.shape == expected.shape and bool(
        (found - expected).float().norm() <= tolerance * expected.float().norm()
    )
