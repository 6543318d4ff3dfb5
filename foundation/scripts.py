"""Words in scripts with spaces between them and in scripts without."""

from os.path import commonprefix

import regex

UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}ー\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts that are written without spaces, as it stands in a character class; the long mark of kana is of no script."""

_APART = regex.compile(rf"[{UNSPACED}]|[[\u3000-\u303f\uff00-\uff65]&&\p{{P}}]", regex.V1)  # and their punctuation
_MARK = regex.compile(r"\p{M}")


def shared_beginning(one: str, other: str) -> int:
    """How many letters both texts open with, back to the last place between two words.

    Such a place is behind white space, and on both sides of a letter of a script without spaces, its marks included.
    """
    shared = len(commonprefix([one, other]))  # noqa: RUF071 (characters are meant)
    return next((place for place in range(shared, 0, -1) if _between_words(one, other, place)), 0)


def _between_words(one: str, other: str, place: int) -> bool:
    before, following = one[place - 1], [text[place : place + 1] for text in (one, other)]
    if before.isspace():
        return True
    if any(map(_MARK.match, following)):
        return False
    return bool(_APART.match(before)) or all(map(_APART.match, following))
