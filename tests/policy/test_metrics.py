"""Metrics of a step match numbers worked out by hand."""

import pytest
import torch

from policy.metrics import machine_metrics, peak_memory, repetition, score_spread


def test_repetition_is_the_share_of_four_grams_used_before() -> None:
    # 1 2 3 4 | 2 3 4 1 | 3 4 1 2 | 4 1 2 3 | 1 2 3 4: five, of which one was there already
    found = repetition([[1, 2, 3, 4, 1, 2, 3, 4], [7] * 7, [1, 2, 3, 4, 5, 6], [1, 2, 3], []])
    torch.testing.assert_close(found, torch.tensor([1 / 5, 3 / 4, 0.0, 0.0, 0.0]))
    torch.testing.assert_close(repetition([[1, 2, 1, 2]], n=2), torch.tensor([1 / 3]))
    assert repetition([]).shape == (0,)


def test_spread_is_within_prompts_not_between_them() -> None:
    assert score_spread([1.0, 3.0, 10.0, 14.0], group=2) == pytest.approx((1 + 2) / 2)
    assert score_spread([1.0, 1.0, 9.0, 9.0], group=2) == 0
    assert score_spread([1.0, 3.0], group=1) == pytest.approx(1)


def test_tokens_are_counted_by_the_seconds_of_all_phases() -> None:
    figures = machine_metrics({"sample": 1.5, "update": 0.50049}, 300, torch.device("cpu"))
    assert figures.pop("peak_memory_gb") == pytest.approx(peak_memory(torch.device("cpu")) / 1e9, rel=0.1)
    assert figures == {"seconds_sample": 1.5, "seconds_update": 0.5, "tokens_per_second": 150.0}
    assert machine_metrics({}, 0, torch.device("cpu"))["tokens_per_second"] == 0


def test_peak_memory_sees_what_was_held_and_given_back() -> None:
    before = peak_memory(torch.device("cpu"))
    block = torch.ones(before // 4 + 2**27)  # 4 bytes each
    del block
    assert peak_memory(torch.device("cpu")) >= before + 2**28
