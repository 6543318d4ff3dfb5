"""The benchmark of a GPU, rehearsed on a CPU with tiny models: every row is measured, or says why it was not."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu
from foundation.files import read_json


def run(monkeypatch: pytest.MonkeyPatch, *options: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py", *map(str, options)])
    gpu.main()


@pytest.mark.skipif(gpu._gpu() != "no GPU", reason="there is a GPU")
def test_without_a_gpu_it_ends_with_a_reason_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, "--json", tmp_path / "gpu.json")
    assert ended.value.code == 2
    assert "torch sees no CUDA GPU here" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("what", "measured"),
    [("policy", ["ours", "TRL, generate"]), ("collect", ["ours"]), ("reward", ["ours", "TRL"])],
)
def test_the_rehearsal_measures_every_row_and_says_that_it_is_none(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, measured: list[str]
) -> None:
    rows, out = gpu._rows, tmp_path / "gpu.json"
    monkeypatch.setattr(gpu, "_rows", lambda *given: [row for row in rows(*given) if row.what.startswith(what)])
    run(monkeypatch, "--rehearse", "--tokenizer", tiny_model, "--json", out)
    table = read_json(out)
    assert table["rehearsal"] is True
    assert (tmp_path / "gpu.md").read_text() == gpu.markdown(table)
    assert gpu.markdown(table).startswith(gpu.REHEARSAL)
    assert {row["side"] for row in table["rows"] if "not_run" not in row} >= set(measured)
    assert all(row["seconds"] > 0 and row["peak_bytes"] > 0 for row in table["rows"] if row["side"] in measured)


@pytest.fixture
def a_row(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Rows that succeed, that fail, and that need vLLM, on no model."""
    figures = '{"seconds": 2, "tokens": 6, "peak_bytes": 5}'
    work = f"import sys; open(sys.argv[2] + '/r.json', 'w').write('{figures}')"
    rows = [
        gpu.Row("collect", "ours", ["-c", work], {}, "r.json"),
        gpu.Row("collect", "TRL", ["-c", "raise SystemExit('CUDA out of memory')"], {}, "r.json"),
        gpu.Row("collect", "vLLM", ["-c", work], {}, "r.json"),
    ]
    monkeypatch.setattr(gpu, "save_random_model", lambda folder, *_: folder)
    monkeypatch.setattr(gpu, "_rows", lambda *_: rows)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "vllm" else find(name, *more))
    return rows


def test_rows_that_fail_say_why_and_the_rest_goes_on(
    a_row: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, "--rehearse", "--json", tmp_path / "gpu.json")
    ours, trl, vllm = read_json(tmp_path / "gpu.json")["rows"]
    assert (ours["seconds"], ours["tokens_per_second"], ours["peak_bytes"]) == (2, 3, 5)
    assert trl["not_run"] == "it failed: CUDA out of memory"
    assert vllm["not_run"] == "vllm is not installed"


def test_an_interrupted_run_keeps_its_rows_and_rows_after_the_time_are_left_out(
    a_row: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, done = gpu._measure, []

    def interrupted(row: Any, seconds: float) -> dict[str, Any]:
        if done:
            raise KeyboardInterrupt
        done.append(row)
        return measure(row, seconds)

    monkeypatch.setattr(gpu, "_measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, "--rehearse", "--json", tmp_path / "gpu.json")
    assert [row["side"] for row in read_json(tmp_path / "gpu.json")["rows"]] == ["ours"]
    assert "| 3.0 tokens |" in (tmp_path / "gpu.md").read_text()
    monkeypatch.setattr(gpu, "_measure", measure)
    run(monkeypatch, "--rehearse", "--minutes", "0", "--json", tmp_path / "gpu.json")
    assert read_json(tmp_path / "gpu.json")["rows"][0]["not_run"] == "the time was up"
