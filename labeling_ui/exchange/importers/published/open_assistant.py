"""OpenAssistant: ranked pairs, or message trees whose ranked siblings become pairs."""

from collections.abc import Iterator
from itertools import combinations

from foundation.files import Row
from labeling_ui.data_model import Message
from labeling_ui.exchange.importers.judged_items import Item, Parsed, Refused, Vote, preferred
from labeling_ui.exchange.importers.layout import Format, Layout
from labeling_ui.exchange.importers.messages import tidy
from labeling_ui.exchange.importers.values import given, listed, text


def oasst(row: Row, layout: Layout) -> Parsed:
    """OpenAssistant: ranked pairs, or message trees whose ranked siblings become pairs."""
    if "message_tree_id" in row:
        return list(_tree_pairs(given(row, "prompt")))
    if text(row, "reply_role") != "assistant":
        raise Refused("the ranked replies are the user's")
    prompt = [_oasst_message(said) for said in listed(row, "context")]
    chosen, rejected = (text(row, name).strip() for name in ("chosen", "rejected"))
    return [Item(tidy(prompt), (chosen, rejected), (Vote("oasst (imported)", preferred(0)),))]


def _tree_pairs(root: Row) -> Iterator[Item]:
    """Pairs of assistant replies to the same message whose ranks differ; rank 0 is the best."""
    unread = [(root, [_oasst_message(root)])]
    while unread:
        here, path = unread.pop()
        replies = [(reply, _oasst_message(reply)) for reply in here.get("replies") or []]
        unread += [(reply, [*path, said]) for reply, said in replies]
        ranked = [
            (reply["rank"], said["content"])
            for reply, said in replies
            if said["role"] == "assistant" and isinstance(reply.get("rank"), int) and not reply.get("deleted")
        ]
        for (better, chosen), (worse, rejected) in combinations(sorted(ranked), 2):
            if better < worse:
                yield Item(tidy(path), (chosen, rejected), (Vote("oasst (imported)", preferred(0)),))


def _oasst_message(said: object) -> Message:
    if not isinstance(said, dict):
        raise Refused("a message is not an object with a role and a text")
    role, words = text(said, "role"), text(said, "text")
    return Message(role="user" if role == "prompter" else role, content=words.strip())


FORMAT = Format(
    oasst, ("prompt", "context", "reply_role", "chosen", "rejected", "message_tree_id"), identity=("message_tree_id",)
)
