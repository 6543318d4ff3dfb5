"""An empty store, and annotators whose weights the test gives."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from labeling_ui.exchange import weighted_votes
from labeling_ui.quality.label_reader import Labels
from labeling_ui.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "labels.db")
    yield store
    store.close()


@pytest.fixture(autouse=True)
def weighted(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Weights by annotator's name, in place of those that are estimated; 1 for who is not named."""
    weights: dict[str, float] = {}

    def given_weights(labels: Labels) -> dict[str, float]:
        return {each.id: weights[each.name] for each in labels.annotators if each.name in weights}

    monkeypatch.setattr(weighted_votes, "vote_weights", given_weights)
    return weights
