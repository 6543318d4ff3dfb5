"""TRL's preference formats, paired and unpaired: `prompt`, `chosen`, `rejected`; or `prompt`, `completion`, `label`.

As in TRL, texts or messages; the prompt by itself, or as the beginning that two conversations share, also beside a text
that repeats it. With two texts and no prompt, TRL takes the first letters that they share; here the first words are
taken, and only where the user says so, with `--map prompt=chosen`: replies to a prompt that stands in another column
share their first words too. A row of our own exports brings the votes that it sums up.
"""

import math
from collections.abc import Iterator
from typing import Any

from foundation.files import Row
from foundation.scripts import shared_beginning
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Message
from labeling_ui.exchange.importers.judged_items import Item, Parsed, Refused, Vote, brief, preferred
from labeling_ui.exchange.importers.layout import Format, Layout, mapped
from labeling_ui.exchange.importers.messages import HH_TURN, prompt_of, reply_of, shared_turns, turns_of
from labeling_ui.exchange.importers.values import flag, given, number, yes_or_no

_FIELDS = ("prompt", "system", "chosen", "rejected", "margin", "completion", "label")
_PROMPTS = (
    "instruction", "question", "query", "input", "problem", "system", "context", "history", "messages", "conversations",
)  # fmt: skip
_SUMMED_UP = (
    "it sums up what people said: export the judgements themselves, with `rlhf labels export FILE --kind answers`, and "
    "import those"
)
_NAMELESS = "trl (imported)"


def trl(row: Row, layout: Layout) -> Parsed:
    """A pair, or one response with a label."""
    for name in ("tools", "images", "image"):
        if row.get(name):
            raise Refused(f'it comes with {name}, which cannot be shown: leave the column "{name}" out')
    columns = layout.wishes.columns
    row = mapped(row, {to: names for to, names in columns.items() if (to, *names) != ("prompt", "chosen")})
    if row.get("completion") is not None and row.get("chosen") is None:
        return [_labelled(row, layout.wishes.campaign)]
    prompt, chosen, rejected = _pair(row, shared_words=list(columns.get("prompt", ())) == ["chosen"])
    return [Item(prompt, (reply_of(chosen, prompt), reply_of(rejected, prompt)), tuple(_votes(row)))]


def overall_aspect(campaign: Campaign) -> str:
    """What a rating without an aspect is about."""
    if "helpful" in campaign.aspects or len(campaign.aspects) > 1:
        return "helpful"
    return campaign.aspects[0]


def _pair(row: Row, shared_words: bool) -> tuple[tuple[Message, ...], Any, Any]:
    if row.get("chosen") is None and row.get("rejected") is None:
        raise Refused('the field "chosen" is missing: tables with other columns are read with --format columns')
    prompt, chosen, rejected = row.get("prompt"), given(row, "chosen"), given(row, "rejected")
    for text in (prompt, chosen, rejected):
        if isinstance(text, str) and HH_TURN.search(text):
            raise Refused("it is a dialogue in the form of hh-rlhf: import the file with --format hh")
    one, other = turns_of(chosen), turns_of(rejected)
    if (one is None) != (other is None):
        raise Refused('the fields "chosen" and "rejected" must both be text, or both be messages')
    if one is not None and other is not None and not isinstance(prompt, list):
        shared = shared_turns(one, other)
        if shared or not isinstance(prompt, str):
            prompt, chosen, rejected = one[:shared], one[shared:], other[shared:]
        if not prompt:
            raise Refused("chosen and rejected share no beginning that could be the prompt")
    elif shared_words and isinstance(chosen, str) and isinstance(rejected, str):
        shared = shared_beginning(chosen, rejected)
        prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
        if not prompt.strip():
            raise Refused("chosen and rejected share no beginning that could be the prompt")
    elif prompt is None:
        raise Refused(_no_prompt(row))
    return prompt_of(prompt, row.get("system")), chosen, rejected


def _no_prompt(row: Row) -> str:
    columns = [name for name, value in row.items() if isinstance(value, str | list) and value and name not in _FIELDS]
    likely = [name for name in _PROMPTS if row.get(name)] or columns
    if not likely:
        return 'it has no prompt. If it is the beginning that "chosen" and "rejected" share, say --map prompt=chosen'
    shown = ", ".join(f'"{name}"' for name in likely[:6])
    return f'it has no column "prompt", but {shown}: name the prompt, as in --map prompt={likely[0]}'


def _votes(row: Row) -> Iterator[Vote]:
    """The vote that chose; of our own exports, which sum votes up, those that the row lists."""
    simulated = bool(flag(row, "simulated"))  # our own export says so; no program's label passes for a person's
    votes, annotators = row.get("votes"), row.get("annotators")
    if votes is None and row.get("p_chosen") is None:
        name = "trl (imported, simulated)" if simulated else _NAMELESS
        yield Vote(name, preferred(0, _strength(row.get("margin"))), simulated)
        return
    if row.get("p_both_bad"):
        raise Refused(_SUMMED_UP)  # a half vote is a tie, or says that both are bad
    if row.get("origin") != "pair" or not isinstance(votes, list) or not isinstance(annotators, list):
        raise Refused(_SUMMED_UP)
    if len(votes) != len(annotators) or any(vote not in (0, 0.5, 1) for vote in votes):
        raise Refused(_SUMMED_UP)
    for vote, annotator in zip(votes, annotators, strict=True):
        winner = None if vote == 0.5 else int(vote == 0)
        strength = _strength(row.get("margin")) if winner is not None and len(votes) == 1 else None
        yield Vote(f"{'simulated ' if simulated else ''}annotator {annotator}", preferred(winner, strength), simulated)


def _strength(margin: object) -> int | None:
    if margin is None or margin == "" or margin == 0:  # our own export fills in 0 if no strength is known
        return None
    found = number(margin, "margin")
    if not 0 < found <= 1:
        raise Refused(f"margin {brief(margin)} is not in (0, 1]: rescale the margins, or leave them out")
    return max(1, math.floor(3 * found + 0.5))


def _labelled(row: Row, campaign: Campaign) -> Item:
    """An unpaired row: a response that is good (2 of 2) or bad (1 of 2)."""
    if row.get("p_label") is not None:
        raise Refused(_SUMMED_UP)
    good = yes_or_no(given(row, "label"), "label")
    for text in (row.get("prompt"), row["completion"]):
        if isinstance(text, str) and HH_TURN.search(text):
            raise Refused("it holds a dialogue in the form of hh-rlhf as one text: split it into messages")
    turns = turns_of(row["completion"])
    if row.get("prompt") is None and (turns is None or len(turns) < 2):
        raise Refused(_no_prompt(row))
    prompt = prompt_of(turns[:-1] if row.get("prompt") is None and turns else row["prompt"], row.get("system"))
    response = reply_of(turns[-1:] if row.get("prompt") is None and turns else row["completion"], prompt)
    answer = Answer("rated", ratings={overall_aspect(campaign): {"0": 1 + good}})
    return Item(prompt, (response,), (Vote(_NAMELESS, answer, bool(flag(row, "simulated")), scale=2),))


FORMAT = Format(trl, _FIELDS, also=("votes", "annotators", "origin", "simulated"))
