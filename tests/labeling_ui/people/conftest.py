"""Accounts in a store on each kind of database, with a clock that the test moves by hand."""

from collections.abc import Iterator

import pytest

from labeling_ui.people.accounts import Accounts
from labeling_ui.store.store import Store
from tests.labeling_ui.people.signing_in import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(store_url: str, clock: Clock) -> Iterator[Store]:
    store = Store(store_url, clock)
    yield store
    store.close()


@pytest.fixture
def people(store: Store, clock: Clock) -> Accounts:
    return Accounts(store.database, clock)
