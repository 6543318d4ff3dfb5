"""What a policy wrote while it was tuned, for the terminal: a prompt, and its responses at the checkpoints.

Prompts and responses are untrusted: nothing of them is markup, and what would control the terminal is shown as "?".
"""

import shlex
from collections.abc import Iterator
from pathlib import Path

from foundation.errors import UserError
from foundation.files import read_rows
from policy.training_log import SAMPLES


def sample_lines(folder: Path, step: int | None) -> Iterator[str]:
    """The lines to print of a round's folder, for one checkpoint's step or for all; `UserError` if there are none."""
    path = next((path for path in _places(folder) if path.is_file()), None)
    if path is None:
        raise UserError(
            f"{folder} has no samples of a policy: `rlhf policy --run {shlex.quote(str(folder.parent))}` writes them."
        )
    rows = read_rows(path)
    steps = sorted({row["step"] for row in rows})
    if step is not None and step not in steps:
        raise UserError(f"there are no samples of step {step}: there are those of {', '.join(map(str, steps))}.")
    for prompt in dict.fromkeys(row["prompt_id"] for row in rows):
        mine = [row for row in rows if row["prompt_id"] == prompt]
        yield ""
        for message in mine[0]["prompt"]:
            yield f"{message['role']}: {printable(message['content'])}"
        for row in mine:
            if step in (None, row["step"]):
                cut = "" if row["finish_reason"] == "stop" else " [cut off]"
                yield f"  step {row['step']}: {printable(row['response'])}{cut}"


def printable(text: str) -> str:
    """Untrusted text on one line, without characters that would control the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


def _places(folder: Path) -> Iterator[Path]:
    """Where the samples lie: in the policy's folder, or while it is tuned in the partial one."""
    for name in (".policy.partial", "policy"):
        yield folder / name / SAMPLES
