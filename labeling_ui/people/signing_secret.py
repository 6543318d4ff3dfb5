"""The secret that signs sessions and tickets, kept so that sign-ins outlive a restart.

It is in a file beside a SQLite database, and in the database itself if that is PostgreSQL: several servers share it.
"""

import contextlib
import os
import secrets
from pathlib import Path

import sqlalchemy as sa

from labeling_ui.store import tables
from labeling_ui.store.database import Database, insert_new


def secret_beside_file(store_url: str | Path) -> str | None:
    """The secret beside a SQLite file, readable by its owner only; None for any other database."""
    text = str(store_url)
    if "://" in text:
        url = sa.make_url(text)
        if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
            return None
        text = url.database
    path = Path(f"{text}.secret")
    if not path.exists():
        partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))
        with contextlib.suppress(FileExistsError):  # another process was first: its secret holds
            os.link(partial, path)
        partial.unlink()
    return path.read_text(encoding="ascii").strip()


def secret_in_database(database: Database) -> str:
    """The secret that all servers of a database share: made once, and kept in it."""
    wanted = sa.select(tables.server_secrets.c.secret).where(tables.server_secrets.c.purpose == "signing")
    with database.read() as connection:
        known = connection.execute(wanted).scalar_one_or_none()
    if known is None:
        with database.write() as connection:
            row = {"purpose": "signing", "secret": secrets.token_hex(32)}
            insert_new(connection, tables.server_secrets, [row])
            known = connection.execute(wanted).scalar_one()
    return str(known)
