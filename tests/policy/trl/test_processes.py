"""TRL's trainers in two processes, started with the shipped accelerate configurations."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from backbone.adapter_folder import WEIGHTS
from tests.policy.tiny_run import load_base
from tests.policy.trl.trl_run import TRL, OnTheBase

CONFIGS = Path(__file__).parents[3] / "configs" / "accelerate"


def launch(config: str, *arguments: str | Path) -> str:
    """What two processes print, on the CPU, whatever the configuration says of GPUs."""
    options = ["--config_file", str(CONFIGS / f"{config}.yaml"), "--num_processes", "2", "--main_process_port", "0"]
    command = [sys.executable, "-m", "accelerate.commands.launch", *options, "-m", "tests.policy.trl.trl_run"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | ({"ACCELERATE_USE_CPU": "true"} if config == "ddp" else {})
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False, env=environment, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="the configurations would use the GPUs")
@pytest.mark.parametrize("config", ["ddp", "fsdp2"])
def test_two_processes_share_the_work_and_score_on_the_shared_base(
    tiny_model: Path, tmp_path: Path, config: str
) -> None:
    shown = launch(config, tiny_model, tmp_path)
    shards = re.findall(r"process \d of 2, (\d+) sharded", shown)
    assert len(shards) == 2
    assert all((int(count) > 0) == (config == "fsdp2") for count in shards)

    asked = [json.loads((tmp_path / f"asked-{process}.json").read_text()) for process in (0, 1)]
    half = TRL.prompts_per_step // 2 * TRL.group
    for step in range(TRL.steps):
        prompts = [[tuple(row[0]) for row in each[step * half : (step + 1) * half]] for each in asked]
        assert not set(prompts[0]) & set(prompts[1])
        assert len({*prompts[0], *prompts[1]}) == TRL.prompts_per_step
    scorer = OnTheBase(load_base(tiny_model))
    for each in asked:  # what a sharded base says is what a whole one says
        again = scorer.score([prompt for prompt, _, _ in each], [response for _, response, _ in each])
        torch.testing.assert_close(again, torch.tensor([score for _, _, score in each]), atol=1e-4, rtol=0)

    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == [1, 2, 3]
    first = [score for each in asked for _, _, score in each[:half]]
    assert log[0]["score"] == pytest.approx(sum(first) / len(first), abs=1e-4)
    saved = load_file(tmp_path / WEIGHTS)
    assert all(bool(value.isfinite().all()) for value in saved.values())
    fresh = load_base(tiny_model)
    fresh.load_adapter("policy", tmp_path)
    assert any(bool(value.any()) for name, value in saved.items() if "lora_B" in name)
