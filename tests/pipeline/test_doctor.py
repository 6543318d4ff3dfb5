import http.server
import json
import threading
from pathlib import Path

import pytest
from huggingface_hub import constants
from rich.console import Console
from typer.testing import CliRunner

from pipeline import doctor
from pipeline.cli.commands import app
from pipeline.config.config import Config


def test_findings_name_the_machine_and_the_choices_with_reasons() -> None:
    found = doctor.diagnose(Config(dtype="float32", device="cpu"))
    assert found.cores >= 1
    assert 0 < found.memory_free <= found.memory_total
    assert found.disk_free > 0
    assert found.versions.keys() >= {"rlhf-pipeline", "torch", "transformers", "peft", "trl"}
    assert found.hub == "not asked (HF_HUB_OFFLINE is set)"
    assert found.device == doctor.Choice("cpu", "device=cpu in the configuration")
    assert found.dtype == doctor.Choice("float32", "dtype=float32 in the configuration")
    assert found.model.value == "SmolLM2-135M-Instruct"


@pytest.mark.parametrize(("speedup", "chosen"), [(0.0, "float32"), (0.9, "float32"), (5.0, "bfloat16")])
def test_the_number_format_follows_what_was_measured(
    monkeypatch: pytest.MonkeyPatch, speedup: float, chosen: str
) -> None:
    monkeypatch.setattr("backbone.loading.devices.cpu_bf16_speedup", lambda: speedup)
    choice = doctor.diagnose(Config(device="cpu")).dtype
    assert choice.value == chosen
    assert (f"{speedup:.1f} times" if speedup else "no bfloat16 units") in choice.reason


def test_the_model_is_looked_for_where_it_would_be_loaded_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path
) -> None:
    monkeypatch.setenv("RLHF_MODELS", str(tmp_path))
    assert "fetched" in doctor.diagnose(Config()).model_present
    assert doctor.diagnose(Config(model=str(tiny_model))).model_present == f"present in {tiny_model}"
    assert "hub" in doctor.diagnose(Config(model="nobody/nothing")).model_present
    (tmp_path / "SmolLM2-135M-Instruct").mkdir()
    assert doctor.diagnose(Config()).model_present.startswith("damaged")


class _Answer(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_the_hub_is_asked_unless_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(doctor, "_HUB_SECONDS", 60.0)
    with http.server.HTTPServer(("127.0.0.1", 0), _Answer) as server:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert doctor._hub() == f"reachable ({endpoint})"
    assert doctor._hub().startswith("not reachable")


def test_a_hub_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(doctor, "_HUB_SECONDS", 0.05)
    released = threading.Event()
    monkeypatch.setattr(doctor, "_ask_hub", lambda endpoint: str(released.wait(120)))
    assert doctor._hub().startswith("no answer")
    released.set()


def test_the_table_and_the_json_say_the_same() -> None:
    found = doctor.diagnose(Config(device="cpu", dtype="float32"))
    console = Console(width=200, record=True, quiet=False)
    with console.capture() as table:
        doctor.show(found, console)
    for text in (str(found.cores), found.model_present, found.hub, found.dtype.reason, found.model.value):
        assert text in table.get()
    result = CliRunner().invoke(app, ["doctor", "--json", "--set", "device=cpu"])
    assert json.loads(result.output)["device"] == {"value": "cpu", "reason": "device=cpu in the configuration"}
