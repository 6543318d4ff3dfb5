"""What could never be in a store is found."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from labeling_ui.campaign import Campaign
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import fill, prefer
from tests.labeling_ui.store.statements import run


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = Store(store_url)
    yield store
    store.close()


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE tasks SET taken = taken + 1", "places as taken"),
        ("DELETE FROM judgements", "is not what was last said"),
        ("UPDATE events SET action = 'undo' WHERE number = 1", "is not what was last said"),
        (
            "INSERT INTO leases (task_id, annotator_id, shown, leased_until, lasts, granted)"
            " SELECT task_id, annotator_id, '[]', 0, 1, 1 FROM judgements",
            "who has judged it",
        ),
    ],
)
def test_what_could_never_be_is_found(store: Store, store_url: str, statement: str, told: str) -> None:
    fill(store, 2)
    ann = store.annotator("ann")
    shown = store.next_assignment(ann.id)
    assert shown is not None
    store.record(prefer(shown))
    assert store.verify() == []
    run(store_url, statement)
    assert any(told in line for line in store.verify())


def test_a_damaged_file_and_a_missing_parent_are_found(path: Path) -> None:
    store = Store(path)
    fill(store, 2, campaign=Campaign())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM prompts")
        connection.commit()
    assert any("refers to a row of prompts" in line for line in store.verify())
    store.close()
