"""A text as an element of a page that is written on the server: as annotators see it, with the same sanitiser."""

from pathlib import Path

from markupsafe import Markup

from labeling_ui.markdown.render import to_html
from labeling_ui.markdown.word_differences import marked, marked_html

STYLE = Path(__file__).with_name("rendered.css")
"""What such a page needs beside its own style sheet."""


def block(text: str, other: str | None = None, *, kind: str = "") -> Markup:
    """The text in a `<div>` of the classes `text` and `kind`, rendered, or as it was written where it cannot be.

    With `other`, the words that it does not say are in `<mark>`.
    """
    html = to_html(text)
    if html is None:
        words = text if other is None else marked(text, other)
        return Markup('<div class="text {}" dir="auto">{}</div>').format(kind, words)
    compared = None if other is None else to_html(other)
    shown = html if compared is None else marked_html(html, compared)
    return Markup('<div class="text rendered {}" dir="auto">{}</div>').format(kind, Markup(shown))
