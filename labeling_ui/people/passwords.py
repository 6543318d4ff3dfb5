"""Passwords as argon2id hashes, with the parameters of RFC 9106 (its second choice), and which ones are good enough.

Admins need longer ones, which are not among the common ones (NIST SP 800-63B, 3.1.1.2).
"""

import re
import secrets
import unicodedata
from functools import cache
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from foundation.errors import UserError
from labeling_ui.data_model import Role

SHORTEST_PASSWORD = 8
SHORTEST_OF_ADMINS = 12
LONGEST_PASSWORD = 1000
_FEWEST_LETTERS = 5
_SEVERAL_WORDS = 24  # letters: so many are hard to guess, whatever the words
_LOOKS_LIKE = str.maketrans("013457@$!", "oleastasi")

hasher = PasswordHasher()


def shortest(role: Role) -> int:
    """How many characters a password of this role needs."""
    return SHORTEST_OF_ADMINS if role == "admin" else SHORTEST_PASSWORD


def hash_password(password: str, role: Role = "annotator", name: str = "") -> str:
    """The hash to store; `UserError` if the password is not good enough (`check_password`)."""
    check_password(password, role, name)
    return rehash(password)


def check_password(password: str, role: Role, name: str) -> None:
    """Raise `UserError` if the password is too short, too long, or for an admin easily guessed."""
    least = shortest(role)
    if not least <= len(password) <= LONGEST_PASSWORD:
        whose = "of an admin " if role == "admin" else ""
        raise UserError(f"A password {whose}needs {least} to {LONGEST_PASSWORD} characters; longer is safer.")
    if role == "admin" and is_common(password, name):
        raise UserError(
            "This password is among the first that are tried. Choose several words that do not belong together."
        )


def rehash(password: str) -> str:
    """The hash of a password that was good enough when it was chosen."""
    return hasher.hash(unicodedata.normalize("NFC", password))


def is_common(password: str, name: str = "") -> bool:
    """Whether a password is a common one, or the person's name, with digits, signs and doublings around it."""
    folded = unicodedata.normalize("NFKC", password).casefold()
    if len(set(folded)) < _FEWEST_LETTERS:
        return True
    own = {re.sub(r"[\W\d_]+", "", name.casefold())} - {""}
    for text in (folded, folded.translate(_LOOKS_LIKE)):
        bare = re.sub(r"[\W\d_]+", "", text)  # of "P@ssword-2024!" the word is left
        rest = bare
        for word in sorted(_common() | own, key=len, reverse=True):
            rest = rest.replace(word, "")
        if len(rest) < _FEWEST_LETTERS and len(bare) - len(rest) < _SEVERAL_WORDS:
            return True
    return False


@cache
def _common() -> frozenset[str]:
    lines = Path(__file__).with_name("common_passwords.txt").read_text(encoding="utf-8")
    return frozenset(lines.split())


def password_matches(password_hash: str, password: str) -> bool:
    """Whether the password is the one that was hashed."""
    try:
        return hasher.verify(password_hash, unicodedata.normalize("NFC", password[: LONGEST_PASSWORD + 1]))
    except VerificationError:
        return False


def needs_rehash(password_hash: str) -> bool:
    """Whether the hash was made with other parameters than those of today."""
    return hasher.check_needs_rehash(password_hash)


@cache
def nobodys_hash() -> str:
    """A hash to compare with if no account has the name, so that the answer takes as long."""
    return hasher.hash(secrets.token_hex(16))
