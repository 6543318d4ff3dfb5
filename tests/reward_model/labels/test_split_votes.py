"""Pairs that people split on: learned from by their shares, and never as a preference."""

from typing import Any

import pytest

from reward_model.config import RewardConfig
from reward_model.labels.comparisons import comparisons
from reward_model.labels.reading import to_pair, to_pairs
from reward_model.labels.selection import select


def rows(**more: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"question {n}", "chosen": "yes", "rejected": "no", **more} for n in range(12)]


def test_a_split_pair_is_learned_from_only_by_its_shares() -> None:
    split = [row | {"prompt": f"split {row['prompt']}"} for row in rows(p_chosen=0.6, decided=False)]
    for soft in (True, False):
        selection = select(RewardConfig(soft_labels=soft), [*rows(), *split], 0)
        learned = [label for label in selection.train if label.prompt[-1]["content"].startswith("split")]
        assert bool(learned) is soft
        assert not [pair for pair in selection.test if pair.prompt[-1]["content"].startswith("split")]


def test_a_split_pair_prefers_neither_and_keeps_that_through_a_file() -> None:
    (pair, *_) = to_pairs(rows(p_chosen=0.75, p_tie=0.5, decided=False))
    assert comparisons([pair]) == []
    assert to_pair(pair.row(), "again") == pair


def test_both_bad_prefers_neither_as_a_tie_does() -> None:
    (pair, *_) = to_pairs(rows(p_chosen=0.6, p_tie=0.2, p_both_bad=0.4))
    assert pair.p_tie == pytest.approx(0.6)
