"""The model card of an exported policy, and the lines that load it: texts, which need no torch."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from backbone.publishing.cards import front_matter, model_index

_ASK_CHAT = """\
messages = [{"role": "user", "content": "How do I boil an egg?"}]
ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")"""
_ASK_PLAIN = """\
# It holds no conversation: give it the beginning of a text, and it goes on from there.
ids = tokenizer("Once upon a time", return_tensors="pt")"""

_COUNTS = ("judgements", "simulated_judgements", "pairs")
IN_THIS_FOLDER = "In this folder:\n\n"

_ENDS = re.compile(r"max_new_tokens=96, eos_token_id=\[([\d, ]+)\]")


def _answer(ends: Sequence[int] = ()) -> str:
    stop = f", eos_token_id={list(ends)}" if ends else ""
    return f'print(tokenizer.decode(model.generate(**ids, max_new_tokens=96{stop})[0, ids["input_ids"].shape[1] :]))'


def load_snippet(model: str, adapter: str, plain: bool = False, ends: Sequence[int] = ()) -> str:
    """The lines that load the adapter with nothing but transformers and PEFT, and prompt it: `plain` with a text.

    `ends` are the tokens at which to stop, where the base's own settings, which PEFT takes, do not say all of them.
    """
    ask = _ASK_PLAIN if plain else _ASK_CHAT
    return f"""\
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained({model!r})
model = PeftModel.from_pretrained(model, {adapter!r})
tokenizer = AutoTokenizer.from_pretrained({adapter!r})

{ask}
{_answer(ends)}"""


def ends_in(card: str) -> list[int]:
    """The `ends` of the `load_snippet` in a card."""
    found = _ENDS.search(card)
    return [int(end) for end in found[1].split(",")] if found else []


def merged_snippet(model: str, plain: bool = False) -> str:
    """The lines that load a merged model and prompt it, as `load_snippet` does."""
    return f"""\
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained({model!r})
tokenizer = AutoTokenizer.from_pretrained({model!r})

{_ASK_PLAIN if plain else _ASK_CHAT}
{_answer()}"""


