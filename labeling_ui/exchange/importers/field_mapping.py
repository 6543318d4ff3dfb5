"""Which field of an annotation tool's record is the prompt, which are responses, and what an answer says of them.

Argilla and Label Studio let each team name fields and questions, and their exports carry no configuration. So names
and the shapes of values decide: `response1`, `answer_b`, `completion-2`, `generation-0` or `chosen` are responses;
`prompt`, `instruction`, `question`, `messages` and the like are the prompt. A record that cannot be told is refused.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from labeling_ui.data_model import Answer, Message
from labeling_ui.exchange.importers.judged_items import Refused, asked, tidy

_RESPONSE = re.compile(
    r"(?i)(?:response|completion|generation|answer|output|reply|option|candidate)s?[-_. ]?(\d+|[a-z])?"
    r"|text[-_. ]?(\d+|[a-z])"
)
_PROMPTS = ("prompt", "instruction", "question", "query", "input", "messages", "conversation", "dialogue", "chat")
_ROLES = {"human": "user", "prompter": "user", "bot": "assistant", "ai": "assistant", "gpt": "assistant"}
_TIES = {"tie", "equal", "same", "both", "bothgood", "botharegood", "equallygood", "nopreference"}
_BOTH_BAD = {"bothbad", "botharebad", "tiebothbad", "neither", "none", "noneofthem"}


def conversation(fields: Mapping[str, Any]) -> tuple[Message, ...]:
    """The prompt among the fields; a `context` follows it."""
    name = next((name for name in _PROMPTS if fields.get(name)), None)
    if name is None:
        raise Refused(f"none of its fields is a prompt: expected one of {', '.join(_PROMPTS)}")
    said = fields[name]
    if isinstance(said, list):
        return tidy(_turn(turn) for turn in said)
    if not isinstance(said, str):
        raise Refused(f'the field "{name}" is neither text nor a conversation')
    context = fields.get("context")
    return asked(f"{said.strip()}\n\n{context.strip()}" if isinstance(context, str) and context.strip() else said)


def responses(fields: Mapping[str, Any]) -> dict[str, str]:
    """The responses by the names of their fields, in the record's order."""
    found = {name: text for name, text in fields.items() if isinstance(text, str) and _RESPONSE.fullmatch(name)}
    if not found:
        raise Refused("none of its fields is a response: expected response1, answer_b or the like")
    return found


def answers(said: Iterable[tuple[str, Any]], names: Sequence[str]) -> list[Answer]:
    """One annotator's values by question, as answers about the responses of these names.

    A number rates, a list ranks, and a text names the better response, says that there is none, or is a rationale.
    """
    given: list[Answer] = []
    ratings: dict[str, dict[str, int]] = {}
    texts: list[str] = []
    for question, value in said:
        if isinstance(value, bool) or value is None:
            continue
        if isinstance(value, int | float):
            aspect, place = _rated(question, names)
            ratings.setdefault(aspect, {})[str(place)] = _whole(value)
        elif isinstance(value, list | dict):
            given.append(Answer("ranked", ranking=_ranking(value, names)))
        else:
            answer = _choice(str(value), names)
            given += [answer] if answer else []
            texts += [] if answer else [str(value)]
    if ratings:
        given.append(Answer("rated", ratings=ratings))
    if not given and texts:
        raise Refused(f"the answer {texts[0][:40]!r} names none of the responses ({', '.join(names)})")
    rationale = "\n\n".join(texts)
    return [Answer(a.verdict, a.winner, a.strength, a.ranking, a.ratings, rationale=rationale) for a in given]


def place_of(label: str, names: Sequence[str]) -> int | None:
    """Which response a label means: by its name, or by the number or letter that both end in."""
    plain = _plain(label)
    if plain in (tidied := [_plain(name) for name in names]):
        return tidied.index(plain)
    if len(names) == 2 and plain in ("left", "right"):
        return int(plain == "right")
    ends = [_end(name) for name in names]
    return ends.index(end) if (end := _end(label)) and ends.count(end) == 1 else None


def _choice(label: str, names: Sequence[str]) -> Answer | None:
    if _plain(label) in _TIES:
        return Answer("tie")
    if _plain(label) in _BOTH_BAD:
        return Answer("both_bad")
    place = place_of(label, names) if len(names) == 2 else None
    return None if place is None else Answer("preferred", winner=str(place))


def _ranking(value: Any, names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Groups of equals, best first, out of `[{"value", "rank"}]`, `{"value": [], "rank": []}` or names in order."""
    if isinstance(value, dict):
        value = [{"value": name, "rank": rank} for name, rank in zip(*_columns(value), strict=True)]
    ranked: dict[float, list[str]] = {}
    for position, entry in enumerate(value):
        label, rank = (entry.get("value"), entry.get("rank")) if isinstance(entry, dict) else (entry, position)
        if rank is None:
            continue  # this response was left out of the ranking
        place = place_of(str(label), names)
        if place is None or not isinstance(rank, int | float):
            raise Refused(f"the ranking names {str(label)[:40]!r}, which is none of the responses ({', '.join(names)})")
        ranked.setdefault(rank, []).append(str(place))
    placed = [place for group in ranked.values() for place in group]
    if len(placed) < 2 or len(set(placed)) < len(placed):
        raise Refused("the ranking does not order two different responses")
    return tuple(tuple(ranked[rank]) for rank in sorted(ranked))


def _columns(value: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    names, ranks = value.get("value"), value.get("rank")
    if not isinstance(names, list) or not isinstance(ranks, list) or len(names) != len(ranks):
        raise Refused("the ranking has not one rank for each value")
    return names, ranks


def _rated(question: str, names: Sequence[str]) -> tuple[str, int]:
    """The aspect that a rating is about, and the response: "response1-helpful" says how helpful the first is."""
    words = re.findall(r"[^-_. ]+", question)
    for length in (2, 1):
        for start in range(len(words) - length + 1):
            place = place_of(" ".join(words[start : start + length]), names)
            if place is not None:
                rest = words[:start] + words[start + length :]
                return " ".join(rest) or "rating", place
    if len(names) > 1:
        raise Refused(f'the question "{question}" does not say which of {len(names)} responses it rates')
    return question, 0


def _whole(value: int | float) -> int:
    if value != int(value):
        raise Refused(f"the rating {value} is not a whole number")
    return int(value)


def _turn(said: object) -> object:
    """A turn in the words of the chat format, whatever the tool calls its role and text."""
    if not isinstance(said, dict):
        return said
    role = str(said.get("role") or said.get("author") or said.get("from") or "").lower()
    content = said.get("content") or said.get("text") or said.get("value") or ""
    return {"role": _ROLES.get(role, role), "content": content}


def _plain(label: str) -> str:
    return re.sub(r"[\W_]", "", label).lower()


def _end(label: str) -> str:
    """What tells responses apart in a name: the "2" of response-2, the "b" of "Option B" or of "B"."""
    found = re.fullmatch(r"(?i)(?:[a-z]{2,}[-_. ]*)?(\d+)|(?:.*[-_. ])?([a-z])", label.strip())
    return (found[1] or found[2]).lower() if found else ""
