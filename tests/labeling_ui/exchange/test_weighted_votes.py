"""Who said what of a pair, where it was shown and which round it is from: what a reward model is audited with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from labeling_ui.data_model import Answer, Candidate, Judgement, Task
from labeling_ui.exchange.exports.preferences import preferences
from labeling_ui.exchange.exports.registry import export
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import fill


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "labels.db")
    yield store
    store.close()


def test_each_vote_stands_beside_its_annotator_and_its_side(store: Store) -> None:
    (task,) = fill(store, 1, overlap=4)
    a, b = task.candidates
    said = {"ann": (a, (a, b)), "ben": (a, (b, a)), "eve": (b, (b, a)), "tim": (None, (a, b))}
    ids = {}
    for name, (winner, shown) in said.items():
        ids[name] = store.annotator(name, False).id
        answer = Answer("preferred", winner) if winner else Answer("tie")
        store.record(Judgement(task.id, ids[name], shown, answer))
    (row,) = preferences(store).rows
    assert row["ids"]["chosen"] == a
    found = dict(zip(row["annotators"], zip(row["votes"], row["chosen_left"], strict=True), strict=True))
    assert row["annotators"] == sorted(ids.values())
    assert found == {
        ids["ann"]: (1.0, True), ids["ben"]: (1.0, False), ids["eve"]: (0.0, False), ids["tim"]: (0.5, True),
    }  # fmt: skip
    assert row["round"] is None


def test_a_pair_is_of_the_round_that_made_its_later_response(store: Store) -> None:
    (task,) = fill(store, 1)
    made = [Candidate(task.prompt_id, f"made in {number}", {"round": number}) for number in (0, 2)]
    store.add_candidates(made)
    later = Task(task.prompt_id, tuple(each.id for each in made))
    store.add_tasks([later], 1)
    annotator = store.annotator("ann", False).id
    answer = Answer("preferred", made[0].id, rewrite="better still")
    store.record(Judgement(later.id, annotator, later.candidates, answer))
    rows = {row["origin"]: row for row in export(store, "preferences")}
    assert rows["pair"]["round"] == 2
    assert (rows["rewrite"]["round"], rows["rewrite"]["votes"], rows["rewrite"]["chosen_left"]) == (0, [1.0], [None])
