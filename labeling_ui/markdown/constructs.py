"""How much Markdown a text has: its headings, items, tables, quotes, code, formulas, emphasis and links."""

import re
from collections.abc import Sequence

from markdown_it.token import Token

from labeling_ui.markdown.render import LONGEST, parser

_KINDS = {
    "heading_open", "list_item_open", "blockquote_open", "table_open", "fence", "code_block", "hr", "math_block",
    "strong_open", "em_open", "s_open", "code_inline", "link_open", "image", "math_inline", "math_inline_double",
    "math_single",
}  # fmt: skip
_ANY = re.compile(r"[#*_`>|~$\[\\=]|^ *(?:[-+]|\d+[.)])|^(?: {4}|\t)", re.MULTILINE)


def constructs(text: str) -> int | None:
    """How many there are; None for a text so long that it is never rendered."""
    if len(text) > LONGEST:
        return None
    return _count(parser().parse(text)) if _ANY.search(text) else 0


def _count(tokens: Sequence[Token]) -> int:
    return sum((token.type in _KINDS) + _count(token.children or ()) for token in tokens)
