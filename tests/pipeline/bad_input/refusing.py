"""Bad input on the command line: one clear message, exit status 2, and nothing that was made is lost.

Each package tests its own messages; in this folder the whole way from the command to its exit status is walked.
Unknown fields and a run without labels are in `cli/test_commands.py`, full disks in `runs/test_disk_space.py`.
"""

from pathlib import Path

from typer.testing import CliRunner

from foundation.files import sha256_of
from pipeline.cli.commands import app

ADAPTER = "adapter_model.safetensors"
MADE = ("prompts.jsonl", "candidates.jsonl", "preferences.jsonl", "reward", "policy", "evaluation.json", "export")
CPU = ["dtype=float32", "device=cpu"]


def refused(*arguments: str | Path, overrides: list[str] | None = None) -> str:
    """The message of a command that must end with status 2."""
    set_ = [part for each in overrides or [] for part in ("--set", each)]
    result = CliRunner().invoke(app, [str(each) for each in (*arguments, *set_)])
    assert result.exit_code == 2, (result.output, result.exception)
    assert "Traceback" not in result.output
    message = result.stderr
    assert message.startswith("error: ")
    assert "\nerror: " not in message  # a library's own words may have another one within the line
    return message


def hashes(run: Path) -> dict[str, str]:
    return {name: sha256_of(run / "round-000" / name) for name in MADE if (run / "round-000" / name).exists()}
