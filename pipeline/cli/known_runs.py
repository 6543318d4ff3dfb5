"""Whether a folder holds a run, and which runs are near: so that a mistyped path is named, and makes no new one."""

import difflib
import re
import shlex
from pathlib import Path

from foundation.errors import UserError

_SIGNS = ("config.yaml", "labels.db", ".lock", "round-[0-9][0-9][0-9]")
_NAMED = 5
_COMMAND = re.compile(r"`rlhf ([a-z][^`]*)`")
_WITHOUT_RUN = ("doctor", "play", "score", "evaluate-reward", "merge")
_GROUPS = ("users", "labels", "keys")


def check_known(path: Path) -> None:
    """A `UserError` unless there is a run in `path`; an empty folder may become one."""
    if path.is_dir() and (_holds_run(path) or not any(path.iterdir())):
        return
    near = runs_near(path)
    there = f"Runs that are near: {', '.join(near)}." if near else f"There is none in {path.parent} either."
    raise UserError(
        f"there is no run in {path}. {there} Name one by --run, or begin one: "
        + with_run("`rlhf loop`, `rlhf collect` and `rlhf import --format FORMAT FILE` do.", path)
    )


def with_run(message: str, path: Path) -> str:
    """The message with `--run` in every command in backticks that works on a run, so that it can be typed as it is.

    Most of the project knows no run: a label store, say, names `rlhf collect` alone.
    """

    def command(found: re.Match[str]) -> str:
        words = found[1].split()
        if words[0] in _WITHOUT_RUN or {"--run", "--help"} & set(words) or (words[0] in _GROUPS and len(words) == 1):
            return found[0]
        return f"`rlhf {found[1]} --run {shlex.quote(str(path))}`"

    return _COMMAND.sub(command, message)


def runs_near(path: Path) -> list[str]:
    """Paths of runs beside `path`, and inside it; those with similar names first."""
    beside = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
    inside = sorted(path.iterdir()) if path.is_dir() else []
    found = [each for each in (*inside, *beside) if each.is_dir() and _holds_run(each)]
    similar = difflib.get_close_matches(path.name, [each.name for each in found], n=_NAMED, cutoff=0.6)
    ordered = sorted(found, key=lambda each: similar.index(each.name) if each.name in similar else _NAMED)
    return [str(each) for each in ordered[:_NAMED]]


def _holds_run(folder: Path) -> bool:
    return any(next(folder.glob(sign), None) for sign in _SIGNS)
