"""Passwords as argon2id hashes, with the parameters of RFC 9106 (its second choice)."""

import secrets
import unicodedata
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from foundation.errors import UserError

SHORTEST_PASSWORD = 8
LONGEST_PASSWORD = 1000

hasher = PasswordHasher()


def hash_password(password: str) -> str:
    """The hash to store; `UserError` if the password is too short or too long."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise UserError(f"A password needs {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters; longer is safer.")
    return hasher.hash(unicodedata.normalize("NFC", password))


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
