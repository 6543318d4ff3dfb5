"""Two processes do what one does with the same global batch, with all that a step can carry over to the next.

The simplest algorithm, killed in the middle, is in `tests/pipeline/cli/test_launched_processes.py`, by the command.
"""

import json
import re
from pathlib import Path

import pytest
from safetensors.torch import load_file

from backbone.adapter_folder import WEIGHTS
from policy.training_log import LOG, MACHINE_METRICS
from tests.policy.tiny_run import CONFIG, EVERYTHING, main, run
from tests.suite import forked

# Largest differences seen: 5e-7 in the adapter, 1.1e-6 in the loss, from the order in which gradients are summed.
TOLERANCE = 1e-5


def test_two_processes_make_what_one_makes(tiny_model: Path, tmp_path: Path) -> None:
    run(tiny_model, tmp_path / "one", CONFIG.model_copy(update=EVERYTHING))
    told = [f"{name}={json.dumps(value)}" for name, value in EVERYTHING.items()]
    logs = [tmp_path / "printed-0", tmp_path / "printed-1"]
    statuses = forked.run_two(main, str(tiny_model), str(tmp_path / "two"), *told, logs=logs)
    printed = [log.read_text() for log in logs]
    assert statuses == [0, 0], printed
    assert [re.findall(r"process (\d of \d)", each) for each in printed] == [["0 of 2"], ["1 of 2"]]
    one, two = (load_file(tmp_path / name / WEIGHTS) for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert (value - two[name]).abs().max() <= TOLERANCE, name
    logs = [[json.loads(line) for line in (tmp_path / name / LOG).read_text().splitlines()] for name in ("one", "two")]
    for ours, theirs in zip(*logs, strict=True):
        for name in ours:
            if not name.startswith(MACHINE_METRICS):
                assert ours[name] == pytest.approx(theirs[name], abs=TOLERANCE), name
