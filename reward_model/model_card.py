"""The reward model's card, in the hub's format: what it is, how good, how sure, and how to load it.

Written from the figures that training measured on held-out prompts; what was not measured is said to be so.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from backbone.loading.base_identity import note_of, provenance_of, published_name
from backbone.publishing.cards import CARD, front_matter, model_index
from foundation.files import write_text

_FIGURES = {
    "accuracy": "accuracy, a tie one half",
    "longer_wins": "baseline: the longer response wins",
    "bag_of_words": "baseline: a bag of words, trained on the same labels",
    "length_controlled_accuracy": "accuracy where longer and shorter are preferred equally often",
    "length_bias": "how much more often the model prefers the longer response than people do",
}
_CALIBRATION = {
    "temperature": "temperature T",
    "ece": "expected calibration error at T = 1",
    "ece_after": "expected calibration error at a T fitted on other held-out prompts",
    "brier": "Brier score at T = 1",
    "brier_after": "Brier score at a T fitted on other held-out prompts",
    "error_most_uncertain": "wrong among the fifth of the pairs that it is least sure of",
    "error_least_uncertain": "wrong among the fifth that it is surest of",
    "coverage": "coverage of its 90% forecasts",
}
_MADE_FROM = ("training_pairs", "training_ties", "training_rankings", "training_ratings", "contradictions", "cut_pairs")


_ASK = """\
messages = [
    {"role": "user", "content": "How long do I boil an egg?"},
    {"role": "assistant", "content": "Six minutes."},
]
inputs = tokenizer.apply_chat_template(messages, return_dict=True, return_tensors="pt")"""
_WITH_TRL = """\
The tokenizer in this folder ends a conversation where scores are read. That of the base may go on with a line break,
and it is the one that TRL takes for an adapter. With TRL, name this one:

```python
RLOOTrainer(..., reward_funcs=folder, reward_processing_classes=AutoTokenizer.from_pretrained(folder))
```

or give `reward_funcs` the folder that `rlhf merge` writes: adapter, head and base as one
`AutoModelForSequenceClassification`, with the right tokenizer. Prompts must be conversations: TRL ends no plain text.
"""
_WITHOUT_CLASS = """\
transformers has no `AutoModelForSequenceClassification` for this base that gives these scores, so tools that load a
reward model by its path cannot use it. TRL takes `reward_model.trl_reward_function.reward_function(folder)` in
`reward_funcs`. `rlhf merge` writes adapter and base as one causal model, and the head beside it in `score.safetensors`,
as `score`: a score is the head times the last state.
"""


def load_snippet(model: str, folder: str, decoder: str | None = None) -> str:
    """The lines that score a response with nothing but transformers and PEFT.

    `decoder` is None if transformers' sequence classification gives the scores. Otherwise it says where in the causal
    model its decoder is, whose states the head reads.
    """
    if decoder is None:
        auto, torch = "AutoModelForSequenceClassification", ""
        load = f"""\
model = {auto}.from_pretrained({model!r}, num_labels=1)
model.config.get_text_config().pad_token_id = tokenizer.pad_token_id"""
        score = "print(model(**inputs).logits.item())"
    else:
        auto, torch = "AutoModelForCausalLM", "import torch\n"
        load = f"""\
model = {auto}.from_pretrained({model!r})
model.score = torch.nn.Linear(model.get_output_embeddings().weight.shape[1], 1, bias=False)
decoder = model.{decoder}"""
        score = """\
states = decoder(**inputs).last_hidden_state
print(model.score(states[:, -1].float()).item())"""
    return f"""\
{torch}from peft import PeftModel
from transformers import {auto}, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({folder!r})
{load}
model = PeftModel.from_pretrained(model, {folder!r}).eval()

{_ASK}
{score}"""


def probe_snippet(model: str, folder: str, block: int | None) -> str:
    """The lines that score a response with the probe, by transformers alone; it reads this block, or the last one."""
    return f"""\
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({folder!r})
model = AutoModelForCausalLM.from_pretrained({model!r}).eval()
probe = load_file({folder!r} + "/probe.safetensors")["probe"]

{_ASK}
before = len(tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=True)["input_ids"])
states = model(**inputs, output_hidden_states=True).hidden_states[{-1 if block is None else block}][0, before:].float()
print((torch.cat([states[-1], states.mean(0)]) @ probe).item())"""


def merged_snippet(folder: str, decoder: str | None = None) -> str:
    """The lines that score a response with a merged reward model; for `decoder`, see `load_snippet`."""
    if decoder is None:
        load = f"model = AutoModelForSequenceClassification.from_pretrained({folder!r}).eval()"
        auto, torch, score = "AutoModelForSequenceClassification", "", "print(model(**inputs).logits.item())"
    else:
        auto, torch = "AutoModelForCausalLM", "from safetensors.torch import load_file\n"
        load = f"""\
model = AutoModelForCausalLM.from_pretrained({folder!r}).eval()
head = load_file({folder!r} + "/score.safetensors")["score"]"""
        score = f"""\
