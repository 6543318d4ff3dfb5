"""What can be seen in a response's text alone: whether it is finished, repeats itself, refuses, has the form asked for.

Rules for English prompts and responses, each a plain function of text. How likely a text is, a model says
(`likelihood.py`); what counts how much is in `guidelines.py`.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_CLOSED = re.compile(r"\S[\"')\]}”’»]$")
_TRAILING_ORNAMENT = re.compile(r"[^\w.!?…。！？,;:\-–—]+$")
_LIST_MARKER = re.compile(r"\n\W*\d+[.)]$")
_NUMBERS = {"a": 1, "one": 1, "single": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
_SENTENCES = re.compile(r"\b(a|one|single|two|three|four|five|six)[ -]sentences?\b", re.IGNORECASE)
_LIST = re.compile(r"\b(?:name|list|list of|give me) (one|two|three|four|five|six) (?!sentences?\b)", re.IGNORECASE)
_BREAK = re.compile(r"[.!?]+[\"')\]”’*]*\s+(?=[\"'(“‘*]*[A-Z0-9])")
_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+\S", re.MULTILINE)
_REFUSAL = re.compile(
    r"\b(?:as an? (?:ai|assistant|language model)|(?:ai|language) model|ai assistant|hugging face|smollm"
    r"|i(?:'m| am) (?:sorry|unable|not able|not sure|not here|just an?)"
    r"|i (?:can't|cannot|don't|do not|won't) (?:help|provide|answer|recommend|assist|have|know|feel)"
    r"|it(?:'s| is) (?:not possible|impossible)|there is no (?:answer|way))",
    re.IGNORECASE,
)
_COMMON = frozenset(
    _WORD.findall(
        "the and for are was were has have had not but you your our their its his her she they them this that "
        "these those with from into than then there here what which when where who why how does did can could "
        "will would should may one two three answer sentence please tell give write name list explain "
        "describe word mean used use people all also any about more most some such very just only often being "
        "been other each"
    )
)


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return _WORD.findall(text.lower())


def is_finished(text: str) -> bool:
    """Whether the text ends where a writer would stop, not in mid-sentence, in a list's number or in open code."""
    text = text.rstrip()
    if text.count("```") % 2 or _LIST_MARKER.search(_TRAILING_ORNAMENT.sub("", text)):
        return False
    if text.endswith("```") or _CLOSED.search(text):
        return True
    return _TRAILING_ORNAMENT.sub("", text).endswith((".", "!", "?", "…", "。", "！", "？"))


def repeated_share(words: Sequence[str]) -> float:
    """Share of pairs of neighbouring words that already came before: near 0 in ordinary prose, near 1 in a loop."""
    neighbours = list(pairwise(words))
    return 1 - len(set(neighbours)) / len(neighbours) if neighbours else 0.0


def repeated_content(words: Sequence[str]) -> float:
    """Share of the words that carry the content that already came before."""
    telling = [word for word in words if is_telling(word)]
    return 1 - len(set(telling)) / len(telling) if telling else 0.0


def new_content(prompt_words: Sequence[str], response_words: Sequence[str]) -> int:
    """How many different words that carry content the response has besides those of the prompt."""
    return len({word for word in response_words if is_telling(word)} - set(prompt_words))


def is_telling(word: str) -> bool:
    """Whether a word carries content: three letters or more, and none of the commonest, nor of a request's form."""
    return len(word) >= 3 and word not in _COMMON


def refuses(text: str) -> bool:
    """Whether the response declines, denies that an answer is possible, or speaks of itself as a model."""
    return bool(_REFUSAL.search(text.replace("’", "'")))


def has_form_asked(prompt: str, response: str) -> bool:
    """Whether there are as many sentences, or items of a list, as the prompt asks for; true if it asks for neither."""
    if asked := _SENTENCES.search(prompt):
        return "\n" not in response.strip() and sentences(response) == _NUMBERS[asked[1].lower()]
    if asked := _LIST.search(prompt):
        return items(response) == _NUMBERS[asked[1].lower()]
    return True


def sentences(text: str) -> int:
    """How many sentences, at least one: a mark at the end, white space, and a capital or number make the next one."""
    return 1 + len(_BREAK.findall(text.strip()))


def items(text: str) -> int:
    """How many items: marked lines if there are any, lines if there are several, else what commas and "and" part."""
    if marked := len(_ITEM.findall(text)):
        return marked
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1:
        return len(lines)
    return len([part for part in re.split(r",\s*(?:and\s+|or\s+)?|\s+and\s+", text) if part.strip()])
