"""Rows that are pushed to the hub. Only its network is replaced: there is none where tests run."""

from typing import Any

import pytest

from foundation.errors import UserError
from labeling_ui.exchange.exports.hub import push_to_hub
from labeling_ui.exchange.exports.registry import export
from labeling_ui.store.store import Store
from tests.labeling_ui.exchange.exports.voting import vote
from tests.labeling_ui.filling import fill


def test_a_push_is_private_and_carries_the_rows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    pushed: dict[str, Any] = {}

    def push(dataset: Any, name: str, **options: Any) -> None:
        pushed.update(rows=dataset.to_list(), name=name, **options)

    monkeypatch.setattr(datasets.Dataset, "push_to_hub", push)
    (task,) = fill(store, 1)
    vote(store, task, "ann", ("a", 2))
    rows = export(store, "preferences")
    push_to_hub(rows, "someone/labels")
    assert pushed == {"rows": rows, "name": "someone/labels", "private": True}
    push_to_hub(rows, "someone/labels", private=False)
    assert pushed["private"] is False


@pytest.mark.parametrize("name", ["someone/labels", "not/a/name"])
def test_a_push_that_fails_says_what_is_needed(store: Store, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (task,) = fill(store, 1)
    vote(store, task, "ann", ("a", 2))
    with pytest.raises(UserError, match=rf"could not push to {name}: (.|\n)*HF_TOKEN"):
        push_to_hub(export(store, "preferences"), name)


def test_nothing_is_pushed_where_there_is_nothing() -> None:
    with pytest.raises(UserError, match="no rows of this kind"):
        push_to_hub([], "someone/labels")
