"""An answer and what follows it: one transaction, of few statements, and nothing that comes after loses the answer."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from time import sleep
from typing import Any

import pytest
import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.data_model import Judgement
from labeling_ui.people.accounts import Accounts
from labeling_ui.store.answering import desk
from labeling_ui.store.answering.desk import Taken
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import TIE, fill, prefer
from tests.labeling_ui.store.statements import statements


def test_an_answer_is_one_short_transaction(store: Store) -> None:
    fill(store, 9)
    ann = store.annotator("ann").id
    first, *_ = store.assignments(ann, 2)
    with statements(store) as seen:
        taken = store.take(prefer(first, key="k"), 2)
    assert taken.saved == "taken"
    assert seen.count("COMMIT") == 1
    for table in ("campaign_settings", "campaign_people", "FROM annotators"):
        assert sum(table in each for each in seen) <= (2 if table == "FROM annotators" else 1), table
    assert len(seen) <= 26


def test_taking_an_answer_back_is_one_short_transaction(store: Store) -> None:
    fill(store, 9)
    ann = store.annotator("ann").id
    given = store.assignments(ann, 2)[0]
    store.take(prefer(given, key="k"), 2)
    with statements(store) as seen:
        back = store.take_back(ann, "u", 2)
    assert seen.count("COMMIT") == 1
    for table in ("campaign_settings", "campaign_people"):
        assert sum(table in each for each in seen) == 1, table
    assert len(seen) <= 26
    assert back.withdrawn is not None
    assert back.withdrawn.previous is not None
    assert (back.withdrawn.task, back.withdrawn.previous.answer.verdict) == (given.task, "preferred")
    assert back.assignments == store.assignments(ann, 2)
    assert back.assignments[0].task == given.task
    assert back.progress == store.progress(ann)
    again = store.take_back(ann, "u", 2)
    assert (again.withdrawn, list(store.judgements())) == (back.withdrawn, [])
    nothing = store.take_back(ann, "another", 2)
    assert (nothing.withdrawn, nothing.assignments) == (None, back.assignments)


def test_an_edit_is_one_short_transaction(store: Store) -> None:
    fill(store, 9)
    ann = store.annotator("ann").id
    given = store.assignments(ann, 2)[0]
    store.take(prefer(given, key="k"), 2)
    with statements(store) as seen:
        taken = store.take(replace(prefer(given, side=1, key="e"), action="edit"), 2)
    assert taken.saved == "edited"
    assert seen.count("COMMIT") == 1
    assert len(seen) <= 26


def test_a_session_is_one_statement(store: Store) -> None:
    accounts = Accounts(store.database)
    ann = store.annotator("ann").id
    with statements(store) as seen:
        assert accounts.session(ann, 1) is not None
    assert len(seen) == 1


def test_what_follows_is_what_would_have_been_asked_for(store: Store) -> None:
    fill(store, 5)
    ann, ben = store.annotator("ann").id, store.annotator("ben").id
    first, second = store.assignments(ann, 2)
    store.assignments(ben, 2)
    following = store.take(prefer(first, key="k1"), 2).following
    assert following is not None
    assert following.progress == store.progress(ann)
    assert following.assignments == store.assignments(ann, 2)
    assert following.assignments[0] == second
    last = store.take(prefer(second, key="k2"), 2).following
    assert last is not None
    assert [each.task.id for each in last.assignments] == [following.assignments[1].task.id], "the rest is ben's"
    assert last.progress.done == 2


def test_an_answer_is_saved_once_even_if_what_follows_cannot_be_found(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 3)
    ann = store.annotator("ann").id
    first, _ = store.assignments(ann, 2)

    def broken(*_: Any) -> Any:
        raise RuntimeError("the next task is gone")

    with monkeypatch.context() as patch:
        patch.setattr(desk, "hand_out", broken)
        taken = store.take(prefer(first, key="k"), 2)
    assert (taken.saved, taken.following) == ("taken", None)
    assert store.take(prefer(first, key="k"), 2).saved == "repeated"
    assert [each.task_id for each in store.judgements()] == [first.task.id]


def test_an_impossible_answer_leaves_nothing_behind(store: Store) -> None:
    fill(store, 3)
    ann = store.annotator("ann").id
    first, _ = store.assignments(ann, 2)
    with pytest.raises(UserError, match="there is no annotator"):
        store.take(replace(first.judgement(TIE, key="k"), annotator_id="nobody"), 2)
    assert list(store.judgements()) == []


def test_an_answer_is_saved_once_if_the_connection_is_lost_while_it_is_saved(postgres_url: str) -> None:
    store = Store(postgres_url)
    fill(store, 3)
    first, _ = store.assignments(store.annotator("ann").id, 2)
    times = 0

    def lost(connection: sa.Connection) -> None:
        nonlocal times
        times += 1
        if times == 1:
            connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    sa.event.listen(store.database.engine, "commit", lost)
    taken = store.take(prefer(first, key="k"), 2)
    sa.event.remove(store.database.engine, "commit", lost)
    assert (taken.saved, times) == ("taken", 2)
    assert [each.task_id for each in store.judgements()] == [first.task.id]
    assert store.verify() == []
    store.close()


def test_settings_that_somebody_else_changed_are_known_at_once(store: Store, store_url: str) -> None:
    fill(store, 3)
    ann = store.annotator("ann").id
    first, _ = store.assignments(ann, 2)
    other = Store(store_url)
    other.add_campaign(store.campaigns()[0].model_copy(update={"instructions": "Prefer the shorter one."}))
    following = store.take(prefer(first, key="k"), 2).following
    assert following is not None
    assert {each.campaign.instructions for each in following.assignments} == {"Prefer the shorter one."}
    other.close()


def all_at_once(store: Store, given: list[Judgement]) -> list[str]:
    """What becomes of answers that wait for the same writer; the error, of those that are refused."""
    with ThreadPoolExecutor(len(given)) as pool:
        with store.database.write():  # until all of them wait
            asked = []
            for number, each in enumerate(given):
                asked.append(pool.submit(store.take, each, 2))
                until(partial(waits, store, number))
        return [said(each) for each in asked]


def said(asked: Future[Taken]) -> str:
    try:
        return asked.result().saved
    except UserError as error:
        return str(error)


def waits(store: Store, number: int) -> bool:
    """Whether one has its turn, and so many wait behind it: it waits in the line itself until its turn begins."""
    return store._desk._turn.locked() and len(store._desk._waiting) == number


def until(true: Callable[[], bool]) -> None:
    for _ in range(12_000):
        if true():
            return
        sleep(0.01)
    raise AssertionError("nobody waits")


def test_answers_that_wait_are_one_transaction(store: Store) -> None:
    fill(store, 20)
    people = [store.annotator(f"annotator {number}").id for number in range(5)]
    given = [prefer(store.assignments(who, 2)[0], key=who) for who in people]
    with statements(store) as seen:
        assert all_at_once(store, given) == ["taken"] * 5
    assert seen.count("COMMIT") == 3, "the writer that they waited for, the first of them, and all others"
    assert {(each.task_id, each.annotator_id) for each in store.judgements()} == {
        (each.task_id, each.annotator_id) for each in given
    }
    assert all(len(store.assignments(who, 2)) == 2 for who in people)


def test_an_impossible_answer_costs_those_that_wait_with_it_nothing(store: Store) -> None:
    fill(store, 20)
    people = [store.annotator(f"annotator {number}").id for number in range(5)]
    given = [prefer(store.assignments(who, 2)[0], key=who) for who in people]
    given[2] = replace(given[2], annotator_id="nobody")
    given[4] = replace(given[3], key="another")
    found = all_at_once(store, given)
    assert "there is no annotator" in found[2]
    assert (found[:2], sorted(found[3:])) == (["taken"] * 2, ["answered", "taken"])
    assert len(list(store.judgements())) == 3
