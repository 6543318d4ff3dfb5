"""TRL's preference formats: `chosen`, `rejected`, and perhaps `prompt` and `margin`."""

import math
from collections.abc import Iterable
from typing import Any

from foundation.errors import UserError
from foundation.files import Row
from labeling_ui.exchange.importers.judged_items import Format, Item, Refused, Vote, asked, message, preferred, tidy


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
    if margin is None or margin == 0:  # our own export fills in 0 if no strength is known
        return None
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin <= 1:
        raise Refused(f"margin {margin!r} is not in (0, 1]: rescale the margins, or leave them out")
    return max(1, math.floor(3 * margin + 0.5))


def _reply(response: str | list[object]) -> str:
    if isinstance(response, str):
        return response
    messages = [message(said) for said in response]
    if [said["role"] for said in messages] != ["assistant"]:
        raise Refused("after the prompt there is not exactly one reply of the assistant")
    return messages[0]["content"]


FORMAT = Format(trl)
