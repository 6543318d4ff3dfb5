"""Two commands at once on one run: the second is refused, unless it is the same command."""

import subprocess
import sys
from pathlib import Path

import pytest

from foundation.errors import UserError
from pipeline.runs.folder import Run
from tests.pipeline.runs.outputs import write_pairs


def test_a_second_command_on_the_same_run_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "runs" / "mine"
    holder = (
        "import sys; from pathlib import Path; from pipeline.runs.folder import Run\n"
        "with Run(Path(sys.argv[1])).lock(): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", holder, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=rf"in use by .*process {process.pid}"):
            Run(root).stage("label", "pairs.jsonl", [], {}, write_pairs)
        process.kill()
    Run(root).stage("label", "pairs.jsonl", [], {}, write_pairs)


def test_a_command_may_hold_the_lock_around_its_stages(run: Run) -> None:
    with run.lock():
        run.stage("label", "pairs.jsonl", [], {}, write_pairs)
        run.at(1).stage("label", "pairs.jsonl", [], {}, write_pairs)
