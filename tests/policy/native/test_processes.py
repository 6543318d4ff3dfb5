"""Two processes do what one does with the same global batch, with all that a step can carry over to the next.

The simplest algorithm, killed in the middle, is in `tests/pipeline/cli/test_launched_processes.py`, by the command.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from backbone.adapter_folder import WEIGHTS
from policy.training_log import LOG, MACHINE_METRICS
from tests.policy.tiny_run import CONFIG, EVERYTHING, run

# Largest differences seen: 5e-7 in the adapter, 1.1e-6 in the loss, from the order in which gradients are summed.
TOLERANCE = 1e-5

# accelerate 1.15 starts a single process for `--cpu --num_processes 2`, silently. With `--multi_gpu` it starts
# as many as it is told to, and with ACCELERATE_USE_CPU they compute on the CPU.
LAUNCH = "accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no"
REST = "--dynamo_backend no --main_process_port 0"


def _launch(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *LAUNCH.split(), *REST.split(), "-m", "tests.policy.tiny_run", *arguments]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)


def test_two_processes_make_what_one_makes(tiny_model: Path, tmp_path: Path) -> None:
    run(tiny_model, tmp_path / "one", CONFIG.model_copy(update=EVERYTHING))
    told = [f"{name}={json.dumps(value)}" for name, value in EVERYTHING.items()]
    launched = _launch(str(tiny_model), str(tmp_path / "two"), *told)
    assert launched.returncode == 0, launched.stderr
    assert sorted(re.findall(r"process (\d of \d)", launched.stdout)) == ["0 of 2", "1 of 2"]
    one, two = (load_file(tmp_path / name / WEIGHTS) for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert (value - two[name]).abs().max() <= TOLERANCE, name
    logs = [[json.loads(line) for line in (tmp_path / name / LOG).read_text().splitlines()] for name in ("one", "two")]
    for ours, theirs in zip(*logs, strict=True):
        for name in ours:
            if not name.startswith(MACHINE_METRICS):
                assert ours[name] == pytest.approx(theirs[name], abs=TOLERANCE), name
