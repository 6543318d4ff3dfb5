"""For how long a task is an annotator's: reloads, restarts, expired leases, and a clock that jumps."""

import pytest

from labeling_ui.store.store import Store
from tests.labeling_ui.filling import LEASE, TIE, Clock, fill, outstanding


def test_the_next_task_is_leased_with_the_current_one(store: Store) -> None:
    fill(store, 5)
    ann, bob = store.annotator("ann"), store.annotator("bob")
    current, prefetched = store.assignments(ann.id, 2)
    assert store.assignments(ann.id, 2) == [current, prefetched], "they stay in the order in which they were given"
    assert store.next_assignment(ann.id) == current
    bobs = outstanding(store, bob.id)
    assert not {current.task.id, prefetched.task.id} & set(bobs)
    assert len(bobs) == 3
    store.record(current.judgement(TIE))
    assert store.assignments(ann.id, 2) == [prefetched]


def test_a_reload_goes_on_with_the_same_task_also_after_a_restart(store_url: str, clock: Clock) -> None:
    store = Store(store_url, clock)
    fill(store, 20, overlap=2)
    ann = store.annotator("ann")
    shown = store.next_assignment(ann.id)
    assert shown is not None
    assert store.next_assignment(ann.id) == shown
    store.close()
    again = Store(store_url, clock)
    assert again.next_assignment(ann.id) == shown
    clock.now += 3 * LEASE
    assert again.next_assignment(ann.id) == shown, "one's own lapsed lease is renewed while nobody else asked"
    again.close()


def test_an_expired_lease_is_offered_to_another_annotator(store: Store, clock: Clock) -> None:
    fill(store, 1)
    ann, bob = store.annotator("ann"), store.annotator("bob")
    anns = store.next_assignment(ann.id)
    clock.now += LEASE - 1
    assert store.next_assignment(bob.id) is None
    clock.now += 1
    bobs = store.next_assignment(bob.id)
    assert anns is not None
    assert bobs is not None
    assert bobs.task == anns.task
    assert store.next_assignment(ann.id) is None


def test_handing_a_task_out_again_extends_its_lease(store: Store, clock: Clock) -> None:
    fill(store, 1)
    ann, bob = store.annotator("ann"), store.annotator("bob")
    for _ in range(3):
        assert store.next_assignment(ann.id)
        clock.now += LEASE - 1
        assert store.next_assignment(bob.id) is None


@pytest.mark.parametrize("jump", [-1e6, -3600.0, 3600.0, 1e6])
def test_a_clock_that_jumps_leaves_no_lease_longer_than_the_campaigns(store: Store, clock: Clock, jump: float) -> None:
    fill(store, 2)
    ann, bob = store.annotator("ann"), store.annotator("bob")
    assert len(store.assignments(ann.id, 2)) == 2
    clock.now += jump
    early = store.next_assignment(bob.id)
    assert (early is None) == (jump < 0), "put back, the lease holds; put forward, it has run out"
    clock.now += LEASE
    assert store.next_assignment(bob.id), "at the latest a lease's length from when it was noticed"
