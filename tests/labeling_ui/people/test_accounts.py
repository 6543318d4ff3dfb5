"""Accounts, invitations, lockouts and forgetting, on both databases."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.data_model import Answer, Candidate, Judgement, Prompt, Task
from labeling_ui.people import accounts
from labeling_ui.people.account_rows import tidy_name
from labeling_ui.people.accounts import Accounts, WrongPassword
from labeling_ui.people.lockout import (
    FIRST_LOCK,
    FREE_BY_ADDRESS,
    FREE_BY_NAME,
    LONGEST_LOCK,
    LockedOut,
    name_key,
)
from labeling_ui.people.signing_secret import secret_in_database
from labeling_ui.store import tables
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import fill

pytestmark = pytest.mark.usefixtures("quick_passwords")

PASSWORD = "correct horse"
HERE = "192.0.2.1"


class Clock:
    """Seconds since 1970, as the test says."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(store_url: str, clock: Clock) -> Iterator[Store]:
    store = Store(store_url, clock)
    yield store
    store.close()


@pytest.fixture
def people(store: Store, clock: Clock) -> Accounts:
    return Accounts(store.database, clock)


def fail(people: Accounts, times: int, name: str = "Ann", address: str = HERE) -> None:
    for _ in range(times):
        with pytest.raises(WrongPassword):
            people.sign_in(name, "wrong password", address)


def test_who_was_added_signs_in(people: Accounts) -> None:
    added = people.add(" Ann   Onymous ", "reviewer", PASSWORD, " Ann@Example.org ")
    assert people.sign_in("Ann Onymous", PASSWORD, HERE) == added
    (person,) = people.list()
    assert (person.name, person.role, person.email) == ("Ann Onymous", "reviewer", "ann@example.org")
    assert person.has_password


def test_no_password_is_kept(people: Accounts, store: Store) -> None:
    people.add("Ann", password=PASSWORD)
    with store.database.read() as connection:
        row = connection.execute(sa.select(tables.annotators)).one()
    assert row.password_hash.startswith("$argon2id$")
    assert PASSWORD not in str(row)


@pytest.mark.parametrize(
    ("name", "more", "says"),
    [
        ("Ann", {}, "taken"),
        ("Bob", {"email": "ANN@example.org"}, "taken"),
        ("", {}, "give a name"),
        ("a\u202eb", {}, "give a name"),
        ("x" * 61, {}, "give a name"),
        ("Bob", {"password": "short"}, "8 to 1000"),
        ("Bob", {"email": "nowhere"}, "not an e-mail address"),
        ("Bob", {"role": "owner"}, "not a role"),
    ],
)
def test_an_impossible_account_is_refused(people: Accounts, name: str, more: dict[str, str], says: str) -> None:
    people.add("Ann", email="ann@example.org")
    with pytest.raises(UserError, match=says):
        people.add(name, **more)  # type: ignore[arg-type]
    assert len(people.list()) == 1


def test_names_have_one_spelling(people: Accounts) -> None:
    assert tidy_name(" Jose\u0301  Ruiz\n") == "Jos\u00e9 Ruiz"
    people.add("Jos\u00e9", password="Pa\u00dfw\u00f6rter")
    assert people.sign_in("Jose\u0301", "Pa\u00dfwo\u0308rter", HERE).name == "Jos\u00e9"


