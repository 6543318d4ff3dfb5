"""A store with a client of the labeling page, and a whole site with its security log."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from labeling_ui.store.store import Store
from tests.labeling_ui.pages import client_of, fill_kind
from tests.labeling_ui.signed_in import LabelingApp, open_app


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "labels.db")
    yield store
    store.close()


@pytest.fixture
def client(store: Store) -> TestClient:
    fill_kind(store, "pairwise", rewrite=True)
    return client_of(store)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelingApp]:
    site = open_app(tmp_path_factory.mktemp("labels"), pairs=12)
    yield site
    site.store.close()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "rlhf.security")
    return caplog
