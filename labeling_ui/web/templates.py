"""Pages written on the server: HTML from `static/*.html`, in which every inserted text is escaped."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from labeling_ui.markdown.block import block

STATIC = Path(__file__).with_name("static")


def _interval(figure: Any) -> str:
    """A share with its 95% interval, in per cent; a dash if there are no cases."""
    if figure is None or figure.value is None:
        return "–"
    return f"{100 * figure.value:.0f}% ({100 * figure.low:.0f} to {100 * figure.high:.0f})"


_environment = Environment(
    loader=FileSystemLoader(STATIC), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_environment.filters["interval"] = _interval
_environment.filters["block"] = block


def render(name: str, **values: Any) -> str:
    """The page `name` with its values filled in; a value that is missing is an error."""
    return _environment.get_template(name).render(values)
