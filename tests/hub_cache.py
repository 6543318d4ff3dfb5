"""A model as the hub's client leaves it after a download, and a process that finds it there without a network."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from tests.test_documentation import ROOT


def cached_as(hub_id: str, model: Path, home: Path, commit: str = "0" * 40) -> None:
    """Put the files of `model` into the hub's cache under `home`, as if they had been fetched by this id."""
    cache = home / "hub" / f"models--{hub_id.replace('/', '--')}"
    snapshot = cache / "snapshots" / commit
    for folder in (cache / "blobs", cache / "refs", snapshot):
        folder.mkdir(parents=True)
    (cache / "refs" / "main").write_text(commit)
    for file in model.iterdir():
        blob = cache / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        blob.write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(blob)


def python_with(home: Path, code: str, *arguments: str, project: bool = False) -> str:
    """Run code in the folder `home`, whose cache of the hub it sees; without `project`, it must not import ours."""
    environment = os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    environment["PYTHONPATH"] = str(ROOT) if project else ""
    if not project:
        code += "\nimport sys\nassert not {'pipeline', 'policy', 'backbone', 'foundation'} & sys.modules.keys()\n"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=home, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
