"""A person who is forgotten is in no row and in no byte but in free text, which is marked and never edited."""

import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.data_model import Answer, Candidate, Judgement, Prompt, Task
from labeling_ui.people.accounts import Accounts, WrongPassword
from labeling_ui.people.forgetting import marked, preview
from labeling_ui.people.lockout import name_key
from labeling_ui.store import tables
from labeling_ui.store.review.review import TaskReview
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import fill
from tests.labeling_ui.people.signing_in import HERE, PASSWORD

NAME, EMAIL = "Zacharias Quillfeather", "zacharias@quillfeather.example"


def write_about(store: Store, people: Accounts, named: bool = True) -> str:
    """Leave the person's name, or no name, wherever text can be left; returns their id."""
    name, email = (NAME, EMAIL) if named else ("somebody", "nobody")
    first, second, _ = fill(store, 3, overlap=3)
    gone, other = people.add(NAME, "reviewer", PASSWORD, EMAIL), people.add("Other", password=PASSWORD)
    for who, task in ((gone, first), (gone, second), (other, first)):
        shown = task.candidates
        answer = Answer(
            "preferred", winner=shown[0], rationale=f"as {name.upper()} said", rewrite=f"Ask {email}, or ({name})."
        )
        leased = store.assignments(who.id, 3)
        shown = next(tuple(c.id for c in one.shown) for one in leased if one.task.id == task.id)
        store.record(Judgement(task.id, who.id, shown, answer, key=f"{who.id}{task.id}"))
    store.undo(gone.id, "undo")
    mine = store.assignments(gone.id, 3)[0]
    skip = Answer("skip", reason=f"{name} knows the author")
    store.record(Judgement(mine.task.id, gone.id, tuple(c.id for c in mine.shown), skip, key="again"))
    typed = Prompt(({"role": "user", "content": f"I am {name}. Who am I?"},))
    told = [Candidate(typed.id, f"You are {name}."), Candidate(typed.id, "I do not know.")]
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
    gone = write_about(store, people, named=False)
    words = [word.casefold() for word in (NAME, "Quillfeather", EMAIL, name_key(NAME))]
    files = [path for path in tmp_path.iterdir() if path.name.startswith("labels.db")]
    assert all(word in everything(store) for word in words)
    assert not files or any(NAME.encode() in path.read_bytes() for path in files)
    before = {judgement.task_id for judgement in store.judgements() if judgement.annotator_id == gone}
    assert len(before) == 2

    assert people.forget(by, fate).judgements == 2  # type: ignore[arg-type]

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


def texts(store: Store) -> list[str]:
    """Every row of what was asked, answered and said."""
    with store.database.read() as connection:
        return [
            repr(row)
            for table in (tables.events, tables.judgements, tables.prompts, tables.candidates, tables.tasks)
            for row in connection.execute(sa.select(table))
        ]


@pytest.mark.parametrize("name", ["Will", "the", "\u660e", "a.*"])
def test_a_name_that_is_a_word_changes_no_text(store: Store, people: Accounts, name: str) -> None:
    (task,) = fill(store, 1, overlap=2)
    people.add(name, password=PASSWORD)
    bob = people.add("Bob")
    shown = tuple(c.id for c in store.assignments(bob.id)[0].shown)
    rewrite = "This will do: the house a.* Will built, \u660e\u5929\u89c1."
    store.record(Judgement(task.id, bob.id, shown, Answer("tie", rationale="neither", rewrite=rewrite)))
    before, hashed = texts(store), store.label_set_hash()
    found = preview(store.database, name, "keep")
    assert (found.name, found.judgements, [text.text for text in found.texts]) == (name, 0, [rewrite])
    assert name in {person.name for person in people.list()}, "a preview changes nothing"
    assert marked(store.database) == []
    assert people.forget(name).texts == found.texts
    assert texts(store) == before
    assert store.label_set_hash() == hashed
    assert [text.text for text in marked(store.database)] == [rewrite]
    assert name not in {person.name for person in people.list()}


def test_only_whole_words_are_marked(store: Store, people: Accounts) -> None:
    first, second = fill(store, 2, overlap=1)
    people.add("Ann", password=PASSWORD)
    bob = people.add("Bob")
    for task, said in ((first, "Annabel cannot"), (second, "ANN's, \u6211\u662fAnn\u7684 friend")):
        shown = next(tuple(c.id for c in one.shown) for one in store.assignments(bob.id, 2) if one.task.id == task.id)
        store.record(Judgement(task.id, bob.id, shown, Answer("tie", rationale=said), key=task.id))
    people.forget("Ann")
    assert [text.text for text in marked(store.database)] == ["ANN's, \u6211\u662fAnn\u7684 friend"]


@pytest.mark.parametrize("fate", ["keep", "delete"])
def test_everything_that_may_name_them_is_marked(store: Store, people: Accounts, fate: str) -> None:
    write_about(store, people)
    people.forget(NAME, fate)  # type: ignore[arg-type]
    left = marked(store.database)
    assert all(NAME.casefold() in text.text.casefold() or EMAIL in text.text for text in left)
    kinds = {text.kind for text in left}
    assert kinds == {"rationale", "rewrite", "prompt", "response"} | ({"reason"} if fate == "keep" else set())
    assert {text.text for text in left if text.kind == "rationale"} >= {f"as {NAME.upper()} said"}
    people.add(NAME, password=PASSWORD)
    people.forget(NAME)
    assert marked(store.database) == left, "marked once"


def test_what_a_reviewer_decided_of_a_typed_prompt_goes_with_its_author(store: Store, people: Accounts) -> None:
    gone = write_about(store, people)
    review, rex = TaskReview(store.database), people.add("Rex", "reviewer", PASSWORD)
    typed = next(task for task in store.tasks() if task.reserved_for == gone)
    review.decide(typed.id, rex.id, Answer("preferred", typed.candidates[0], rationale=f"{NAME} asked"))
    review.decide(typed.id, rex.id, Answer("tie"))
    people.forget(NAME, "delete")
    assert typed.id not in {task.id for task in store.tasks()}
    assert typed.id not in {event.task_id for event in store.events()}
    assert "asked" not in " ".join(text.text for text in marked(store.database))
    assert store.verify() == []


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
    assert time.monotonic() - start < 60
    (person,) = people.list()
    people.forget(person.name)
    assert NAME.encode() not in (tmp_path / "labels.db").read_bytes()
    store.close()
