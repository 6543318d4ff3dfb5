"""New label stores, made by the statements of the first one: the migrations themselves take ten times as long."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

_CHANGES = ("CREATE", "ALTER", "DROP", "INSERT", "UPDATE", "DELETE")

upgrade = command.upgrade
"""Alembic's own, for tests of the migrations."""


class RecordedUpgrade:
    """Stands in for `alembic.command.upgrade`: of each kind of database, only the first new store is migrated.

    The others are made by what the migrations did to it, within the transaction that they are given. A store that has
    a version already is always migrated, and so is one that is to have an earlier version than the newest.
    """

    def __init__(self) -> None:
        self._made: dict[str, list[tuple[str, Any]]] = {}

    def __call__(self, config: Config, revision: str) -> None:
        connection: sa.Connection = config.attributes["connection"]
        kind = connection.dialect.name
        if revision != "head" or sa.inspect(connection).has_table("alembic_version"):
            upgrade(config, revision)
        elif kind in self._made:
            for statement, parameters in self._made[kind]:
                connection.exec_driver_sql(statement, parameters)
        else:
            with _changes_by(connection) as made:
                upgrade(config, revision)
            self._made[kind] = made


@contextmanager
def _changes_by(connection: sa.Connection) -> Iterator[list[tuple[str, Any]]]:
    """The statements that change something, with their parameters."""
    changes: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.lstrip().startswith(_CHANGES):
            changes.append((statement, parameters or None))

    sa.event.listen(connection, "before_cursor_execute", note)
    try:
        yield changes
    finally:
        sa.event.remove(connection, "before_cursor_execute", note)
