"""Connecting to the label database: its settings, its transactions, its version, its copies, its errors.

Everything in which SQLite and PostgreSQL differ is here; the statements are in the modules beside it. SQLite syncs its
log at every commit, so that an acknowledged label survives a power cut.
"""

import os
import select
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from foundation.errors import UserError
from foundation.files import sync_folder
from labeling_ui.store import tables
from labeling_ui.store.sqlite import files

_BUSY_MILLISECONDS = 10_000
_WRITER_LOCK = 7_265_104  # any number that other programs in the same PostgreSQL database do not use
_MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """An engine whose readers see a snapshot and whose writers go one at a time."""

    def __init__(self, url_or_path: str | Path) -> None:
        """Connect and bring the tables up to date; `UserError` if that cannot be done."""
        shown = str(url_or_path).rpartition("@")[2]  # without the password
        try:
            url = _url(url_or_path)
            shown = url.render_as_string()
            self.file = Path(url.database or "") if url.get_backend_name() == "sqlite" else None
            self.name = str(self.file or shown)
            if self.file:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                _refuse_strange_file(self.file)
                files.claim(self.file)
                files.warn_of_network(self.file)
            self.engine = _engine(url)
        except (sa.exc.ArgumentError, ModuleNotFoundError, OSError) as error:
            raise UserError(f"cannot open the label store {shown}: {error}") from error
        snapshot = {} if self.file else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        single = {} if self.file else {"isolation_level": "AUTOCOMMIT"}
        self._reader = self.engine.execution_options(**snapshot)
        self._asker = self.engine.execution_options(asks_once=True, **single)
        self._writer = self.engine.execution_options(writes=True)
        self._turn = threading.Lock()
        try:
            self._migrate()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A snapshot."""
        with self._plain_errors(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def ask(self) -> Iterator[sa.Connection]:
        """For one statement alone, which is a snapshot by itself: no transaction is begun and ended around it."""
        with self._plain_errors(), self._asker.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that no other writer overlaps, from its first statement on; durable when left."""
        with self._plain_errors(), self._alone():
            committing = False
            try:
                with self._writer.begin() as connection:
                    yield connection
                    committing = True
            except sa.exc.OperationalError as error:
                if committing and self.file is None:
                    raise UserError(
                        f"the connection to {self.name} was lost while this step was being saved, so nobody knows "
                        "whether it was. Try again: the same answer never counts twice."
                    ) from error
                raise

    def copy_to(self, path: Path) -> None:
        """Copy a SQLite database as it is now, readers and writers going on; whole or not at all. Replaces `path`."""
        if self.file is None:
            raise UserError(f"{self.name} is kept by PostgreSQL: copy it with pg_dump.")
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.unlink(missing_ok=True)
            os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # it holds names and passwords
            with closing(sqlite3.connect(self.file)) as source, closing(sqlite3.connect(partial)) as target:
                source.backup(target)
                target.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(path)
            sync_folder(path.parent)
        except (OSError, sqlite3.Error) as error:
            partial.unlink(missing_ok=True)
            raise UserError(f"cannot copy {self.file} to {path}: {error}. Nothing was changed.") from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Threads of this process wait in line: SQLite's own way of waiting is to ask again after a pause.

        In PostgreSQL each would wait with a connection of its own, which has every statement planned anew.
        """
        if not self._turn.acquire(timeout=_BUSY_MILLISECONDS / 1000 if self.file else -1):
            said = f"the label store {self.name} is locked. Nothing of this step was saved; try again."
            raise UserError(said) from TimeoutError()  # a failure of the store, and not of what it was given
        try:
            yield
        finally:
            self._turn.release()

    def _migrate(self) -> None:
        """Apply what is missing, all of it or nothing, after a copy of a SQLite file that holds something."""
        known = sorted(path.name[1:5] for path in (_MIGRATIONS / "versions").glob("m[0-9]*.py"))
        newest = known[-1]
        with self.read() as connection:
            if _version(connection) == newest:
                return
        from alembic import command  # only now: most starts have nothing to migrate
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        with self.write() as connection:
            version = _version(connection)
            if version == newest:
                return
            if version is not None and version not in known:
                raise UserError(
                    f"the label store {self.name} has version {version}, made by a newer rlhf-pipeline; this one knows "
                    f"up to {newest}. Upgrade rlhf-pipeline; the store was left as it is."
                )
            if version is None and set(sa.inspect(connection).get_table_names()) & set(tables.metadata.tables):
                raise UserError(f"{self.name} is a database, but not a label store. Choose another one.")
            if version is not None and self.file:
                self.copy_to(self.file.with_name(f"{self.file.name}.backup-{version}"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as error:
            raise UserError(
                f"the label store {self.name} could not be used: {_said(error)}. Nothing of this step was saved, and "
                "everything saved before is safe. Free space, start the database, or end what holds it, and try again."
            ) from error
        except (sa.exc.DataError, UnicodeEncodeError) as error:
            raise UserError(
                f"a text or number cannot be stored in {self.name}: {_said(error)}. Nothing of this step was saved."
            ) from error
        except sa.exc.IntegrityError:
            raise
        except sa.exc.DatabaseError as error:
            raise UserError(f"{self.name} cannot be used as a label store: {_said(error)}.") from error


def _said(error: Exception) -> str:
    """What the database says, on one line."""
    return " ".join(str(getattr(error, "orig", None) or error).split())


def insert_new(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows whose primary key is not there yet; returns how many there were."""
    if not rows:
        return 0
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(table).on_conflict_do_nothing(index_elements=list(table.primary_key))
    # The rows that come back are counted, because PostgreSQL's driver does not say how many it inserted.
    return len(connection.execute(statement.returning(*table.primary_key), list(rows)).all())


