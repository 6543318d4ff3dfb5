"""Which task comes next: priorities, gold tasks, repeats, and the order in which responses are shown."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.assignment.next_task import REPEAT_DISTANCE
from labeling_ui.campaign import Campaign
from labeling_ui.store import tables
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import LEASE, TIE, Clock, fill, outstanding


def test_priorities_come_first_and_a_random_slice_ignores_them(store: Store) -> None:
    campaign = Campaign(gold_share=0, repeat_share=0, random_share=0.25)
    tasks = fill(store, 40, campaign=campaign)
    urgent = {task.id for task in tasks[:20]}
    assert store.set_priorities(dict.fromkeys(urgent, 2.5)) == 20
    given = outstanding(store, store.annotator("robot", simulated=True).id)
    assert len(set(given)) == 40
    early = sum(task_id in urgent for task_id in given[:20])
    # A quarter of 20 is drawn whatever its priority, two thirds of it from the others: 16.7, four deviations are 6.8.
    assert 10 <= early < 20


def test_the_order_in_which_responses_are_shown_differs_between_annotators(store: Store) -> None:
    fill(store, 16, overlap=2)
    orders: list[dict[str, tuple[str, ...]]] = []
    for name in ("one", "two"):
        robot = store.annotator(name, simulated=True)
        outstanding(store, robot.id)
        orders.append({j.task_id: j.shown for j in store.judgements() if j.annotator_id == robot.id})
    same = sum(orders[0][task_id] == shown for task_id, shown in orders[1].items())
    assert 2 < same < 14


def test_gold_tasks_are_mixed_in_for_everybody_whatever_their_overlap(store: Store) -> None:
    campaign = Campaign(gold_share=0.3, repeat_share=0)
    tasks = fill(store, 30, overlap=2, campaign=campaign, gold=4)
    gold = {task.id for task in tasks if task.gold}
    for name in ("one", "two", "three"):
        given = outstanding(store, store.annotator(name, simulated=True).id)
        assert len(given) == len(set(given))
        if name != "three":
            assert gold <= set(given), "all four came among the others"
            assert not set(given[:4]) <= gold
        else:
            assert given == [], "gold tasks alone are not worth anybody's time"
    counts = store.counts()
    assert (counts.tasks, counts.judgements) == (26, 52)
    assert sum(judgement.task_id in gold for judgement in store.judgements()) == 8
    assert sum(counts.by_verdict.values()) == 52
    assert store.waiting() == 0


def test_repeats_come_later_and_the_other_way_round(store: Store) -> None:
    fill(store, 30, campaign=Campaign(gold_share=0, repeat_share=0.3), overlap=1)
    robot = store.annotator("robot", simulated=True)
    outstanding(store, robot.id)
    tasks = {task.id: task for task in store.tasks()}
    judged = list(store.judgements())
    at = {judgement.task_id: place for place, judgement in enumerate(judged)}
    again = [judgement for judgement in judged if tasks[judgement.task_id].repeat_of]
    assert 4 < len(again) < 20
    originals = [tasks[judgement.task_id].repeat_of or "" for judgement in again]
    assert len(set(originals)) == len(originals), "nothing comes a third time"
    for judgement, original in zip(again, originals, strict=True):
        assert at[judgement.task_id] - at[original] > REPEAT_DISTANCE
        assert judgement.shown == judged[at[original]].shown[::-1]
        assert tasks[judgement.task_id].reserved_for == robot.id
    assert store.counts().judgements == 30
    assert len(judged) == 30 + len(again)
    with pytest.raises(UserError, match="another annotator's"):
        store.record(replace(again[0], annotator_id=store.annotator("ann").id, key=""))


def test_a_repeat_whose_lease_ran_out_is_given_to_its_annotator_later(store: Store, clock: Clock) -> None:
    fill(store, 24, campaign=Campaign(gold_share=0, repeat_share=0.5))
    robot, other = store.annotator("robot", simulated=True), store.annotator("other", simulated=True)
    while shown := store.next_assignment(robot.id):
        if shown.task.repeat_of:
            break
        store.record(shown.judgement(TIE))
    assert shown is not None
    clock.now += LEASE
    store.next_assignment(other.id)  # takes the lapsed lease back
    assert shown.task.id in outstanding(store, robot.id)


def test_the_random_slice_is_dealt_from_what_no_chooser_picked(store: Store) -> None:
    tasks = fill(store, 30, campaign=Campaign(gold_share=0, repeat_share=0, random_share=1))
    picked = {task.id for task in tasks[::2]}
    with store.database.write() as connection:
        connection.execute(sa.update(tables.tasks).where(tables.tasks.c.id.in_(picked)).values(reason="d_optimal"))
    given = outstanding(store, store.annotator("robot", simulated=True).id)
    assert picked.isdisjoint(given[:15])
    assert set(given[15:]) == picked, "where none of the others is left"
