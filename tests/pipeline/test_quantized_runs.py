"""Whole runs on a quantised base, by the commands that a user types."""

import json
from pathlib import Path
from shutil import copytree

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoConfig
from typer.testing import CliRunner

from backbone.adapter_folder import WEIGHTS
from backbone.loading import quantization
from foundation.errors import UserError
from foundation.files import read_json, write_jsonl
from pipeline import stages
from pipeline.cli.commands import app
from pipeline.tuning import _base_for_trl
from tests.pipeline import tiny
from tests.pipeline.bad_input.refusing import refused

pytest.importorskip("bitsandbytes", reason="the extra 'quantized' is not installed")

NF4 = ["quantization=nf4", "reward.ensemble=2", "policy.algorithm=ppo", "policy.value_network=adapter"]


def typed(*arguments: str | Path, overrides: list[str]) -> None:
    set_ = [part for each in overrides for part in ("--set", each)]
    result = CliRunner().invoke(app, [str(each) for each in (*arguments, *set_)])
    assert result.exit_code == 0, (result.output, result.exception)


@pytest.fixture(scope="module")
def finished(tiny_settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A loop with an ensemble of reward models and PPO on an nf4 base."""
    folder = tmp_path_factory.mktemp("quantised")
    typed("loop", "--run", folder / "run", "--simulate", overrides=[*tiny_settings, *NF4])
    return folder / "run"


def test_every_stage_of_a_run_says_that_its_base_is_quantised(finished: Path) -> None:
    made = read_json(finished / "round-000" / "manifest.json")["stages"]
    for stage in ("collect", "reward", "policy", "evaluate", "export"):
        assert made[stage]["basis"]["config"]["quantization"] == "nf4"
        assert "bitsandbytes" in made[stage]["versions"]
    folder = finished / "round-000"
    assert "on its base quantised to nf4 by bitsandbytes" in (folder / "export" / "README.md").read_text()
    assert "quantised to nf4 by bitsandbytes" in (folder / "reward" / "README.md").read_text()
    assert read_json(folder / "reward" / "reward.json")["quantization"] == "nf4"
    for name in ("reward", "reward/ensemble/1", "policy", "export"):
        with safe_open(folder / name / WEIGHTS, framework="pt") as file:
            assert file.metadata()["quantization"] == "nf4"


def test_the_policy_learns_on_the_quantised_base_and_is_what_was_sampled(finished: Path) -> None:
    log = tiny.rows(finished / "round-000" / "policy" / "log.jsonl")
    assert len(log) == 4
    assert all(row["logprob_mismatch"] < 1e-3 for row in log)
    assert log[0]["kl"] == pytest.approx(0, abs=1e-3)
    assert abs(log[-1]["kl"]) > 1e-3


def test_a_run_on_another_quantisation_is_another_run(finished: Path, tiny_settings: list[str]) -> None:
    run, config, console = tiny.opened(finished, [*tiny_settings, *NF4])
    record = run.record("policy")
    assert record
    plain = config.model_copy(update={"quantization": None})
    assert "quantization" not in plain.with_model(plain.policy)
    assert record.basis.config["quantization"] == config.with_model(config.policy)["quantization"] == "nf4"
    stages.policy(run, config, console)
    assert "policy: already done" in tiny.printed(console)


def test_scores_and_merges_work_from_a_quantised_run(
    finished: Path, tiny_settings: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, rows = finished / "round-000", tmp_path / "rows.jsonl"
    write_jsonl(rows, [{"prompt": tiny.ask("tell me of the sea"), "response": "the sea sat"}])
    scores = {}
    for kind in ("nf4", "null"):
        given = [*tiny_settings, f"quantization={kind}"]
        typed("score", rows, "--reward", folder / "reward", "--out", tmp_path / kind, overrides=given)
        assert ("trained on a base with quantization=nf4" in caplog.text) == (kind == "null")
        scores[kind] = tiny.rows(tmp_path / kind)[0]["score"]
    assert scores["nf4"] != scores["null"]
    for name in ("reward", "policy"):
        typed("merge", folder / name, tmp_path / name, overrides=[])
        merged = AutoConfig.from_pretrained(tmp_path / name)
        assert getattr(merged, "quantization_config", None) is None
        assert merged.dtype == torch.float32


@pytest.mark.parametrize("algorithm", ["rloo", "dpo"])
def test_trl_tunes_on_an_int8_base_and_keeps_adapters_in_full_precision(
    finished: Path, tiny_settings: list[str], tmp_path: Path, algorithm: str
) -> None:
    run = tmp_path / "run"
    copytree(finished, run)
    overrides = [
        *tiny_settings, "quantization=int8", "policy.engine=trl", f"policy.algorithm={algorithm}", "policy.group=4",
        'rewards=[{"name": "length", "target": 3, "unit": "tokens"}]',
    ]  # fmt: skip
    typed("policy", "--run", run, overrides=overrides)
    assert len(tiny.rows(run / "round-000" / "policy" / "log.jsonl")) == 4
    weights = load_file(run / "round-000" / "policy" / WEIGHTS)
    assert any(not torch.equal(each, each.bfloat16().float()) for name, each in weights.items() if "lora_B" in name)


def test_without_bitsandbytes_the_command_says_what_to_install(
    tiny_settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantization, "is_bitsandbytes_available", lambda: False)
    message = refused("collect", "--run", tmp_path / "run", overrides=[*tiny_settings, "quantization=int8"])
    assert "quantization=int8 needs bitsandbytes, which is not installed: pip install" in " ".join(message.split())


def test_an_unknown_quantisation_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    message = refused("collect", "--run", tmp_path / "run", overrides=["quantization=int4"])
    assert "quantization" in message
    assert "int8" in message
    assert "nf4" in message


def test_a_quantised_base_is_neither_sharded_nor_merged_for_vllm(
    finished: Path, tiny_settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    _, config, _ = tiny.opened(finished, [*tiny_settings, *NF4])
    with pytest.raises(UserError, match="FSDP or DeepSpeed"):
        _base_for_trl(config, None)  # type: ignore[arg-type]
    vllm = [*tiny_settings, "quantization=nf4", "policy.engine=trl", "policy.vllm=colocate"]
    message = " ".join(refused("collect", "--run", tmp_path / "run", overrides=vllm).split())
    assert "policy.vllm merges the adapter into the base at each step" in message


def test_settings_of_a_run_without_quantisation_are_what_they_were(tiny_settings: list[str], tmp_path: Path) -> None:
    _, config, _ = tiny.opened(tmp_path, tiny_settings)
    assert "quantization" not in json.dumps(config.with_model(config.policy) | config.base)
