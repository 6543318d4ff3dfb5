"""A person who is forgotten is in no row and in no byte, and nobody else is touched."""

import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.data_model import Answer, Candidate, Judgement, Prompt, Task
from labeling_ui.people.accounts import Accounts, WrongPassword
from labeling_ui.people.lockout import (
    name_key,
)
from labeling_ui.store import tables
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import fill
from tests.labeling_ui.people.signing_in import HERE, PASSWORD

pytestmark = pytest.mark.usefixtures("quick_passwords")

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
