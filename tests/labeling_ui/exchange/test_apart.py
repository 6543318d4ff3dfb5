"""Exports of large stores, written by another process."""

import json
from collections.abc import Iterator

import pytest

from labeling_ui.exchange.apart import text
from labeling_ui.exchange.exports.registry import KINDS, export
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import fill, outstanding


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = Store(store_url)
    yield store
    store.close()


@pytest.mark.parametrize("kind", ["preferences", "answers"])
def test_another_process_writes_the_same(store: Store, kind: str) -> None:
    fill(store, 12)
    outstanding(store, store.annotator("one").id)
    assert kind in KINDS
    apart = b"".join(text(store, kind, small=0))
    assert [apart] == list(text(store, kind))
    assert [json.loads(line) for line in apart.splitlines()] == export(store, kind)


def test_a_large_export_is_a_few_blocks(store: Store) -> None:
    """Each is handed from the worker's pipe to the server's loop and on to whoever reads."""
    fill(store, 600, asked="a question that is long enough for some blocks " * 10)
    blocks = list(text(store, "prompts", small=599))
    rows = b"".join(blocks).splitlines()
    assert len(rows) == 600
    assert len(blocks) < 10


def test_where_it_fails_nothing_looks_like_the_end(store: Store) -> None:
    fill(store, 3)
    outstanding(store, store.annotator("one").id)
    with pytest.raises(RuntimeError, match="the export preferences ended with status 1"):
        list(text(store, "preferences", campaign="nowhere", small=0))
