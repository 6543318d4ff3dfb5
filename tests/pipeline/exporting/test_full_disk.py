"""A disk that fills up in the middle of an export leaves nothing half-written, and says what to do."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_documentation import ROOT

FILL_UP = """
import json, os, shutil, sys
from pathlib import Path
from tests.pipeline.bad_input.refusing import refused
from typer.testing import CliRunner
from pipeline.cli.commands import app

disk, settings = Path(sys.argv[1]), json.loads(sys.argv[3])
run = shutil.copytree(sys.argv[2], disk / "run")
set_ = [part for each in settings for part in ("--set", each)]
ways = {to: ["--to", to, "--out", disk / "out", "--dtype", "float32"] for to in ("merged", "gguf", "ollama")}
ways["hub"] = ["--to", "hub", "--repo", "a/b", "--dry-run"]
for part in ("adapter", "merged", "reward", "labels"):
    ways["hub"] += ["--part", part]
merge = ["merge", run / "round-000" / "reward", disk / "out", "--dtype", "float32"]
commands = {to: ["export", "--run", run, *way, *set_] for to, way in ways.items()} | {"merge": merge}
assert CliRunner().invoke(app, [str(each) for each in ["export", "--run", run, *set_]]).exit_code == 0
before = sorted(disk.rglob("*"))
for name, command in commands.items():
    for left in (16, 64, 112):  # KiB; every one of these needs more
        with (disk / "filler").open("wb") as filler:
            free = os.statvfs(disk)
            filler.write(bytes(free.f_bavail * free.f_frsize - (left << 10)))
        said = refused(*command)
        (disk / "filler").unlink()
        print(name, left, said)
        assert "No space left" in said or "disk is full" in said or "free some space" in said, said
        assert sorted(disk.rglob("*")) == before, (name, left)
    found = CliRunner().invoke(app, [str(each) for each in command])
    assert found.exit_code == 0, found.output
    shutil.rmtree(disk / "out", ignore_errors=True)
"""


def test_a_disk_that_fills_up_leaves_nothing_half_written(
    finished: Path, tiny_settings: list[str], tmp_path: Path
) -> None:
    # A real disk of 8 MiB, in a mount namespace that ends with the process.
    mount = f"mount -t tmpfs -o size=8m tmpfs {tmp_path}"
    if subprocess.run(["unshare", "--mount", "sh", "-c", mount], capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    settings = [*tiny_settings, "export.base=a/base", "export.license=mit", "export.labels_license=mit"]
    script = f'{mount} && exec "$0" -c "$1" {tmp_path} {finished} "$2"'
    command = ["unshare", "--mount", "sh", "-c", script, sys.executable, FILL_UP, json.dumps(settings)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
