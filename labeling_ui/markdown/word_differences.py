"""Which words of two responses differ, marked for the eye: as they were written, or as they were rendered."""

import re
from collections import defaultdict
from collections.abc import Sequence

from markupsafe import Markup, escape

from labeling_ui.markdown.sanitise import sanitised

_FORMULA = r"<math\b.*?</math>"
_TAG = r"""<(?:[^<>"']|"[^"]*"|'[^']*')*>"""
# Of escaped text: an entity is one mark, and a formula one word.
_PIECES = re.compile(rf"{_FORMULA}|{_TAG}|&#?\w+;|\s+|\w+|[^\w\s]", re.DOTALL)
_MOST = 5_000
"""Words of a response beyond which nothing is marked."""
_ALIKE = 0.5
"""The share of both texts' words that they have to have in common for the others to be worth a mark."""


def marked(text: str, other: str) -> Markup:
    """`text`, escaped, with what is not in `other` in `<mark>`; without marks where most of it differs anyway."""
    return Markup(_marked(str(escape(text)), str(escape(other))))


def marked_html(html: str, other: str) -> str:
    """As `marked`, of two texts that were rendered (`render.to_html`). Sanitised again."""
    return sanitised(_marked(html, other))


def _marked(html: str, other: str) -> str:
    pieces, others = _PIECES.findall(html), _PIECES.findall(other)
    differing = iter(_differing(*([one for one in each if _is_word(one)] for each in (pieces, others))))
    parts: list[str] = []
    for piece in pieces:
        if not _is_word(piece) or not next(differing):
            parts.append(piece)
        elif len(parts) > 1 and parts[-1].isspace() and parts[-2].endswith("</mark>"):  # one mark for neighbours
            space, before = parts.pop(), parts.pop().removesuffix("</mark>")
            parts.append(f"{before}{space}{piece}</mark>")
        elif parts and parts[-1].endswith("</mark>"):
            parts.append(f"{parts.pop().removesuffix('</mark>')}{piece}</mark>")
        else:
            parts.append(f"<mark>{piece}</mark>")
    return "".join(parts)


def _is_word(piece: str) -> bool:
    """Whether it is a word, a punctuation mark or a formula, and neither a space nor a tag."""
    return not piece.isspace() and (not piece.startswith("<") or piece.startswith("<math"))


def _differing(words: Sequence[str], others: Sequence[str]) -> list[bool]:
    """Whether each word is out of the longest common subsequence; False for all where there are too many, or most are.

    Hyyrö's bit vectors (2004): a row a word of `others`, in which bit j is 0 where the length grows at word j. Their
    work grows with the product of both lengths as well, at a machine word for 30 words, whatever the texts are.
    """
    same = [False] * len(words)
    if not words or max(len(words), len(others)) > _MOST:
        return same
    places: dict[str, int] = defaultdict(int)
    for place, word in enumerate(words):
        places[word] |= 1 << place
    whole = (1 << len(words)) - 1
    row, rows = whole, []
    for word in others:
        shared = row & places.get(word, 0)
        row = ((row + shared) | (row - shared)) & whole
        rows.append(row)
    differs = [True] * len(words)
    at, place = len(others), len(words)
    while at and place:
        if rows[at - 1] >> (place - 1) & 1:
            place -= 1
            continue
        at -= 1
        if not at or rows[at - 1] >> (place - 1) & 1:
            place -= 1
            differs[place] = False
    common = differs.count(False)
    return differs if 2 * common >= _ALIKE * (len(words) + len(others)) else same
