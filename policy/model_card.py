"""The model card of an exported policy, and the lines that load it: texts, which need no torch."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

_ASK_CHAT = """\
messages = [{"role": "user", "content": "How do I boil an egg?"}]
ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")"""
_ASK_PLAIN = """\
# It holds no conversation: give it the beginning of a text, and it goes on from there.
ids = tokenizer("Once upon a time", return_tensors="pt")"""


def load_snippet(model: str, adapter: str, plain: bool = False) -> str:
    """The lines that load the adapter with nothing but transformers and PEFT, and prompt it: `plain` with a text."""
    ask = _ASK_PLAIN if plain else _ASK_CHAT
    return f"""\
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained({model!r})
model = PeftModel.from_pretrained(model, {adapter!r})
tokenizer = AutoTokenizer.from_pretrained({adapter!r})

{ask}
print(tokenizer.decode(model.generate(**ids, max_new_tokens=96)[0, ids["input_ids"].shape[1] :]))"""


def model_card(
    *,
    base: str,
    license: str,
    snippet: str,
    how: str = "by policy gradients towards a reward model of pairwise judgements",
    labels: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    reward: Mapping[str, Any],
    settings: Mapping[str, Any],
    provenance: Mapping[str, str],
    told: Sequence[str] = (),
) -> str:
    """The card in the hub's format: what it is, what it was made from, how it compares, how to load it.

    `told` are sentences that must be read before the figures.
    """
    simulated = int(labels["simulated_judgements"])
    people = int(labels["judgements"]) - simulated
    notice = (
        f"> **{simulated} of {people + simulated} judgements came from simulated annotators** with a known, programmed "
        "preference. Figures drawn from them say nothing about what people prefer.\n\n"
        if simulated
        else ""
    )
    rates = "".join(
        f"| win rate against the base, {mode}, by {judge} | {rate['win_rate']:.1%} "
        f"(95% interval {rate['low']:.1%} to {rate['high']:.1%}, {rate['n']} held-out prompts) |\n"
        for mode in ("sampled", "greedy")
        for judge, rate in evaluation.get(mode, {}).get("win_rates", {}).items()
    )
    rows = "".join(f"| {name} | {_cell(value)} |\n" for name, value in settings.items())
    traced = "".join(f"| {name} | `{_cell(value)}` |\n" for name, value in provenance.items())
    fence, blank = "```", "\n\n"
    return f"""\
---
base_model: {json.dumps(base)}
library_name: peft
license: {json.dumps(license)}
tags:
- lora
- rlhf
---

# Policy adapter

A LoRA adapter for `{base}`, tuned {how}.

{notice}{"".join(f"> **{sentence}**{blank}" for sentence in told)}## Load it

{fence}python
{snippet}
{fence}

## Figures

| figure | value |
|---|---|
{rates}| KL to the base, nats per response | {_cell(evaluation.get("mean_kl"))} |
| distinct-2, as a ratio to the base's | {_cell(evaluation.get("distinct2_ratio"))} |
| reward model, accuracy on held-out pairs | {_cell(reward.get("accuracy"))} |
| of these, longer response wins | {_cell(reward.get("longer_wins"))} |
| of these, bag of words | {_cell(reward.get("bag_of_words"))} |

## Made from

| | |
|---|---|
| judgements by people | {people} |
| judgements by simulated annotators | {simulated} |
| preference pairs | {labels["pairs"]} |
{traced}{_VOTES if labels["pairs"] else ""}
## Settings

| setting | value |
|---|---|
{rows}"""


_VOTES = """
A pair is a preference if more annotators said so than said anything else of it, and their votes, weighted by skill,
make it at least twice as likely. Ties, pairs that they split on and pairs of two bad responses are not among these.
"""


def _cell(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else "not measured" if value is None else str(value)
    return " ".join(text.splitlines()).replace("|", "\\|").replace("<", "&lt;")
