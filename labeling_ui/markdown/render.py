"""Text of people and models as HTML: CommonMark with tables, code with highlighting, LaTeX as MathML.

Nothing that is written can run, load or leave the page: HTML is shown as text, images as their description, links as
their text and their address. Whatever was made of a text goes through `sanitise.py` last. A text that is too long, or a
formula that cannot be read, is shown as it was written.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any
from unicodedata import bidirectional

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from markupsafe import escape
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.texmath import texmath_plugin

from labeling_ui.markdown.code import LONGEST as LONGEST_CODE
from labeling_ui.markdown.code import highlighted
from labeling_ui.markdown.formula import mathml
from labeling_ui.markdown.sanitise import sanitised

LONGEST = 40_000
"""Characters beyond which a text is shown as it was written: rendering it would keep everybody waiting."""
LARGEST = 1_000_000
"""Characters of HTML beyond which it is not sent: a table may have many more cells than its text has characters."""
KEPT = 2_000
"""Texts whose rendering is remembered."""
_SEARCHES = 100_000_000
"""Openings of `\\(` and `\\[` times characters: for each, the end is searched to the end of the text."""
_BLOCKS = ("paragraph_open", "heading_open", "td_open", "th_open")
_BOXES = ("bullet_list_open", "ordered_list_open", "list_item_open", "blockquote_open", "table_open")


@lru_cache(KEPT)
def to_html(text: str) -> str | None:
    """The text as safe HTML; None where it is to be shown as it was written.

    Each paragraph, heading and cell has the direction of its own first letter (`dir="auto"`), and so have lists, their
    items, quotes and tables: their marks and columns begin on that side.
    """
    if len(text) > LONGEST or "\0" in text or not _is_unicode(text):
        return None
    if (text.count("\\(") + text.count("\\[")) * len(text) > _SEARCHES:
        return None
    html = sanitised(parser().render(text))
    return html if len(html) <= LARGEST else None


@lru_cache(1)
def parser() -> MarkdownIt:
    """What reads the Markdown, and writes HTML that is not yet sanitised."""
    found = MarkdownIt("commonmark", {"html": False, "linkify": False, "typographer": False, "breaks": True})
    found.enable(["table", "strikethrough"])
    found.use(dollarmath_plugin, allow_labels=False, allow_space=False, allow_digits=False, double_inline=True)
    found.use(texmath_plugin, delimiters="brackets")
    found.core.ruler.push("direction", _set_direction)
    for name, rule in _RULES.items():
        found.add_render_rule(name, rule)
    return found


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can carry
        return False
    return True


_ALIGNED = {f"text-align:{side}": side for side in ("left", "center", "right")}


def _set_direction(state: Any) -> None:
    """HTML's "auto" passes over elements that have a direction themselves: what holds such gets the word itself."""
    within: list[Token] = []
    for token in state.tokens:
        if token.type in _BLOCKS:
            token.attrSet("dir", "auto")
        if side := _ALIGNED.get(str(token.attrs.pop("style", ""))):
            token.attrSet("align", side)
        if token.nesting == 1:
            within.append(token)
        elif token.nesting == -1:
            within.pop()
        elif token.type == "inline" and (direction := _direction(token.content)):
            for box in within:
                if box.type in _BOXES and "dir" not in box.attrs:
                    box.attrSet("dir", direction)


def _direction(text: str) -> str | None:
    """The direction of the first letter that has one."""
    for letter in text:
        kind = bidirectional(letter)
        if kind in ("L", "R", "AL"):
            return "ltr" if kind == "L" else "rtl"
    return None


Rule = Callable[[RendererHTML, Sequence[Token], int, OptionsDict, Any], str]


def _image(renderer: RendererHTML, tokens: Sequence[Token], at: int, options: OptionsDict, env: Any) -> str:
    described = renderer.renderInlineAsText(tokens[at].children or [], options, env)
    return f'<span class="image">{escape(described)}{_address(tokens[at].attrGet("src"))}</span>'


def _link_open(renderer: RendererHTML, tokens: Sequence[Token], at: int, options: OptionsDict, env: Any) -> str:
    return '<span class="link">'


def _link_close(renderer: RendererHTML, tokens: Sequence[Token], at: int, options: OptionsDict, env: Any) -> str:
    level, opened = 0, None
    for token in reversed(tokens[: at + 1]):
        level += (token.type == "link_close") - (token.type == "link_open")
        if level == 0:
            opened = token
            break
    return f"</span>{_address(opened.attrGet('href') if opened else None)}"


def _fence(renderer: RendererHTML, tokens: Sequence[Token], at: int, options: OptionsDict, env: Any) -> str:
    language = tokens[at].info.strip().split()[:1]
    before = sum(len(token.content) for token in tokens[:at] if token.type == "fence") if language else 0
    named = language[0] if language and before + len(tokens[at].content) <= LONGEST_CODE else ""
    return f"<pre><code>{highlighted(tokens[at].content, named)}</code></pre>\n"


def _inline_formula(renderer: RendererHTML, tokens: Sequence[Token], at: int, options: OptionsDict, env: Any) -> str:
    return mathml(tokens[at].content)


def _block_formula(renderer: RendererHTML, tokens: Sequence[Token], at: int, options: OptionsDict, env: Any) -> str:
    return f'<div class="formula">{mathml(tokens[at].content, block=True)}</div>\n'


def _address(url: str | int | float | None) -> str:
    return f' <span class="address">({escape(str(url))})</span>' if url else ""


# `add_render_rule` binds each to the renderer.
_RULES: dict[str, Rule] = {
    "image": _image,
    "link_open": _link_open,
    "link_close": _link_close,
    "fence": _fence,
    "code_block": _fence,
    "math_inline": _inline_formula,
    "math_inline_double": _block_formula,
    "math_single": _inline_formula,
    "math_block": _block_formula,
}
