"""Connecting to the label database: its settings, its transactions, its version, its errors.

Everything in which SQLite and PostgreSQL differ is here; the statements are in `store.py`. SQLite
syncs its log at every commit, so that an acknowledged label survives a power cut.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql, sqlite

from rlhf_pipeline.errors import UserError

_BUSY_MILLISECONDS = 10_000
_WRITER_LOCK = 7_265_104  # any number that other programs in the same PostgreSQL database do not use
_MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """An engine whose readers see a snapshot and whose writers go one at a time."""

    def __init__(self, url_or_path: str | Path) -> None:
        """Connect and bring the tables up to date; `UserError` where that cannot be done."""
        try:
            url = _url(url_or_path)
            self.name = url.database if url.drivername.startswith("sqlite") else url.render_as_string()
            self._engine = _engine(url)
        except (sa.exc.ArgumentError, ModuleNotFoundError, OSError) as error:
            raise UserError(f"cannot open the label store {url_or_path}: {error}") from error
        self._writer = self._engine.execution_options(writes=True)
        try:
            self._migrate()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A snapshot."""
        with self._plain_errors(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that no other writer overlaps, from its first statement on; durable when left."""
        with self._plain_errors(), self._writer.begin() as connection:
            yield connection

    def _migrate(self) -> None:
        """Apply what is missing, all of it or nothing."""
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        newest = ScriptDirectory.from_config(config).get_current_head()
        with self.read() as connection:
            version = MigrationContext.configure(connection).get_current_revision()
            strange = version is None and sa.inspect(connection).get_table_names()
        if version == newest:
            return
        if strange and self._engine.dialect.name == "sqlite":
            raise UserError(f"{self.name} is a database, but not a label store. Choose another file.")
        with self.write() as connection:
            known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
            version = MigrationContext.configure(connection).get_current_revision()
            if version is not None and version not in known:
                raise UserError(
                    f"the label store {self.name} has version {version}, made by a newer rlhf-pipeline; this one knows "
                    f"up to {newest}. Upgrade rlhf-pipeline; the store was left as it is."
                )
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.OperationalError, sa.exc.TimeoutError) as error:
            raise UserError(
                f"the label store {self.name} could not be used: {getattr(error, 'orig', None) or error}. Nothing of "
                "this step was saved, and everything saved before is safe. Free space, or end what holds the database, "
                "and try again."
            ) from error
        except sa.exc.IntegrityError:
            raise
        except sa.exc.DatabaseError as error:
            raise UserError(f"{self.name} cannot be used as a label store: {error.orig}.") from error


def insert_new(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows whose primary key is not there yet; returns how many there were."""
    if not rows:
        return 0
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(table).on_conflict_do_nothing(index_elements=list(table.primary_key))
    # The rows that come back are counted, because PostgreSQL's driver does not say how many it inserted.
    return len(connection.execute(statement.returning(*table.primary_key), list(rows)).all())


def _url(url_or_path: str | Path) -> sa.URL:
    if isinstance(url_or_path, str) and "://" in url_or_path:
        return sa.make_url(url_or_path)
    path = Path(url_or_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return sa.URL.create("sqlite", database=str(path))


def _engine(url: sa.URL) -> sa.Engine:
    # A web server has one connection a thread at most; waiting for the pool would only hide a leak.
    engine = sa.create_engine(url, pool_size=8, max_overflow=120, pool_timeout=30)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    else:
        sa.event.listen(engine, "begin", _begin_postgresql)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver's own BEGIN comes too late, and is never IMMEDIATE
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    # A writer that first reads and then asks for the lock can be refused at once, whatever the timeout.
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_postgresql(connection: sa.Connection) -> None:
    if connection.get_execution_options().get("writes"):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})")
