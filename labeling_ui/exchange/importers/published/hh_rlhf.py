"""Anthropic's hh-rlhf: two conversations that differ in the last reply (Bai et al. 2022)."""

from foundation.files import Row
from labeling_ui.data_model import Message
from labeling_ui.exchange.importers.judged_items import Item, Parsed, Refused, Vote, preferred
from labeling_ui.exchange.importers.layout import Format, Layout, mapped
from labeling_ui.exchange.importers.messages import hh_turns, tidy
from labeling_ui.exchange.importers.values import text


def hh(row: Row, layout: Layout) -> Parsed:
    """`chosen` and `rejected`, each one text with "\\n\\nHuman:" turns; some copies cut off a `prompt`."""
    row = mapped(row, layout.wishes.columns)
    texts = [text(row, name) for name in ("chosen", "rejected")]  # a field that is missing comes first
    start = row.get("prompt")
    if isinstance(start, str) and hh_turns(start) and not any(map(hh_turns, texts)):
        texts = [start + reply for reply in texts]
    chosen, rejected = map(_turns, texts)
    if chosen[-1]["role"] != "assistant" or rejected[-1]["role"] != "assistant":
        raise Refused("the last turn is not the assistant's")
    if chosen[:-1] != rejected[:-1]:
        raise Refused("the conversations differ before the last reply")
    vote = Vote("hh (imported)", preferred(0))
    return [Item(tidy(chosen[:-1]), (chosen[-1]["content"], rejected[-1]["content"]), (vote,))]


def _turns(said: str) -> list[Message]:
    turns = hh_turns(said)
    if turns is None:
        raise Refused("the text does not begin with a Human: or Assistant: turn")
    return turns


FORMAT = Format(hh, ("chosen", "rejected", "prompt"))
