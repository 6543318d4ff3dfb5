"""Which passwords are good enough, and that an admin's have to be better."""

import pytest
from argon2 import Type

from foundation.errors import UserError
from labeling_ui.people.accounts import Accounts
from labeling_ui.people.passwords import hash_password, is_common, password_matches
from tests.suite.quick_passwords import SHIPPED


def test_people_are_given_the_second_choice_of_rfc_9106() -> None:
    shipped = (SHIPPED.type, SHIPPED.time_cost, SHIPPED.memory_cost, SHIPPED.parallelism)
    assert shipped == (Type.ID, 3, 2**16, 4)
    assert (SHIPPED.salt_len, SHIPPED.hash_len) == (16, 32)


@pytest.mark.parametrize(
    "password",
    ["password2024!", "P@ssw0rd-2026!!", "qwertyuiop123", "111111111111", "123456789012", "abcabcabcabc",
     "administrator1", "LetMeIn!LetMeIn!", "Welcome12345678", "AdaLovelace2026", "passwordpassword", "iloveyou!!!!!"],
)  # fmt: skip
def test_what_is_tried_first_is_common(password: str) -> None:
    assert is_common(password, "Ada Lovelace")
    with pytest.raises(UserError, match="first that are tried"):
        hash_password(password, "admin", "Ada Lovelace")
    assert hash_password(password)  # an annotator sees no more than their own tasks


@pytest.mark.parametrize(
    "password",
    ["correct horse", "a long enough password", "tiger lamp seventeen", "x9#kT2!vbQ7m", "密码需要足够长才好用吧对吗"],
)
def test_what_is_not_common_is_taken(password: str) -> None:
    assert password_matches(hash_password(password, "admin", "Ada"), password)


def test_an_admins_password_is_longer(people: Accounts) -> None:
    with pytest.raises(UserError, match="of an admin needs 12"):
        people.add("Ada", "admin", "tiger lamp")
    people.add("Ann", password="tiger lamp")
    token = people.invite("admin")
    with pytest.raises(UserError, match="of an admin needs 12"):
        people.redeem(token, "Bea", "tiger lamp")
    assert people.redeem(token, "Bea", "tiger lamp seventeen")  # the link is still good
    with pytest.raises(UserError, match="of an admin needs 12"):
        people.set_password("Bea", "tiger lamp")
