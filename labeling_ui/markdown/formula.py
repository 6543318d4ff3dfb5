"""LaTeX as MathML, which browsers draw by themselves."""

from latex2mathml.converter import convert
from markupsafe import escape

LONGEST, DEEPEST = 1_000, 20
"""Characters, and braces within braces, beyond which a formula is shown as it was written."""


def mathml(source: str, *, block: bool = False) -> str:
    """The formula as a `<math>` element; as code where it cannot be read."""
    as_written = f"<code>{escape(source)}</code>"
    if len(source) > LONGEST or _depth(source) > DEEPEST:
        return as_written
    try:
        return str(convert(source, display="block" if block else "inline"))
    except Exception:  # a parser of somebody else's, which may raise anything on what was never LaTeX
        return as_written


def _depth(source: str) -> int:
    depth = deepest = 0
    for character in source:
        depth += (character == "{") - (character == "}")
        deepest = max(deepest, depth)
    return deepest + source.count("\\left") // 2