def test_who_cannot_sign_in_is_told_the_same_after_the_same_work(
    people: Accounts, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.add("Ann", password=PASSWORD)
    people.add("Off", password=PASSWORD)
    people.disable("Off")
    people.add("No password")
    store.annotator("Robot", simulated=True)
    verified: list[str] = []
    real = accounts.password_matches
    monkeypatch.setattr(accounts, "password_matches", lambda hash, given: verified.append(hash) or real(hash, given))
    said = set()
    for name in ("Ann", "Off", "No password", "Robot", "Nobody", "' OR 1=1 --", ""):
        with pytest.raises(UserError) as caught:
            people.sign_in(name, "wrong password" if name == "Ann" else PASSWORD, HERE)
        said.add((type(caught.value), str(caught.value)))
    assert len(said) == 1
    assert len(verified) == 7, "a hash is checked each time"


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
        people._lockout.passed("", HERE)


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


def test_what_ends_a_session(people: Accounts) -> None:
    ann = people.add("Ann", password=PASSWORD)
    changes = (
        lambda: people.end_sessions(ann.id),
        lambda: people.set_password("Ann", "another password"),
        lambda: people.disable("Ann"),
        lambda: people.disable("Ann", False),
        lambda: people.redeem(people.invite("annotator", "Ann"), "", PASSWORD),
        lambda: people.forget("Ann"),
    )
    for change in changes:
        version = _version(people, ann.id)
        change()
        assert people.session(ann.id, version) is None
    assert people.session("nobody", 1) is None


def _version(people: Accounts, annotator_id: str) -> int:
    with people._database.read() as connection:
        own = tables.annotators.c.id == annotator_id
        return int(connection.execute(sa.select(tables.annotators.c.session_version).where(own)).scalar_one())


# Forgetting.

NAME, EMAIL = "Zacharias Quillfeather", "zacharias@quillfeather.example"


def write_about(store: Store, people: Accounts) -> str:
    """Leave the person's name wherever text can be left; returns their id."""
    first, second, _ = fill(store, 3, overlap=3)
    gone, other = people.add(NAME, "reviewer", PASSWORD, EMAIL), people.add("Other", password=PASSWORD)
    for who, task in ((gone, first), (gone, second), (other, first)):
        shown = task.candidates
        answer = Answer(
            "preferred", winner=shown[0], rationale=f"as {NAME.upper()} said", rewrite=f"Ask {EMAIL}, or ({NAME})."
        )
        leased = store.assignments(who.id, 3)
        shown = next(tuple(c.id for c in one.shown) for one in leased if one.task.id == task.id)
        store.record(Judgement(task.id, who.id, shown, answer, key=f"{who.id}{task.id}"))
    store.undo(gone.id, "undo")
    mine = store.assignments(gone.id, 3)[0]
    skip = Answer("skip", reason=f"{NAME} knows the author")
    store.record(Judgement(mine.task.id, gone.id, tuple(c.id for c in mine.shown), skip, key="again"))
    typed = Prompt(({"role": "user", "content": f"I am {NAME}. Who am I?"},))
    told = [Candidate(typed.id, f"You are {NAME}."), Candidate(typed.id, "I do not know.")]
    store.add_prompts([typed])
    store.add_candidates(told)
    store.add_tasks([Task(typed.id, tuple(c.id for c in told), reserved_for=gone.id)], 1)
    people.invite("annotator", NAME)
    with pytest.raises(WrongPassword):
        people.sign_in(NAME, "wrong password", HERE)
    return gone.id


def everything(store: Store) -> str:
    """All rows of all tables as text, with JSON as it is stored and as it is read."""
    found = []
    with store.database.read() as connection:
        for table in sa.inspect(connection).get_table_names():
            found += [str(row) for row in connection.execute(sa.text(f'SELECT * FROM "{table}"'))]
        for known in tables.metadata.sorted_tables:
            found += [str(row) for row in connection.execute(sa.select(known))]
    return "\n".join(found).casefold()


@pytest.mark.parametrize("fate", ["keep", "delete"])
@pytest.mark.parametrize("by", [NAME, EMAIL.upper()])
def test_a_forgotten_person_is_in_no_row_and_in_no_byte(
    store: Store, people: Accounts, fate: str, by: str, tmp_path: Path
) -> None:
    if store.database.file is not None:  # some builds of SQLite overwrite what is deleted; rely on none
        sa.event.listen(store.database.engine, "connect", _keep_deleted_bytes)
        store.database.engine.dispose()
    gone = write_about(store, people)
    words = [word.casefold() for word in (NAME, "Quillfeather", EMAIL, name_key(NAME))]
    files = [path for path in tmp_path.iterdir() if path.name.startswith("labels.db")]
    assert all(word in everything(store) for word in words)
    assert not files or any(NAME.encode() in path.read_bytes() for path in files)
    before = {judgement.task_id for judgement in store.judgements() if judgement.annotator_id == gone}
    assert len(before) == 2

    assert people.forget(by, fate) == 2  # type: ignore[arg-type]

    left = everything(store)
    assert not [word for word in words if word in left]
    assert PASSWORD not in left
    for path in files:  # SQLite: the database, its log and its index of the log
        content = path.read_bytes().lower()
        assert not [word for word in words if word.encode() in content], path.name
    after = {judgement.task_id for judgement in store.judgements() if judgement.annotator_id == gone}
    assert after == (before if fate == "keep" else set())
    assert store.verify() == []
    assert [person.name for person in people.list() if not person.disabled] == ["Other"]
    assert people.sign_in("Other", PASSWORD, HERE)
    with pytest.raises(WrongPassword):
        people.sign_in(NAME, PASSWORD, HERE)
    with pytest.raises(UserError, match="no person"):
        people.forget(by)


def _keep_deleted_bytes(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA secure_delete = OFF")


def test_forgetting_leaves_other_words_and_other_people(store: Store, people: Accounts) -> None:
    (task,) = fill(store, 1, overlap=2)
    people.add("Ann", password=PASSWORD)
    bob = people.add("Bob")
    shown = tuple(c.id for c in store.assignments(bob.id)[0].shown)
    text = "Ann's cannot, Annabel can; ann, \u6211\u662fAnn\u7684 friend"
    store.record(Judgement(task.id, bob.id, shown, Answer("tie", rationale=text)))
    people.forget("Ann")
    (judgement,) = store.judgements()
    assert judgement.answer.rationale == (
        "[removed]'s cannot, Annabel can; [removed], \u6211\u662f[removed]\u7684 friend"
    )
    assert {person.name for person in people.list()} >= {"Bob"}


def test_a_file_that_is_being_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "labels.db")
    people = Accounts(store.database)
    people.add(NAME, password=PASSWORD)
    monkeypatch.setattr("labeling_ui.store.database._BUSY_MILLISECONDS", 50)
    store.database.engine.dispose()
    start = time.monotonic()
    with store.database.read() as reader:
        reader.execute(sa.select(tables.annotators)).all()
        with pytest.raises(UserError, match=r"forgotten, but .* could not be rewritten.*forget forgotten-"):
            people.forget(NAME)
    assert time.monotonic() - start < 10
    (person,) = people.list()
    people.forget(person.name)
    assert NAME.encode() not in (tmp_path / "labels.db").read_bytes()
    store.close()


def test_servers_of_one_store_sign_with_one_secret(store_url: str) -> None:
    stores = Store(store_url), Store(store_url)
    first, second = (secret_in_database(store.database) for store in stores)
    assert first == second
    assert len(first) == 64
    for store in stores:
        store.close()
