"""Guessing passwords is locked out by name and by address, for longer and longer."""

import threading

import pytest

from foundation.errors import UserError
from labeling_ui.people.accounts import Accounts, WrongPassword
from labeling_ui.people.lockout import (
    FIRST_LOCK,
    FREE_BY_ADDRESS,
    FREE_BY_NAME,
    LONGEST_LOCK,
    Attempt,
    Device,
    LockedOut,
    _address_key,
)
from labeling_ui.store.store import Store
from tests.labeling_ui.people.signing_in import HERE, PASSWORD, Clock, fail


def test_failures_lock_the_name_for_longer_and_longer(people: Accounts, clock: Clock) -> None:
    people.add("Ann", password=PASSWORD)
    fail(people, FREE_BY_NAME)
    waits = []
    for _ in range(9):
        with pytest.raises(LockedOut) as caught:
            people.sign_in("Ann", PASSWORD, "198.51.100.7")  # also from elsewhere, also with the right password
        waits.append(caught.value.seconds)
        clock.now += caught.value.seconds + 0.1
        fail(people, 1, address=f"203.0.113.{len(waits)}")
    assert waits[:4] == [30, 60, 120, 240]
    assert max(waits) == waits[-1] == LONGEST_LOCK


def test_a_lock_outlives_the_process(people: Accounts, store: Store, clock: Clock) -> None:
    fail(people, FREE_BY_NAME)
    with pytest.raises(LockedOut):
        Accounts(store.database, clock).sign_in("Ann", PASSWORD, "198.51.100.7")


def test_case_does_not_get_around_a_lock(people: Accounts) -> None:
    fail(people, FREE_BY_NAME)
    with pytest.raises(LockedOut):
        people.sign_in("ANN", PASSWORD, "198.51.100.7")


def test_many_names_from_one_address_lock_the_address(people: Accounts) -> None:
    people.add("Ann", password=PASSWORD)
    for number in range(FREE_BY_ADDRESS):
        fail(people, 1, name=f"guess {number}", address=f"2001:db8::{number:x}")  # all of one /64
    with pytest.raises(LockedOut):
        people.sign_in("Ann", PASSWORD, "2001:db8::ffff")
    assert people.sign_in("Ann", PASSWORD, "2001:db8:1::1")


def test_signing_in_between_does_not_forgive_an_address(people: Accounts) -> None:
    people.add("Eve", password=PASSWORD)
    for number in range(FREE_BY_ADDRESS):
        fail(people, 1, name=f"guess {number}")
        if number < FREE_BY_ADDRESS - 1:
            people.sign_in("Eve", PASSWORD, HERE)
    with pytest.raises(LockedOut):
        people.sign_in("Eve", PASSWORD, HERE)


def test_a_right_password_forgives_the_name(people: Accounts) -> None:
    people.add("Ann", password=PASSWORD)
    for _ in range(3):
        fail(people, FREE_BY_NAME - 1)
        people.sign_in("Ann", PASSWORD, HERE)
        people._lockout.passed(Attempt("", _address_key(HERE)))


@pytest.mark.parametrize("later", [24 * 3600 + FIRST_LOCK + 1, -24 * 3600])
def test_old_failures_and_a_wrong_clock_are_forgotten(people: Accounts, clock: Clock, later: float) -> None:
    people.add("Ann", password=PASSWORD)
    fail(people, FREE_BY_NAME)
    clock.now += later
    assert people.sign_in("Ann", PASSWORD, HERE)


def test_parallel_guesses_are_all_counted(people: Accounts) -> None:
    people.add("Ann", password=PASSWORD)
    outcomes: list[type[BaseException]] = []

    def guess() -> None:
        try:
            people.sign_in("Ann", "wrong password", HERE)
        except UserError as error:
            outcomes.append(type(error))

    threads = [threading.Thread(target=guess) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(WrongPassword) == FREE_BY_NAME
    assert outcomes.count(LockedOut) == 16 - FREE_BY_NAME


def test_who_holds_a_name_shut_does_not_shut_out_its_owner(people: Accounts, clock: Clock) -> None:
    ann, device = people.add("Ann", password=PASSWORD), "the browser she uses"
    for round_ in range(12):  # whoever it is goes on whenever a lock ends
        for number in range(FREE_BY_NAME):
            try:
                people.sign_in("Ann", "wrong password", f"198.51.100.{number}")
            except (WrongPassword, LockedOut):
                clock.now += 1
        with pytest.raises(LockedOut):
            people.sign_in("Ann", PASSWORD, HERE)
        assert people.sign_in("Ann", PASSWORD, HERE, Device(ann.id, device))
        assert people.redeem(people.invite("annotator", "Ann"))  # the other way round
        clock.now += 30 * round_


def test_a_known_device_has_no_more_guesses_than_others(people: Accounts) -> None:
    ann, eve = people.add("Ann", password=PASSWORD), people.add("Eve", password=PASSWORD)
    own = Device(ann.id, "stolen")
    for _ in range(FREE_BY_NAME):
        with pytest.raises(WrongPassword):
            people.sign_in("Ann", "wrong password", HERE, own)
    with pytest.raises(LockedOut):
        people.sign_in("Ann", PASSWORD, HERE, own)
    fail(people, FREE_BY_NAME)
    with pytest.raises(LockedOut):
        people.sign_in("Ann", PASSWORD, HERE, Device(eve.id, "another's"))  # it is no device of Ann's
