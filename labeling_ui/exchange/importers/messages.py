"""Conversations as files hold them, in the chat format: turns with text, and nothing that could not be shown.

Roles and fields have other names elsewhere (`from`, `human`, `gpt`, `developer`); a developer's turn is the system's.
Content may come in parts of text. Tool calls, tools' answers and images are refused by name: a task shows text.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from labeling_ui.data_model import Message
from labeling_ui.exchange.importers.judged_items import Refused, brief

_ROLES = {
    "human": "user", "prompter": "user", "bot": "assistant", "ai": "assistant", "gpt": "assistant",
    "model": "assistant", "chatbot": "assistant", "developer": "system",
}  # fmt: skip
_TOOLS = ("tool", "function", "ipython", "environment")
_PRINTED = re.compile(r"\s*\[\{'(?:role|content|from|value)'")
HH_TURN = re.compile(r"(?:\A|\n\n)(Human|Assistant):")


def message(said: object) -> Message:
    """A turn of a conversation."""
    if not isinstance(said, dict):
        raise Refused("a message has no role and content that are text")
    role = said.get("role") or said.get("from") or said.get("author")
    calls = said.get("tool_calls") or said.get("function_call")
    if calls:
        raise Refused(f"a message calls {_called(calls)}: a task shows text, and calls of tools cannot be shown")
    content = next((said[name] for name in ("content", "value", "text") if said.get(name) is not None), None)
    if not isinstance(role, str) or not isinstance(content, str | list):
        raise Refused("a message has no role and content that are text")
    role = role.strip().lower()
    if role in _TOOLS:
        raise Refused(f'a message has the role "{role}": what a tool answers cannot be shown')
    return Message(role=_ROLES.get(role, role), content=content if isinstance(content, str) else _joined(content))


def tidy(messages: Iterable[object]) -> tuple[Message, ...]:
    """The messages without empty turns, and with turns of the same role in a row made one."""
    kept: list[Message] = []
    for said in map(message, messages):
        if not said["content"].strip():
            continue
        if kept and kept[-1]["role"] == said["role"]:
            said = Message(role=said["role"], content=f"{kept.pop()['content']}\n\n{said['content']}")
        kept.append(said)
    return tuple(kept)


def asked(text: str) -> tuple[Message, ...]:
    """A prompt that is one turn of the user's."""
    return (Message(role="user", content=text),)


def prompt_of(value: Any, system: Any = None) -> tuple[Message, ...]:
    """The prompt that a text, a list of turns, or a dialogue in hh-rlhf's form says, after a system's turn if any."""
    turns = turns_of(value)
    if turns is not None:
        messages = tidy(turns)
    elif not isinstance(value, str):
        raise Refused(f"the prompt is neither text nor a conversation but {brief(value)}")
    elif (dialogue := hh_turns(value)) is not None:
        messages = tidy(dialogue)
    else:
        messages = asked(value)
    if isinstance(system, str) and system.strip():
        return Message(role="system", content=system), *(turn for turn in messages if turn["role"] != "system")
    return messages


def turns_of(value: Any) -> list[Any] | None:
    """The turns of a conversation, also of one turn alone; None for what is no conversation."""
    if isinstance(value, str) and _PRINTED.match(value):
        raise Refused("a conversation is text as Python prints it: write it as JSON")
    if isinstance(value, dict):
        return [value]
    return value if isinstance(value, list) else None


def reply_of(value: Any, prompt: Sequence[Message]) -> str:
    """The reply that a text or a conversation ends in; a conversation may begin with the prompt."""
    turns = turns_of(value)
    if turns is None:
        if not isinstance(value, str):
            raise Refused(f"a response is neither text nor a conversation but {brief(value)}")
        return value
    if len(turns) > len(prompt) and tidy(turns[: len(prompt)]) == tuple(prompt):
        turns = turns[len(prompt) :]
    return reply(turns)


def reply(turns: Sequence[object]) -> str:
    """The text of the one turn that answers a prompt."""
    messages = [message(said) for said in turns]
    if [said["role"] for said in messages] != ["assistant"]:
        raise Refused("after the prompt there is not exactly one reply of the assistant")
    return messages[0]["content"]


def shared_turns(one: Sequence[object], other: Sequence[object]) -> int:
    """How many turns two conversations begin with alike; the last turn of each is its reply."""
    most = min(len(one), len(other)) - 1
    return next((i for i in range(most) if message(one[i]) != message(other[i])), max(most, 0))


def hh_turns(text: str) -> list[Message] | None:
    """The turns of a dialogue with "\\n\\nHuman:" and "\\n\\nAssistant:" in one text; None if it is none."""
    before, *parts = HH_TURN.split(text)
    if before.strip() or not parts:
        return None
    roles = ["user" if name == "Human" else "assistant" for name in parts[::2]]
    return [Message(role=role, content=said.strip()) for role, said in zip(roles, parts[1::2], strict=True)]


def _joined(parts: Sequence[Any]) -> str:
    texts = []
    for part in parts:
        kind = part.get("type") or "text" if isinstance(part, dict) else brief(part)
        if kind != "text" or not isinstance(part.get("text"), str):
            raise Refused(f"a message holds more than text ({kind})")
        texts.append(part["text"])
    return "".join(texts)


def _called(calls: Any) -> str:
    named = [each.get("function", each) for each in (calls if isinstance(calls, list) else [calls]) if each]
    names = [str(each.get("name")) for each in named if isinstance(each, dict) and each.get("name")]
    return f"the tool {', '.join(names)[:60]}" if names else "a tool"
