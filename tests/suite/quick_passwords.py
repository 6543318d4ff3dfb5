"""Passwords that are hashed with next to no work: as they are hashed for people, each takes a tenth of a second."""

from argon2 import PasswordHasher

from labeling_ui.people import passwords

SHIPPED = passwords.hasher
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