def rows_in(
    connection: sa.Connection, column: sa.Column[Any], values: Iterable[str], rows: sa.Select[Any] | None = None
) -> Iterator[sa.Row[Any]]:
    """All rows of the column's table (or of the statement `rows`) where the column is among `values`."""
    wanted = sorted(set(values))
    found = _rows_of(column, rows)
    for start in range(0, len(wanted), 10_000):  # SQLite takes 32,766 parameters a statement
        yield from connection.execute(found, {"wanted": wanted[start : start + 10_000]})


@lru_cache(200)
def _rows_of(column: sa.Column[Any], rows: sa.Select[Any] | None) -> sa.Select[Any]:
    """Made once: SQLAlchemy takes longer to put a statement together than SQLite to find a few rows."""
    every = sa.select(column.table) if rows is None else rows
    return every.where(column.in_(sa.bindparam("wanted", expanding=True)))


def _url(url_or_path: str | Path) -> sa.URL:
    if not isinstance(url_or_path, str) or "://" not in url_or_path:
        return sa.URL.create("sqlite", database=str(url_or_path))
    url = sa.make_url(url_or_path)
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "postgresql+psycopg"):
        raise sa.exc.ArgumentError("give the path of a SQLite file, or a URL that begins with postgresql://")
    return url


def _version(connection: sa.Connection) -> str | None:
    """The last migration that was applied to a store."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _refuse_strange_file(file: Path) -> None:
    """Raise `UserError` if the file is no label store, before anything could change in it."""
    if not file.is_file() or not file.stat().st_size:
        return
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        raise UserError(f"{file} cannot be used as a label store: {error}.") from error
    if found and not {"alembic_version", "prompts"} <= found:
        raise UserError(f"{file} is a database, but not a label store. Choose another file.")


def _engine(url: sa.URL) -> sa.Engine:
    # A web server has one connection a thread at most; waiting for the pool would only hide a leak. The one that was
    # used last is used again: PostgreSQL keeps the plans of a connection's statements.
    is_file = url.get_backend_name() == "sqlite"
    engine = sa.create_engine(url, pool_size=8, max_overflow=120, pool_timeout=30, pool_use_lifo=not is_file)
    if is_file:
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    else:
        sa.event.listen(engine, "checkout", _refuse_dead)
        sa.event.listen(engine, "begin", _begin_postgresql)
    return engine


def _refuse_dead(connection: Any, _record: object, _proxy: object) -> None:
    """Replace connections that were lost while nobody used them: the server may have been restarted.

    The end of a connection is all that an idle one has to read. Asking the server would take a round trip every time.
    """
    idle = select.poll()
    if not connection.closed:
        idle.register(connection.fileno(), select.POLLIN)
    if connection.closed or idle.poll(0):
        raise sa.exc.InvalidatePoolError("the connection was lost")


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
    options = connection.get_execution_options()
    if not options.get("asks_once"):
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writes") else "BEGIN")


def _begin_postgresql(connection: sa.Connection) -> None:
    if connection.get_execution_options().get("writes"):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})")
