"""An empty store for what is imported."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from labeling_ui.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "labels.db")
    yield store
    store.close()
