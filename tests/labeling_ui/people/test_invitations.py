"""An invitation lets one person in, once, and takes over nobody's account."""

import contextlib
import threading

import pytest
import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.people.accounts import Accounts
from labeling_ui.store import tables
from labeling_ui.store.store import Store
from tests.labeling_ui.people.signing_in import HERE, PASSWORD, Clock


def test_an_invitation_lets_one_person_in(people: Accounts) -> None:
    token = people.invite("annotator")
    assert people.redeem(token, "Ann").role == "annotator"
    for name in ("Ann", "Bob"):
        with pytest.raises(UserError, match="used already"):
            people.redeem(token, name)


def test_racing_for_an_invitation_has_one_winner(people: Accounts) -> None:
    token, winners = people.invite("annotator"), list[str]()

    def use(name: str) -> None:
        with contextlib.suppress(UserError):
            winners.append(people.redeem(token, name).name)

    threads = [threading.Thread(target=use, args=(f"Person {number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(winners) == 1
    assert [person.name for person in people.list()] == winners


def test_an_invitation_does_not_take_over_an_account(people: Accounts, store: Store) -> None:
    people.add("Root", "admin", PASSWORD)
    store.annotator("Robot", simulated=True)
    token = people.invite("annotator")
    for name in ("Root", "Robot"):
        with pytest.raises(UserError, match="taken"):
            people.redeem(token, name, "another password")
    assert people.redeem(token, "Ann")
    assert people.sign_in("Root", PASSWORD, HERE)


def test_a_named_invitation_keeps_the_name_and_lets_back_in(people: Accounts) -> None:
    token = people.invite("annotator", "Ann")
    with pytest.raises(UserError, match="taken"):  # by nobody else meanwhile
        people.redeem(people.invite("annotator"), "Ann")
    ann = people.redeem(token, "Root")
    assert ann.name == "Ann"
    assert people.redeem(people.invite("admin", "Ann"), "", PASSWORD) == ann, "the role stays"
    assert people.sign_in("Ann", PASSWORD, HERE) == ann


@pytest.mark.parametrize("role", ["reviewer", "admin"])
def test_who_sees_more_needs_a_password(people: Accounts, role: str) -> None:
    token = people.invite(role)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="choose a password"):
        people.redeem(token, "Ann")
    assert people.redeem(token, "Ann", PASSWORD).role == role
    people.add("Bob")
    with pytest.raises(UserError, match="no password"):
        people.set_role("Bob", role)  # type: ignore[arg-type]


def test_whoever_became_an_admin_chooses_a_password_that_does_for_one(people: Accounts) -> None:
    people.add("Ann", "annotator", "kestrel9")  # too short for an admin
    token = people.invite("annotator", "Ann")
    people.set_role("Ann", "admin")
    assert people.invitation(token) == ("admin", "Ann")
    for password in (None, "kestrel9"):
        with pytest.raises(UserError, match="password"):
            people.redeem(token, password=password)
    assert people.redeem(token, password=PASSWORD).role == "admin"
    assert people.sign_in("Ann", PASSWORD, HERE).name == "Ann"


def test_an_invitation_ends(people: Accounts, store: Store, clock: Clock) -> None:
    token = people.invite("annotator", hours=1)
    assert people.invitation(token) == ("annotator", None)
    clock.now += 3601
    with pytest.raises(UserError, match="too old"):
        people.redeem(token, "Ann")
    for hours in (0, -1, 1e9, float("nan")):
        with pytest.raises(UserError, match="hours"):
            people.invite("annotator", hours=hours)


def test_only_the_hash_of_an_invitation_is_kept(people: Accounts, store: Store) -> None:
    token = people.invite("annotator")
    with store.database.read() as connection:
        assert token not in str(connection.execute(sa.select(tables.invitations)).all())
