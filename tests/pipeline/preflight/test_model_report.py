"""`rlhf doctor --model` says how a model is computed, what it needs, and whether any stage would refuse it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backbone.exactness import load_shared_base
from backbone.loading import devices
from foundation import sizes
from foundation.sizes import Sizes
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


def test_the_report_says_the_sizes_that_the_stages_will_use(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # There is no GPU where the tests run: only what it says of its memory is made up.
    monkeypatch.setattr(devices, "gpu_memory", lambda device: (24 * 10**9, 24 * 10**9))
    monkeypatch.setattr(sizes, "_found", {})
    result = CliRunner().invoke(app, ["doctor", "--model", str(tiny_model), "--json", *SET])
    assert result.exit_code == 0, result.output
    found = Sizes.model_validate(json.loads(result.stdout)["model_report"]["sizes"])
    assert found == load_shared_base(str(tiny_model), "float32", "cpu").sizes != Sizes()


def test_a_size_that_is_set_beyond_a_small_gpu_is_told_with_what_fits(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "gpu_memory", lambda device: (2 << 20, 2 << 20))  # no GPU here: see above
    monkeypatch.setattr(sizes, "_found", {})
    asked = ["--set", "sizes.sample_rows=300", "--set", "sizes.logit_mib=24"]
    result = CliRunner().invoke(app, ["doctor", "--model", str(tiny_model), *SET, *asked])
    assert result.exit_code == 0, result.output
    assert "up to 300 responses sampled, 2,048 tokens scored, and 24 MiB of logits at a time" in result.stdout
    assert "sizes.sample_rows=300 is beyond what this GPU has room for: 1 responses of" in result.stdout
    assert "sizes.logit_mib" not in result.stdout


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