states = model.{decoder}(**inputs).last_hidden_state
print((head @ states[0, -1].float()).item())"""
    return f"""\
{torch}from transformers import {auto}, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({folder!r})
{load}

{_ASK}
{score}"""


def write_card(
    folder: Path,
    base: str,
    decoder: str | None,
    figures: Mapping[str, Any],
    settings: Mapping[str, Any],
    simulated: int = 0,
    quantization: str | None = None,
) -> None:
    """Write the card of the reward model in `folder`; `simulated` of its labels are programmed. For `decoder`, see
    `load_snippet`; `base` is what it was trained on, as transformers loads it, and `quantization` how.
    """
    name, note, provenance = published_name(base), note_of(base), provenance_of(base)
    write_text(folder / CARD, model_card(name, decoder, figures, settings, simulated, quantization, note, provenance))


def model_card(
    base: str,
    decoder: str | None,
    figures: Mapping[str, Any],
    settings: Mapping[str, Any],
    simulated: int = 0,
    quantization: str | None = None,
    note: str = "",
    provenance: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The card as text; `note` goes on from what it was trained on, `provenance` says where that is from."""
    notice = (
        f"> **{simulated} of the labels came from simulated annotators** with a known, programmed preference. Figures "
        "drawn from them say nothing about what people prefer.\n\n"
        if simulated
        else ""
    )
    quantised = (
        f" It was trained and measured on that base quantised to {quantization} by bitsandbytes."
        if quantization
        else ""
    )
    interval = (
        f", 95% interval {figures['accuracy_low']:.1%} to {figures['accuracy_high']:.1%}"
        if "accuracy_low" in figures
        else ""
    )
    made_from = {name.replace("_", " "): figures[name] for name in _MADE_FROM if figures.get(name) is not None}
    fence = "```"
    accuracy = figures.get("accuracy")
    measured = [("accuracy", "accuracy on held-out pairs, a tie one half", accuracy)] if accuracy is not None else []
    head = front_matter(
        base,
        library_name="peft",
        pipeline_tag="text-classification",
        tags=["lora", "reward-model", "rlhf"],
        **model_index("reward model", "text-classification", measured),
    )
    return f"""\
{head}
# Reward model

A LoRA adapter with a score head for `{_cell(base)}`. The score of a response is the head's output on the last token of
the conversation, which is the end of the response's turn.{quantised}{note}

{notice}## Load it

{fence}python
{load_snippet(base, "path/to/this/folder", decoder)}
{fence}

{_WITH_TRL if decoder is None else _WITHOUT_CLASS}{_probe(base, figures)}
## On held-out prompts

{figures.get("n", "An unknown number of")} pairs{interval}.

| figure | value |
|---|---|
{_rows({title: figures.get(name) for name, title in _FIGURES.items()})}
{_verdict(figures)}

## How far to trust a score

A score has no zero and no unit: compare responses to one prompt. The model forecasts that the first of two responses is
preferred with probability sigmoid((score of the first - score of the second) / T).

| figure | value |
|---|---|
{_rows({title: figures.get(name) for name, title in _CALIBRATION.items()})}
It was measured on prompts like those it was trained on. A policy that is tuned towards it writes other responses, on
which it is less reliable the further the policy has moved.

## Made from

| | |
|---|---|
{_rows({**made_from, **provenance})}
| setting | value |
|---|---|
{_rows(settings)}"""


def _probe(base: str, figures: Mapping[str, Any]) -> str:
    """How to load the probe, if it is what the figures are about."""
    if figures.get("reward_model") != "probe":
        return ""
    why = "No adapter was trained: the one here changes nothing, and its head reads the base's last state."
    if "adapter_likelihood" in figures:
        why = "Held-out labels were likelier under it than under the adapter."
    fence = "```"
    return f"""
### The probe

The figures below are those of `probe.safetensors`, a linear probe of the base's own states, and not of the adapter: a
score is the probe times the state of the response's last token, and the mean over its tokens, in the middle of the
model. {why}

{fence}python
{probe_snippet(base, "path/to/this/folder", figures.get("probed_block"))}
{fence}
"""


def _verdict(figures: Mapping[str, Any]) -> str:
    """What the accuracy means beside the baselines."""
    low = figures.get("accuracy_low")
    rivals = [
        title.removeprefix("baseline: ")
        for name, title in _FIGURES.items()
        if name in ("longer_wins", "bag_of_words") and low is not None and low <= figures.get(name, 0.0)
    ]
    if not rivals:
        return "Its interval lies above both baselines."
    return f"**It is not shown to be better than a baseline** ({' and '.join(rivals)}): read it with caution."


def _rows(values: Mapping[str, Any]) -> str:
    return "".join(f"| {_cell(name)} | {_cell(value)} |\n" for name, value in values.items())


def _cell(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else "not measured" if value is None else str(value)
    return " ".join(text.splitlines()).replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
