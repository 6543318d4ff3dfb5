"""OpenAssistant: ranked pairs, or message trees whose ranked siblings become pairs."""

from collections.abc import Iterable, Iterator
from itertools import combinations

from foundation.errors import UserError
from foundation.files import Row
from labeling_ui.data_model import Message
from labeling_ui.exchange.importers.judged_items import Format, Item, Refused, Vote, preferred, tidy, value


def oasst(row: Row, where: str) -> Iterable[Item]:
    """OpenAssistant: ranked pairs, or message trees whose ranked siblings become pairs."""
    if "message_tree_id" in row:
        return list(_tree_pairs(value(row, "prompt", dict, where), where))
    if value(row, "reply_role", str, where) != "assistant":
        raise Refused("the ranked replies are the user's")
    prompt = [_oasst_message(said, where) for said in value(row, "context", list, where)]
    chosen, rejected = (value(row, name, str, where).strip() for name in ("chosen", "rejected"))
    return [Item(tidy(prompt), (chosen, rejected), (Vote("oasst (imported)", preferred(0)),))]


def _tree_pairs(root: Row, where: str) -> Iterator[Item]:
    """Pairs of assistant replies to the same message whose ranks differ; rank 0 is the best."""
    unread = [(root, [_oasst_message(root, where)])]
    while unread:
        here, path = unread.pop()
        replies = [(reply, _oasst_message(reply, where)) for reply in here.get("replies") or []]
        unread += [(reply, [*path, said]) for reply, said in replies]
        ranked = [
            (reply["rank"], said["content"])
            for reply, said in replies
            if said["role"] == "assistant" and isinstance(reply.get("rank"), int) and not reply.get("deleted")
        ]
        for (better, chosen), (worse, rejected) in combinations(sorted(ranked), 2):
            if better < worse:
                yield Item(tidy(path), (chosen, rejected), (Vote("oasst (imported)", preferred(0)),))


def _oasst_message(said: object, where: str) -> Message:
    if not isinstance(said, dict):
        raise UserError(f"{where}: a message is not an object with a role and a text.")
    role, text = value(said, "role", str, where), value(said, "text", str, where)
    return Message(role="user" if role == "prompter" else role, content=text.strip())


FORMAT = Format(oasst, ("message_tree_id",))
