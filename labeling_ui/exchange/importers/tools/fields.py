"""Which field of an annotation tool's record is the prompt, which are responses, and which of them a label names.

Argilla and Label Studio let each team name fields, and their exports carry no configuration. So names decide:
`response1`, `answer_b`, `completion-2` or `generation-0` are responses; `prompt`, `instruction`, `question`, `messages`
and the like are the prompt. `--map` names others. A record that cannot be told is refused.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from labeling_ui.data_model import Message
from labeling_ui.exchange.importers.judged_items import Refused
from labeling_ui.exchange.importers.layout import mapped
from labeling_ui.exchange.importers.messages import message, prompt_of, reply, tidy, turns_of

PLACES = tuple(f"response_{number}" for number in range(1, 10))
FIELDS = ("prompt", "context", *PLACES)
_RESPONSE = re.compile(
    r"(?i)(?:response|completion|generation|answer|output|reply|option|candidate)s?[-_. ]?(\d+|[a-z])?"
    r"|text[-_. ]?(\d+|[a-z])"
)
_ENDED = re.compile(  # words before it would make a sentence of it: "more careful than A"
    r"(?i)(?:(?:response|completion|generation|answer|output|reply|option|candidate|text|model|choice|assistant|"
    r"system|version|summary|sample|item|side|human|ref|prediction)[-_. ]*)*(?:(\d+)|(?<![a-z])([a-z]))"
)
_PROMPTS = ("instruction", "question", "query", "input", "messages", "conversation", "dialogue", "chat")


def conversation(fields: Mapping[str, Any], columns: Mapping[str, Sequence[str]]) -> tuple[Message, ...]:
    """The prompt among the fields; a `context` follows it."""
    fields = mapped(dict(fields), {to: names for to, names in columns.items() if to in ("prompt", "context")})
    likely = [name for name in _PROMPTS if fields.get(name)]
    if not fields.get("prompt"):
        if len(likely) > 1:
            shown = ", ".join(f'"{name}"' for name in likely)
            raise Refused(f"several fields could be the prompt ({shown}): name it, as in --map prompt={likely[0]}")
        if not likely:
            raise Refused(
                f'none of its fields is a prompt: expected "prompt" or one of {", ".join(_PROMPTS)}, or name it, as in '
                "--map prompt=FIELD"
            )
    said = fields.get("prompt") or fields[likely[0]]
    context = fields.get("context")
    if isinstance(said, str) and isinstance(context, str) and context.strip():
        said = f"{said.strip()}\n\n{context.strip()}"
    return prompt_of(said)


def prompt_fields(fields: Mapping[str, Any]) -> list[str]:
    """The fields that the prompt is found in."""
    first = next((name for name in ("prompt", *_PROMPTS) if fields.get(name)), None)
    return [name for name in (first, "context") if name]


def responses(fields: Mapping[str, Any], columns: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The responses, texts or conversations, by the names of their fields, in the record's order."""
    named = [columns[place][0] for place in PLACES if place in columns]
    if named:
        missing = [name for name in named if not fields.get(name)]
        if missing:
            raise Refused(f'the field "{missing[0]}" is missing')
        return {name: fields[name] for name in named}
    found = {
        name: said
        for name, said in fields.items()
        if _RESPONSE.fullmatch(name) and (isinstance(said, str) or _is_conversation(said))
    }
    if not found:
        raise Refused("none of its fields is a response: expected response1, answer_b or the like")
    sets: dict[str, dict[str, Any]] = {}
    for name, said in found.items():
        if mark := ending(name):
            sets.setdefault(plain(name).removesuffix(mark), {})[name] = said
    several = [each for each in sets.values() if len(each) > 1]
    if len(several) > 1:
        shown = ", ".join(f'"{name}"' for each in several for name in each)
        raise Refused(
            f"several sets of fields could be the responses ({shown}): name them, as in --map response_1=FIELD"
        )
    return several[0] if several else found  # an "answer" beside response1 and response2 is something else


def response_texts(found: Mapping[str, Any], prompt: Sequence[Message]) -> tuple[str, ...]:
    """What the responses say; a conversation may begin with the prompt."""
    return tuple(_text(said, prompt) for said in found.values())


def place_of(label: str, names: Sequence[str]) -> int | None:
    """Which response a label means: by its name, or by the number or letter that both end in."""
    named = place_by_name(label, names)
    if named is not None:
        return named
    if len(names) == 2 and plain(label) in ("left", "right"):
        return int(plain(label) == "right")
    ends = [_end(name) or ending(name) for name in names]
    return ends.index(end) if (end := _end(label)) and ends.count(end) == 1 else None


def place_by_name(label: str, names: Sequence[str]) -> int | None:
    """Which response a label names in full."""
    tidied = [plain(name) for name in names]
    return tidied.index(plain(label)) if plain(label) in tidied else None


def place_by_letter(label: str, names: Sequence[str]) -> int | None:
    """Which response a lone letter means where the names count from 1: "A" is response1.

    For an answer to what is known to be the preference: elsewhere, "a" is a word.
    """
    ends = [_end(name) or ending(name) for name in names]
    letter = _end(label)
    counted = ends == [str(number) for number in range(1, len(names) + 1)]
    place = ord(letter) - ord("a") if counted and letter.isalpha() else len(names)
    return place if place < len(names) else None


def rated(question: str, names: Sequence[str], about: str = "") -> tuple[str, int] | None:
    """The aspect that a rating is about, and the response: "response1-helpful" says how helpful the first is.

    `about` is the field that the question is attached to, where the tool says it. None if there are several responses
    and nothing says which is meant.
    """
    if len(names) == 1:
        return question, 0
    words = re.findall(r"[^-_. ]+", question)
    found = [(place_of(word, names), start, start + 1) for start, word in enumerate(words)]
    found += [(place_by_name("".join(two), names), i, i + 2) for i, two in enumerate(pairwise(words))]
    named = [(place, start, end) for place, start, end in reversed(found) if place is not None]
    attached = place_of(about, names)
    if attached is not None:
        named = [each for each in named if each[0] == attached]
    if named:
        place, start, end = named[0]
        return " ".join(words[:start] + words[end:]) or "rating", place
    if attached is None:
        return None
    mark = ending(names[attached])
    numbered = mark.isdigit() and question.endswith(mark)
    return (question.removesuffix(mark).rstrip("-_. ") if numbered else question) or "rating", attached


def plain(label: str) -> str:
    """A label without what people write differently: case, spaces, hyphens."""
    return re.sub(r"[\W_]", "", label).lower()


def _is_conversation(said: Any) -> bool:
    return isinstance(said, list) and bool(said) and all(isinstance(turn, dict) and "content" in turn for turn in said)


def _text(said: Any, prompt: Sequence[Message]) -> str:
    turns = turns_of(said)
    if turns is None:
        return str(said)
    if len(turns) > 1 and tidy(map(message, turns[:-1])) == tuple(prompt):
        turns = turns[-1:]
    return reply(turns)


def _end(label: str) -> str:
    """What tells responses apart in a name: the "2" of response-2, the "b" of "Option B" or of "B"."""
    found = _ENDED.fullmatch(label.strip())
    return (found[1] or found[2]).lower() if found else ""


def ending(name: str) -> str:
    """The number or letter that a field's name ends in, after whatever words."""
    found = re.fullmatch(r"(?i).*?(?:(\d+)|[-_. ]([a-z]))", name.strip())
    return (found[1] or found[2]).lower() if found else ""
