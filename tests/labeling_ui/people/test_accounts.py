"""Accounts: who can sign in, which are refused, and that no password is kept."""

import pytest
import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.people import accounts
from labeling_ui.people.account_rows import tidy_name
from labeling_ui.people.accounts import Accounts
from labeling_ui.store import tables
from labeling_ui.store.store import Store
from tests.labeling_ui.people.signing_in import HERE, PASSWORD


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
