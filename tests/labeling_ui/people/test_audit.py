"""Every security event is kept with who, what, when and from where, on both databases, and shown a page at a time."""

import pytest

from foundation.errors import UserError
from labeling_ui.people import audit
from labeling_ui.people.accounts import Accounts, WrongPassword
from labeling_ui.people.audit import EVENTS, KEPT_DAYS, Origin, note, read_all, read_page
from labeling_ui.people.lockout import FREE_BY_NAME, LockedOut
from labeling_ui.store.store import Store
from tests.labeling_ui.people.signing_in import HERE, PASSWORD, Clock

LONG = "a long enough password"


def told(store: Store) -> list[tuple[str, str, str, str, str]]:
    entries = reversed(list(read_all(store.database)))
    return [(one.event, one.person, one.subject, one.detail, one.address) for one in entries]


def test_what_happens_to_accounts_is_written_down(people: Accounts, store: Store) -> None:
    ada = people.add("Ada", "admin", LONG)
    by = Origin(ada.id, HERE)
    ann = people.redeem(people.invite("annotator", by=by), "Ann", PASSWORD, "203.0.113.9")
    people.sign_in("Ann", PASSWORD, HERE)
    with pytest.raises(WrongPassword):
        people.sign_in("Ann", "wrong password", HERE)
    with pytest.raises(WrongPassword):
        people.sign_in("my password by mistake", "Ann", HERE)
    people.set_role("Ann", "reviewer", by)
    people.disable("Ann", by=by)
    people.disable("Ann", False, by)
    people.set_password("Ann", LONG, Origin(ann.id, HERE))
    people.end_sessions(ann.id, Origin(ann.id, HERE))
    assert told(store) == [
        ("account_added", "", "Ada", "admin", "command line"),
        ("invited", "Ada", "", "annotator", HERE),
        ("invitation_used", "Ann", "Ann", "annotator", "203.0.113.9"),
        ("signed_in", "Ann", "Ann", "", HERE),
        ("sign_in_failed", "", "Ann", "", HERE),
        ("sign_in_failed", "", "", "", HERE),
        ("role_changed", "Ada", "Ann", "annotator -> reviewer", HERE),
        ("disabled", "Ada", "Ann", "", HERE),
        ("enabled", "Ada", "Ann", "", HERE),
        ("password_changed", "Ann", "Ann", "", HERE),
        ("signed_out", "Ann", "Ann", "", HERE),
    ]


def test_a_flood_of_locked_attempts_is_one_entry_a_lock(people: Accounts, store: Store) -> None:
    people.add("Ann", password=PASSWORD)
    for _ in range(FREE_BY_NAME):
        with pytest.raises(WrongPassword):
            people.sign_in("Ann", "wrong password", HERE)
    for _ in range(30):
        with pytest.raises(LockedOut):
            people.sign_in("Ann", "wrong password", HERE)
    assert [event for event, *_ in told(store)].count("locked_out") == 1


def test_forgetting_takes_names_and_addresses_out_of_the_log(people: Accounts, store: Store) -> None:
    ada = people.add("Ada", "admin", LONG)
    people.add("Zenobia", password=PASSWORD)
    people.sign_in("Zenobia", PASSWORD, "203.0.113.77")
    people.forget("Zenobia", by=Origin(ada.id, HERE))
    entries = told(store)
    assert entries[-1][0] == "forgotten"
    assert "Zenobia" not in str(entries)
    assert "203.0.113.77" not in str(entries)


def test_a_change_that_fails_is_not_written_down(people: Accounts, store: Store) -> None:
    people.add("Ada", "admin", LONG)
    before = told(store)
    for change in (lambda: people.set_role("Ada", "annotator"), lambda: people.disable("Ada")):
        with pytest.raises(UserError, match="only admin"):
            change()
    assert told(store) == before


def test_pages_follow_one_another_without_gap_or_overlap(people: Accounts, store: Store) -> None:
    for number in range(25):
        note(store.database, EVENTS[number % 2], Origin(None, HERE), detail=str(number))
    seen: list[str] = []
    before: int | None = None
    while True:
        entries, before = read_page(store.database, before, count=10)
        seen += [one.detail for one in entries]
        if before is None:
            break
    assert seen == [str(number) for number in range(24, -1, -1)]
    only, _ = read_page(store.database, event=EVENTS[1])
    assert {one.event for one in only} == {EVENTS[1]}


def test_old_entries_are_deleted(people: Accounts, store: Store, clock: Clock) -> None:
    people.add("Ann", password=PASSWORD)
    clock.now += (KEPT_DAYS + 1) * 24 * 3600
    people.sign_in("Ann", PASSWORD, HERE)
    assert [one.event for one in read_all(store.database)] == ["signed_in"]


def test_reading_all_crosses_pages(people: Accounts, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        note(store.database, "exported", Origin(None, HERE), detail=str(number))
    whole = audit.read_page
    monkeypatch.setattr(audit, "read_page", lambda database, before, count: whole(database, before, count=2))
    assert [one.detail for one in read_all(store.database)] == ["4", "3", "2", "1", "0"]
