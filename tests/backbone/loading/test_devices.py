import pytest
import torch

from backbone.loading import devices
from foundation.errors import UserError


def test_the_dtype_is_what_was_asked_for() -> None:
    assert devices.choose_dtype("float32") == torch.float32
    assert devices.choose_dtype("bfloat16") == torch.bfloat16


@pytest.mark.parametrize(("speedup", "chosen"), [(0.0, torch.float32), (1.1, torch.float32), (5.0, torch.bfloat16)])
def test_auto_takes_bfloat16_only_where_it_was_measured_to_be_faster(
    monkeypatch: pytest.MonkeyPatch, speedup: float, chosen: torch.dtype
) -> None:
    monkeypatch.setattr(devices, "cpu_bf16_speedup", lambda: speedup)
    assert devices.choose_dtype("auto", torch.device("cpu")) == chosen


def test_without_bf16_units_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_measured_speedup", None)
    monkeypatch.setattr(devices, "cpu_bf16_units", lambda: False)
    monkeypatch.setattr(devices, "_time_matmul", lambda dtype: pytest.fail("measured"))
    assert devices.cpu_bf16_speedup() == 0.0


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.choose_device("auto").type == "cpu"
    with pytest.raises(UserError, match="no CUDA GPU"):
        devices.choose_device("cuda:1")


def test_time_that_other_processes_take_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    ticks = iter(range(1000))
    monkeypatch.setattr(devices.time, "thread_time", lambda: next(ticks) / 1000)
    monkeypatch.setattr(devices.time, "perf_counter", lambda: pytest.fail("a busy machine is slow by this clock"))
    assert devices._time_matmul(torch.float32) == pytest.approx(0.001)
    assert torch.get_num_threads() == threads


def test_real_products_are_timed_whatever_the_default_device() -> None:
    with torch.device("meta"):
        assert devices._time_matmul(torch.float32) > 1e-3, "0.9 GFLOP takes more than 1 ms on any core"
