"""How a command ends: 2 and one message for a mistake of the user's, 130 after Ctrl-C, a traceback for a bug.

All processes of a launcher end alike, and one of them says why (`launched_processes.py`). Ctrl-C before a command
begins, and while something is imported, is in `interrupts.py`.
"""

from typing import Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from foundation.errors import UserError
from pipeline.cli.interrupts import STOPPED, end_in_order
from pipeline.cli.launched_processes import together


class Commands(TyperGroup):
    """Turns the ways of stopping that are no bugs into exit statuses."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an error that is no bug ends it with a message and a status."""
        with end_in_order(), together(_tell):
            return super().invoke(ctx)


def _tell(error: BaseException) -> int | None:
    """Say why the command stops; returns its exit status, None for a bug."""
    if isinstance(error, UserError):
        complain(f"error: {error}")
        return 2
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        complain(STOPPED)
        return 130
    if show := getattr(error, "show", None):  # a mistyped option or command, whose class typer does not name
        show()
        return int(getattr(error, "exit_code", 2))
    return None


def complain(message: str) -> None:
    """Say what is wrong, on standard error."""
    Console(stderr=True).print(Text(message, style="red"), soft_wrap=True, highlight=False)
