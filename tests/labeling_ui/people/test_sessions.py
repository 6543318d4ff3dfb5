"""What ends a session, and the one secret that sessions are signed with."""

import sqlalchemy as sa

from labeling_ui.people.accounts import Accounts
from labeling_ui.people.signing_secret import secret_in_database
from labeling_ui.store import tables
from labeling_ui.store.store import Store
from tests.labeling_ui.people.signing_in import PASSWORD


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


def test_servers_of_one_store_sign_with_one_secret(store_url: str) -> None:
    stores = Store(store_url), Store(store_url)
    first, second = (secret_in_database(store.database) for store in stores)
    assert first == second
    assert len(first) == 64
    for store in stores:
        store.close()
