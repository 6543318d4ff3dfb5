"""`rlhf doctor --model` says how a model is computed, what it needs, and whether any stage would refuse it."""

import json
from pathlib import Path

from typer.testing import CliRunner

from pipeline.cli.commands import app
from tests.pipeline.bad_input.refusing import CPU
from tests.pipeline.preflight.test_checks import encoder

SET = [part for each in CPU for part in ("--set", each)]


def test_the_report_on_a_model_that_every_stage_can_use(tiny_model: Path) -> None:
    result = CliRunner().invoke(app, ["doctor", "--model", str(tiny_model), "--json", *SET])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["model_report"]
    assert found["sampling"] == "step"
    assert found["scoring"] == "stream"
    assert found["template"] == "chat"
    assert found["ends_turns"] == ["<|im_end|>"]
    assert found["padding"] == "<|endoftext|>"
    assert found["context"] == 256
    assert found["lora_layers"] == {"policy": 14, "reward": 7}
    assert found["reward_class"] == "LlamaForSequenceClassification"
    assert max(found["differences"].values()) < 1e-4
    assert found["memory"].keys() == {"collect", "reward", "policy", "evaluate"}
    assert found["refusals"] == []


def test_a_model_that_a_stage_would_refuse_ends_with_the_reasons_and_status_2(tiny_model: Path, tmp_path: Path) -> None:
    model = encoder(tiny_model, tmp_path / "bert")
    options = ["--json", *SET, "--set", "policy.lora_targets=[nothing]"]
    result = CliRunner().invoke(app, ["doctor", "--model", str(model), *options])
    assert result.exit_code == 2
    found = json.loads(result.stdout)["model_report"]
    assert len(found["refusals"]) == 2
    for reason in found["refusals"]:
        assert reason in result.stderr
    assert "change with later ones" in result.stderr


def test_the_tables_name_the_ways_and_the_memory(tiny_model: Path) -> None:
    result = CliRunner().invoke(app, ["doctor", "--model", str(tiny_model), *SET], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    for told in ("LlamaForCausalLM", "all rows in one stream", "evaluate", "about 0.0 GiB", "GiB are free"):
        assert told in result.stdout
