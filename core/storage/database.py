"""One database: its engine, and transactions."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session, sessionmaker

from core.errors import InvalidInputError, UnavailableError

# Before it SQLite could corrupt a write-ahead log that several connections write and checkpoint at once.
SAFE_WAL_VERSION = (3, 51, 3)
BUSY_TIMEOUT_MS = 15_000
_DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}


class Database:
    """Holds the connection pool of one database. Safe to share between threads, never between processes."""

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        self._readers = sessionmaker(self.engine.execution_options(reads_only=True), expire_on_commit=False)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session that commits at the end and rolls back on any error."""
        with self._sessions.begin() as session:
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session whose changes are thrown away. On SQLite it does not queue up with those that write."""
        with self._readers() as session:
            yield session

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def open_engine(url: str, *, create_folder: bool = True) -> Engine:
    """Open SQLite, PostgreSQL (psycopg) or MariaDB/MySQL (PyMySQL) by URL.

    Raises InvalidInputError for a URL that SQLAlchemy cannot read or a database that is not supported, and
    UnavailableError when the folder of a SQLite file cannot be made.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise InvalidInputError(
            "The database URL cannot be read.",
            "It must look like postgresql://user@host:5432/name, mysql://…, or sqlite:///path.",
            "Correct RMN_DATABASE_URL.",
        ) from None
    if parsed.drivername in _DRIVERS:
        parsed = parsed.set(drivername=_DRIVERS[parsed.drivername])
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if create_folder:
            _make_folder(str(parsed.database or ""))
        return _open_sqlite(str(parsed.database or ""))
    if backend not in ("postgresql", "mysql", "mariadb"):
        raise InvalidInputError(
            f"The database «{backend}» is not supported.",
            "SQLite, PostgreSQL, MariaDB and MySQL are.",
            "Correct RMN_DATABASE_URL.",
        )
    options: dict[str, Any] = {"pool_pre_ping": True, "pool_recycle": 1800}
    if backend in ("mysql", "mariadb"):
        # Two readers of one row must see each other's commits, as on the other databases.
        options["isolation_level"] = "READ COMMITTED"
        parsed = parsed.update_query_dict({"charset": "utf8mb4"})
    return create_engine(parsed, **options)


def _make_folder(path: str) -> None:
    if not path or path == ":memory:":
        return
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnavailableError(
            "The folder of the database cannot be made.",
            f"{Path(path).parent}: {error.strerror}.",
            "Make it, or choose another place with RMN_HOME or RMN_DATABASE_URL.",
        ) from None


def _open_sqlite(path: str) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})
    journal = "WAL" if sqlite3.sqlite_version_info >= SAFE_WAL_VERSION else "DELETE"

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        # SQLAlchemy begins transactions itself: the driver's own late BEGIN would let two writers deadlock.
        connection.isolation_level = None
        for pragma in (
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            f"journal_mode={journal}",
            "synchronous=FULL",
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        reads_only = connection.get_execution_options().get("reads_only", False)
        connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")

    return engine
