"""SQL that the tests run beside the store, on a connection of its own, and what the store asks meanwhile."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from labeling_ui.store.store import Store


def run(url: str, *statements: str) -> list[Any]:
    """Rows of the last statement, by a connection of its own."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        *_, result = [connection.exec_driver_sql(statement) for statement in statements]
        rows = [tuple(row) for row in result] if result.returns_rows else []
    engine.dispose()
    return rows


@contextmanager
def statements(store: Store) -> Iterator[list[str]]:
    """What is asked of the database meanwhile, and each `COMMIT` that ends a transaction of more than one question."""
    seen: list[str] = []

    def note(connection: sa.Connection, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    def ended(connection: sa.Connection) -> None:
        if not connection.get_execution_options().get("asks_once"):
            seen.append("COMMIT")

    events: dict[str, Callable[..., Any]] = {"before_cursor_execute": note, "commit": ended}
    for name, listener in events.items():
        sa.event.listen(store.database.engine, name, listener)
    try:
        yield seen
    finally:
        for name, listener in events.items():
            sa.event.remove(store.database.engine, name, listener)
