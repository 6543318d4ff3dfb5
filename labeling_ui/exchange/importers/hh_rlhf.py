"""Anthropic's hh-rlhf: two conversations that differ in the last reply (Bai et al. 2022)."""

import re
from collections.abc import Iterable

from foundation.files import Row
from labeling_ui.data_model import Message
from labeling_ui.exchange.importers.judged_items import Format, Item, Refused, Vote, preferred, tidy, value


def hh(row: Row, where: str) -> Iterable[Item]:
    """`chosen` and `rejected` as one text with "\\n\\nHuman:" and "\\n\\nAssistant:" turns (Bai et al. 2022)."""
    texts = [value(row, name, str, where) for name in ("chosen", "rejected")]  # a field that is missing comes first
    chosen, rejected = map(_turns, texts)
    if chosen[-1]["role"] != "assistant" or rejected[-1]["role"] != "assistant":
        raise Refused("the last turn is not the assistant's")
    if chosen[:-1] != rejected[:-1]:
        raise Refused("the conversations differ before the last reply")
    vote = Vote("hh (imported)", preferred(0))
    return [Item(tidy(chosen[:-1]), (chosen[-1]["content"], rejected[-1]["content"]), (vote,))]


def _turns(text: str) -> list[Message]:
    before, *parts = re.split(r"(?:\A|\n\n)(Human|Assistant):", text)
    if before.strip() or not parts:
        raise Refused("the text does not begin with a Human: or Assistant: turn")
    roles = ["user" if name == "Human" else "assistant" for name in parts[::2]]
    return [Message(role=role, content=said.strip()) for role, said in zip(roles, parts[1::2], strict=True)]


FORMAT = Format(hh)
