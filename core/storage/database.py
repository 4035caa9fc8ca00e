"""One database: its engine, and transactions."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.errors import InvalidInputError, UnavailableError

# Before it SQLite could corrupt a write-ahead log that several connections write and checkpoint at once.
SAFE_WAL_VERSION = (3, 51, 3)
BUSY_TIMEOUT_MS = 15_000
POSTGRESQL_DISK_FULL = "53100"
MARIADB_DISK_FULL = (1021, 1114)  # the disk is full; the table is full
_DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}


class Database:
    """Holds the connection pool of one database. Safe to share between threads, never between processes."""

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        self._readers = sessionmaker(self.engine.execution_options(reads_only=True), expire_on_commit=False)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session that commits at the end and rolls back on any error. Raises UnavailableError on a full disk."""
        with _full_disk_explained(), self._sessions.begin() as session:
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session whose changes are thrown away. On SQLite it does not queue up with those that write."""
        with self._readers() as session:
            yield session

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


@contextmanager
def _full_disk_explained() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        if not _is_full_disk(error):
            raise
        raise UnavailableError(
            "The disk is full.",
            "The database has no room to write. Nothing of this change was kept, everything before it was.",
            "Free some disk space where the database is, then try again.",
        ) from error


def _is_full_disk(error: BaseException) -> bool:
    """Whether a full disk began it. SQLite gives the whole transaction up by itself, and what fails next is only
    that a savepoint or a transaction is gone; so the first error of the chain counts."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        number = link.args[0] if link.args else None
        if (
            getattr(link, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
            or getattr(link, "sqlstate", None) == POSTGRESQL_DISK_FULL
            or (number in MARIADB_DISK_FULL and type(link).__module__.startswith("pymysql"))
        ):
            return True
        link = link.__cause__ or link.__context__
    return False


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
