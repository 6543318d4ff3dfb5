"""Sizes that follow the free memory of a GPU; figures worked by hand for an 8B Llama in bfloat16."""

from pathlib import Path

import pytest
import torch

from backbone.loading import devices
from backbone.loading.sizes import Shape, sizes_for
from foundation import sizes
from foundation.sizes import MIB, Sizes, SizesConfig
from tests.shared_base import load

LLAMA_8B = Shape(vocabulary=128256, hidden=4096, layers=32, cached=2 * 8 * 128, inner=14336, itemsize=2)
WEIGHTS = 16_060_522_496  # bytes


@pytest.fixture(autouse=True)
def measured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device is measured once a process for each model."""
    monkeypatch.setattr(sizes, "_found", {})


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        (24e9, Sizes(sample_rows=512, sample_tokens=28_672, score_tokens=5_213, logit_bytes=149 * MIB)),
        (80e9, Sizes(sample_rows=512, sample_tokens=241_664, score_tokens=43_938, logit_bytes=512 * MIB)),
        (16e9, Sizes(sample_rows=1, sample_tokens=0, score_tokens=2048, logit_bytes=24 * MIB)),
    ],
)
def test_sizes_follow_what_a_gpu_has_left_beside_the_weights(free: float, expected: Sizes) -> None:
    assert sizes_for(LLAMA_8B, int(free) - WEIGHTS) == expected


def test_fewer_rows_are_sampled_together_where_responses_are_long() -> None:
    found = sizes_for(LLAMA_8B, int(24e9) - WEIGHTS)
    assert [found.rows(length) for length in (56, 608, 4096, 100_000)] == [512, 47, 7, 1]


def test_a_cpu_keeps_the_sizes_that_were_measured_best_there(tiny_model: Path) -> None:
    expected = Sizes(sample_rows=64, sample_tokens=None, score_tokens=2048, logit_bytes=24 << 20)
    assert load(tiny_model).sizes == expected
    assert [expected.rows(length) for length in (1, 10**6)] == [64, 64]


def test_a_base_follows_its_gpu_and_what_the_user_has_set(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # There is no GPU where the tests run: only what it says of its memory is made up.
    measured: list[torch.device] = []
    monkeypatch.setattr(devices, "gpu_memory", lambda device: measured.append(device) or (24 * 10**9, 24 * 10**9))
    assert load(tiny_model).sizes == sizes_for(Shape.of(load(tiny_model).base), 23_900_000_000)
    with sizes.asking(SizesConfig(sample_rows=100, logit_mib=7)):
        found = load(tiny_model).sizes
    assert (found.sample_rows, found.sample_tokens, found.logit_bytes) == (100, None, 7 * MIB)
    assert found.score_tokens == load(tiny_model).sizes.score_tokens


def test_the_device_is_measured_once_a_command(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [24 * 10**9]
    monkeypatch.setattr(devices, "gpu_memory", lambda device: (free[0], free[0]))  # no GPU here: see above
    first = load(tiny_model).sizes
    free[0] = 10**9  # what the first base, and all that came with it, have left
    assert load(tiny_model).sizes == first != Sizes()
