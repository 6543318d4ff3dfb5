"""Figures of the admin page: worked out once, and beside the server where they would hold it up."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from labeling_ui.people.accounts import Accounts
from labeling_ui.store.store import Store
from labeling_ui.web.admin import figures, figures_cache
from labeling_ui.web.admin.page import ALL, AdminActions
from tests.labeling_ui.filling import fill
from tests.labeling_ui.store.statements import statements
from tests.labeling_ui.web.test_admin_page import PASSWORD, judge


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "labels.db")
    yield store
    store.close()


def test_the_overview_is_not_made_anew_for_each_look(store: Store) -> None:
    now = [0.0]
    reader = figures_cache.OverviewCache(store, lambda: now[0])
    first = reader()
    assert reader() is first
    now[0] += figures_cache.FRESH_SECONDS + 1
    assert reader() is not first


def test_the_first_look_waits_for_nothing_and_later_ones_read_next_to_nothing(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one task more than what is read on the spot; the other process is held up until the look is over."""
    store, over = Store(store_url), threading.Event()

    def held_up(*of: Any) -> figures.Overview:
        assert over.wait(60)
        return figures.read_overview(*of)

    monkeypatch.setattr(figures_cache, "_in_a_process", held_up)
    monkeypatch.delattr(figures_cache, "_read")
    fill(store, figures_cache.SMALL + 1)
    people = Accounts(store.database)
    actions, rex = AdminActions(store, people), people.add("Rex", "reviewer", PASSWORD).id
    assert "Working out" in actions.figures(rex, ALL)[0]
    assert "Working out" in actions.figures(rex, ALL)[0]
    over.set()
    while "Working out" in actions.figures(rex, ALL)[0]:
        time.sleep(0.01)
    with statements(store) as seen:
        assert "judgements are in" in actions.figures(rex, ALL)[0]
    assert not [
        each for each in seen if any(table in each for table in ("tasks", "events", "judgements", "candidates"))
    ]
    store.close()


def test_figures_of_a_large_store_come_from_another_process_and_hold_nobody_up(store: Store) -> None:
    fill(store, 12, overlap=2)
    judge(store, "Ann", 12)
    reader = figures_cache.OverviewCache(store, small=10)
    began = time.monotonic()
    found = reader()
    assert found is None  # it does not wait
    while found is None:
        assert time.monotonic() - began < 280  # it gives way to everything else on the machine
        time.sleep(0.2)
        found = reader()
    assert found.overview == figures.read_overview(store)
    assert f"Worked out at {found.at[11:19]} UTC" in figures.quality_html(found.overview, found.at, 3.0)
    with pytest.raises(UserError, match="no campaign"):
        reader("nowhere")
