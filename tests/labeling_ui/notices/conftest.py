"""A webhook, and a store on each kind of database with a clock that the test moves by hand."""

from collections.abc import Iterator

import pytest

from labeling_ui.notices import sending
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import Clock
from tests.labeling_ui.notices.receiving import Webhook


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that sends takes seconds to begin on a machine with other work."""
    monkeypatch.setattr(sending, "SECONDS", 120)


@pytest.fixture
def hook() -> Iterator[Webhook]:
    hook = Webhook()
    yield hook
    hook.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(store_url: str, clock: Clock) -> Iterator[Store]:
    store = Store(store_url, clock)
    yield store
    store.close()
