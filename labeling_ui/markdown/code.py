"""Code with highlighting: spans with Pygments' short classes, which the page's style sheet colours."""

from markupsafe import escape
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

LONGEST = 5_000
"""Characters of a text beyond which code is shown plain: a lexer may take a time that grows with their square."""


def highlighted(code: str, language: str) -> str:
    """The code as HTML without `<pre>`; plain where its language is not named or not known."""
    try:
        if len(code) > LONGEST or not language:
            raise ClassNotFound
        lexer = get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        return str(escape(code))
    return str(highlight(code, lexer, HtmlFormatter(nowrap=True)))
