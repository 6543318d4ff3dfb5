"""A key lets a program ask in one person's name, until it is revoked; the database does not hold it."""

import pytest
import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.people.accounts import Accounts
from labeling_ui.people.api_keys import keys, make_key, owner_of, revoke_key
from labeling_ui.people.audit import read_page
from labeling_ui.store import tables
from labeling_ui.store.store import Store


def test_a_key_is_its_owners_until_it_is_revoked(store: Store) -> None:
    first, second = make_key(store.database, "Ann"), make_key(store.database, "Ann")
    ann = store.annotator("Ann")
    assert owner_of(store.database, first) == owner_of(store.database, second) == ann
    for wrong in ("", first[:-1], f"{first}x", "rlhf-", keys(store.database)[0].id, "\ud800"):
        assert owner_of(store.database, wrong) is None
    with store.database.read() as connection:
        rows = connection.execute(sa.select(tables.api_keys)).all()
    assert len(rows) == 2
    assert first not in str(rows)
    ids = {row.key_hash: row.id for row in rows}
    assert revoke_key(store.database, next(iter(ids.values()))) == "Ann"
    assert [owner_of(store.database, key) for key in (first, second)].count(ann) == 1
    with pytest.raises(UserError, match="there is no key"):
        revoke_key(store.database, next(iter(ids.values())))
    assert [entry.event for entry in read_page(store.database)[0]][::-1] == [
        "account_added", "key_made", "key_made", "key_revoked",
    ]  # fmt: skip


def test_a_disabled_person_has_no_key_that_works(store: Store, people: Accounts) -> None:
    key = make_key(store.database, "Ann")
    people.disable("Ann")
    assert owner_of(store.database, key) is None
    with pytest.raises(UserError, match="disabled"):
        make_key(store.database, "Ann")
    people.disable("Ann", disabled=False)
    assert owner_of(store.database, key)


def test_the_keys_of_a_forgotten_person_go(store: Store, people: Accounts) -> None:
    key = make_key(store.database, "Ann")
    people.forget("Ann")
    assert owner_of(store.database, key) is None
    assert keys(store.database) == []


def test_a_simulated_annotator_can_have_no_key(store: Store) -> None:
    store.annotator("Robot", simulated=True)
    with pytest.raises(UserError, match="simulated"):
        make_key(store.database, "Robot")
