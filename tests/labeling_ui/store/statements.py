"""SQL that the tests run beside the store, on a connection of its own."""

from typing import Any

import sqlalchemy as sa


def run(url: str, *statements: str) -> list[Any]:
    """Rows of the last statement, by a connection of its own."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        *_, result = [connection.exec_driver_sql(statement) for statement in statements]
        rows = [tuple(row) for row in result] if result.returns_rows else []
    engine.dispose()
    return rows