def model_card(
    *,
    base: str,
    license: str | None,
    snippet: str,
    how: str = "by policy gradients towards a reward model of pairwise judgements",
    labels: Mapping[str, Any] | None,
    evaluation: Mapping[str, Any],
    reward: Mapping[str, Any],
    settings: Mapping[str, Any],
    provenance: Mapping[str, str],
    verdict: Mapping[str, Any] | None = None,
    told: Sequence[str] = (),
    note: str = "",
) -> str:
    """The card in the hub's format: what it is, what it was made from, how it compares, how to load it.

    `labels` are the counts of those that made it, None if they are not known. The `verdict` of those who compared it
    blind comes first, or that there is none; `told` are further sentences that must be read before the figures. `note`
    goes on from what it was tuned on. `snippet` loads the adapter from the folder in which it is run.
    """
    judgements, simulated, pairs = (int(labels[name]) for name in _COUNTS) if labels else (0, 0, 0)
    counts = (judgements - simulated, simulated, pairs) if labels else ("not known",) * len(_COUNTS)
    notice = (
        f"> **{simulated} of {judgements} judgements came from simulated annotators** with a known, programmed "
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
    of_kl, of_length = _interval(evaluation, "kl"), _interval(evaluation, "length")
    ratio = words_ratio(evaluation) if "sampled" in evaluation else None
    index = model_index("policy adapter", "text-generation", _metrics(verdict, evaluation))
    licensed = {"license": license} if license else {}
    head = front_matter(
        base, library_name="peft", **licensed, pipeline_tag="text-generation", tags=["lora", "rlhf"], **index
    )
    return f"""\
{head}
# Policy adapter

A LoRA adapter for `{_cell(base)}`, tuned {how}.{note}

> {_verdict_line(verdict)}

{notice}{"".join(f"> **{sentence}**{blank}" for sentence in told)}## Load it

{IN_THIS_FOLDER}{fence}python
{snippet}
{fence}

## Figures

| figure | value |
|---|---|
| KL to the base, nats per response | {_cell(evaluation.get("mean_kl"))}{of_kl}{_target(settings)} |
| length in words, as a ratio to the base's | {_cell(ratio)}{of_length} |
| distinct-2, as a ratio to the base's | {_cell(evaluation.get("distinct2_ratio"))} |
{rates}| reward model, accuracy on held-out pairs | {_cell(reward.get("accuracy"))} |
| of these, longer response wins | {_cell(reward.get("longer_wins"))} |
| of these, bag of words | {_cell(reward.get("bag_of_words"))} |

## Made from

| | |
|---|---|
| judgements by people | {counts[0]} |
| judgements by simulated annotators | {counts[1]} |
| preference pairs | {counts[2]} |
{traced}{_VOTES if pairs else ""}
## Settings

| setting | value |
|---|---|
{rows}"""


def _metrics(verdict: Mapping[str, Any] | None, evaluation: Mapping[str, Any]) -> list[tuple[str, str, float]]:
    """Win rates for the hub: what people said first, then what programs did."""
    found = []
    if verdict and verdict["by"] in _WHO and verdict["win_rate"] is not None:
        by = _WHO[verdict["by"]]
        found.append(("win_rate", f"win rate against {verdict['champion']['name']}, by {by}", verdict["win_rate"]))
    for mode in ("sampled", "greedy"):
        for judge, rate in evaluation.get(mode, {}).get("win_rates", {}).items():
            found.append(("win_rate", f"win rate against the base, {mode}, by {judge}", rate["win_rate"]))
    return found


_WHO = {"people": "people", "simulated": "simulated annotators", "mixed": "people and simulated annotators together"}
_OUTCOMES = {"better": "better", "not_better": "not better", "undecided": "undecided"}


def _verdict_line(verdict: Mapping[str, Any] | None) -> str:
    if verdict is None:
        return "**No person has judged this adapter.** Figures below are those of programs."
    opponent, outcome = _cell(verdict["champion"]["name"]), _OUTCOMES[verdict["outcome"]]
    if verdict["by"] not in _WHO:
        settled = dict(verdict["settled"])
        same = settled.pop("identical", 0)
        return (
            f"**No person has judged this adapter.** Compared with {opponent}, it was decided without a judge: "
            f"{outcome}, {same} identical, {sum(settled.values())} empty responses. Figures below are those of "
            "programs."
        )
    by = _WHO[verdict["by"]] + (", and by no person" if verdict["by"] == "simulated" else "")
    rate = ""
    if verdict["win_rate"] is not None:
        low, high = verdict["interval"]
        rate = f" win rate {verdict['win_rate']:.1%} (95% interval {low:.1%} to {high:.1%}),"
    return (
        f"**Compared blind with {opponent} by {by}: {outcome}.** On held-out prompts:{rate} {verdict['judgements']} "
        f"judgements of {verdict['prompts']} prompts."
    )


_VOTES = """
A pair is a preference if more annotators said so than said anything else of it, and their votes, weighted by skill,
make it at least twice as likely. Ties, pairs that they split on and pairs of two bad responses are not among these.
"""


def _target(settings: Mapping[str, Any]) -> str:
    return f" (target {settings['kl_target']:g})" if settings.get("kl_target") is not None else ""


def _interval(evaluation: Mapping[str, Any], name: str) -> str:
    """The interval of a figure of the sampled responses; nothing where none was measured."""
    low, high = evaluation.get("sampled", {}).get(f"{name}_interval", (None, None))
    return "" if low is None else f" (95% interval {low:.3f} to {high:.3f})"


def words_ratio(evaluation: Mapping[str, Any]) -> float:
    """The policy's mean length in words over the base's, of the sampled responses of an evaluation.json."""
    base, policy = (evaluation["sampled"]["measures"][who]["words"] for who in ("base", "policy"))
    return float(policy / max(base, 1e-9))


def _cell(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else "not measured" if value is None else str(value)
    return " ".join(text.splitlines()).replace("|", "\\|").replace("<", "&lt;")
