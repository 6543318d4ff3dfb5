"""A full disk is one clear message, whichever library meets it, and other errors are left alone."""

import errno
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from pipeline.runs import disk_space
from pipeline.runs.folder import Run

FULL_DISK = """
import sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from foundation.errors import UserError
from pipeline.runs.folder import Run

def small(partial):
    (partial / "pairs.jsonl").write_text("{}")
    return {}

def big(partial):
    match sys.argv[2]:
        case "python":
            (partial / "big").write_bytes(bytes(1 << 20))
        case "torch":
            torch.save(torch.zeros(1 << 18), partial / "big.pt")
        case "safetensors":
            save_file({"w": torch.zeros(1 << 18)}, partial / "big.safetensors")
    return {}

run = Run(Path(sys.argv[1]) / "run")
run.stage("label", "pairs.jsonl", [], {}, small)
try:
    run.stage("reward", "reward", [], {}, big)
except UserError as error:
    print(error)
assert not (run.folder / "reward").exists()
assert run.stage("label", "pairs.jsonl", [], {}, big).skipped
"""


@pytest.mark.parametrize("writer", ["python", "torch", "safetensors"])
def test_a_full_disk_is_one_clear_message(tmp_path: Path, writer: str) -> None:
    # A real disk of 256 KiB, in a mount namespace that ends with the process.
    mount = f"mount -t tmpfs -o size=256k tmpfs {tmp_path}"
    if subprocess.run(["unshare", "--mount", "sh", "-c", mount], capture_output=True).returncode != 0:
        pytest.skip("mounting a tiny disk needs root")
    script = f'{mount} && exec "$0" -c "$1" {tmp_path} {writer}'
    command = ["unshare", "--mount", "sh", "-c", script, sys.executable, FULL_DISK]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "the disk is full: making" in result.stdout
    assert "Free some space" in result.stdout


def test_a_full_disk_is_recognised_behind_another_error(run: Run) -> None:
    def produce(partial: Path) -> Mapping[str, Any]:
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise ValueError("could not save") from error

    with pytest.raises(UserError, match="disk is full"):
        run.stage("reward", "reward", [], {}, produce)


def test_other_errors_keep_their_traceback(run: Run) -> None:
    def produce(partial: Path) -> Mapping[str, Any]:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        run.stage("reward", "reward", [], {}, produce)
    assert not disk_space._is_disk_full(ValueError("a bug"), run.path)
