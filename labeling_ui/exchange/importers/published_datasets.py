"""The layouts of published preference data: TRL's, and four that papers came with."""

import math
import re
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Any

from foundation.errors import UserError
from foundation.files import Row
from labeling_ui.exchange.importers.judged_items import Item, Refused, Vote, asked, message, preferred, tidy, value
from labeling_ui.records import Message


def trl(row: Row, where: str) -> Iterable[Item]:
    """`chosen`, `rejected`, `prompt` (or none: the shared beginning is the prompt), as text or as messages."""
    for name in ("chosen", "rejected", "prompt"):
        if name not in row and name != "prompt":
            raise UserError(f'{where}: the field "{name}" is missing.')
        if not isinstance(row.get(name, ""), str | list):
            raise UserError(f'{where}: the field "{name}" must be a string or a list of messages.')
    prompt, chosen, rejected = row.get("prompt"), row["chosen"], row["rejected"]
    if type(chosen) is not type(rejected):
        raise UserError(f'{where}: the fields "chosen" and "rejected" must both be text, or both be messages.')
    if prompt is None:
        shared = _shared_messages(chosen, rejected) if isinstance(chosen, list) else _shared_words(chosen, rejected)
        prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
        if not prompt:
            raise Refused("chosen and rejected share no beginning that could be the prompt")
    simulated = row.get("simulated") is True  # our own export says so; simulated labels never pass for human ones
    name = "trl (imported, simulated)" if simulated else "trl (imported)"
    vote = Vote(name, preferred(0, _strength(row.get("margin"))), simulated)
    messages = tidy(prompt) if isinstance(prompt, list) else asked(prompt)
    return [Item(messages, (_reply(chosen), _reply(rejected)), (vote,))]


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


def finegrained(row: Row, where: str) -> Iterable[Item]:
    """FineGrainedRLHF: four predictions a question and six verdicts.

    The question alone is the prompt: with its passages it would not fit the context of small models.
    """
    predictions = [value(row, f"prediction {number}", str, where).strip() for number in (1, 2, 3, 4)]
    verdicts = value(row, "preference", list, where)
    if len(verdicts) != 6 or any(type(verdict) is not int or verdict not in (0, 1, 2) for verdict in verdicts):
        raise UserError(f'{where}: the field "preference" must hold six verdicts of 0, 1 or 2, found {verdicts}.')
    prompt = asked(value(row, "question", str, where).strip())
    gold = row.get("gold")
    references = (gold.strip(),) if isinstance(gold, str) and gold.strip() else ()
    return [
        Item(prompt, pair, (Vote("finegrained (imported)", preferred(_winner(verdict))),), references)
        for pair, verdict in zip(combinations(predictions, 2), verdicts, strict=True)
    ]


def pandalm(row: Row, where: str) -> Iterable[Item]:
    """PandaLM's test set: two responses and the verdicts of three annotators."""
    instruction, given = (value(row, name, str, where).strip() for name in ("instruction", "input"))
    votes = []
    names = ("annotator1", "annotator2", "annotator3")
    missing = [name for name in names if name not in row]
    if missing:
        raise UserError(f'{where}: the field "{missing[0]}" is missing.')
    for name in names:
        if type(row[name]) is not int or row[name] not in (0, 1, 2):
            raise UserError(f'{where}: the field "{name}" must be 0, 1 or 2, found {row[name]!r}.')
        votes.append(Vote(name, preferred(_winner(row[name]))))
    responses = [row[name] for name in ("response1", "response2") if isinstance(row.get(name), str)]
    if len(responses) < 2:
        raise Refused("a response is not text")
    prompt = asked(f"{instruction}\n\n{given}".strip())
    return [Item(prompt, tuple(response.strip() for response in responses), tuple(votes))]


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


def _winner(verdict: int) -> int | None:
    return verdict - 1 if verdict else None


def _shared_messages(chosen: list[Any], rejected: list[Any]) -> int:
    most = min(len(chosen), len(rejected)) - 1
    return next((i for i in range(most) if chosen[i] != rejected[i]), max(most, 0))


def _shared_words(chosen: str, rejected: str) -> int:
    most = min(len(chosen), len(rejected))
    shared = next((i for i in range(most) if chosen[i] != rejected[i]), most)
    while shared and not chosen[shared - 1].isspace():
        shared -= 1
    return shared


def _strength(margin: object) -> int | None:
    if margin is None or margin == 0:  # our own export fills in 0 where no strength is known
        return None
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin <= 1:
        raise Refused(f"margin {margin!r} is not in (0, 1]: rescale the margins, or leave them out")
    return max(1, math.floor(3 * margin + 0.5))


def _turns(text: str) -> list[Message]:
    before, *parts = re.split(r"(?:\A|\n\n)(Human|Assistant):", text)
    if before.strip() or not parts:
        raise Refused("the text does not begin with a Human: or Assistant: turn")
    roles = ["user" if name == "Human" else "assistant" for name in parts[::2]]
    return [Message(role=role, content=said.strip()) for role, said in zip(roles, parts[1::2], strict=True)]


def _reply(response: str | list[object]) -> str:
    if isinstance(response, str):
        return response
    messages = [message(said) for said in response]
    if [said["role"] for said in messages] != ["assistant"]:
        raise Refused("after the prompt there is not exactly one reply of the assistant")
    return messages[0]["content"]
