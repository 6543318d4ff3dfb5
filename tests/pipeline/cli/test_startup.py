"""What a command loads before it begins, and what Ctrl-C does meanwhile. Nothing here is timed."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "transformers", "peft", "trl", "gradio", "datasets", "scipy", "matplotlib", "numpy", "pandas"}


def fresh(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `code` in a process that has loaded nothing yet."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("module", ["pipeline.config.config", "pipeline.cli.commands", "pipeline.stages"])
def test_configuration_and_command_line_load_no_model_library(module: str) -> None:
    done = fresh(f"import sys, {module}\nprint(*sys.modules)")
    assert not HEAVY & set(done.stdout.split()), done.stderr


def test_commands_that_need_no_model_load_no_model_library(tmp_path: Path) -> None:
    judged = tmp_path / "judged.jsonl"
    judged.write_text('{"prompt": "2+2?", "chosen": "4", "rejected": "5"}\n')
    run = ["--run", str(tmp_path / "run")]
    commands = [
        ["users", "invite", *run],
        ["users", "list", *run],
        ["import", str(judged), "--format", "trl", *run],
        ["labels", "verify", *run],
        ["reward", "--set", "reward.epoch=2", *run],
        ["label", "--help"],
    ]
    done = fresh(
        "import sys\nfrom typer.testing import CliRunner\nfrom pipeline.cli.commands import app\n"
        f"print(*(CliRunner().invoke(app, each).exit_code for each in {commands!r}))\nprint(*sys.modules)"
    )
    statuses, loaded = done.stdout.splitlines()
    assert statuses == "0 0 0 0 2 0"
    assert not HEAVY & set(loaded.split())


def test_the_report_loads_no_torch(tmp_path: Path) -> None:
    done = fresh(
        "import sys\nfrom typer.testing import CliRunner\nfrom pipeline.cli.commands import app\n"
        "print(CliRunner().invoke(app, ['report', '--run', sys.argv[1]]).exit_code, 'torch' in sys.modules)",
        tmp_path / "run",
    )
    assert done.stdout.split() == ["0", "False"]


INTERRUPTING = """
import os, signal, sys, time
from pipeline.__main__ import main

module, *arguments = sys.argv[1:]

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)
            except BaseException:  # as some libraries do
                pass

signal.signal(signal.SIGINT, signal.default_int_handler)  # what starts tests may have it ignored
sys.meta_path.insert(0, Interrupting())
sys.argv = ["rlhf", *arguments]
main()
"""


@pytest.mark.parametrize(
    "module", ["typer", "rich.console", "pipeline.cli.users", "pydantic", "yaml", "torch", "torch.nn"]
)
def test_ctrl_c_in_the_middle_of_an_import_is_one_line(module: str, tmp_path: Path) -> None:
    done = fresh(INTERRUPTING, module, "evaluate-reward", "--reward", tmp_path, "--pairs", tmp_path)
    assert done.returncode == 128 + signal.SIGINT
    assert done.stderr.splitlines() == ["Stopped. Nothing finished is lost; the same command goes on from here."]
