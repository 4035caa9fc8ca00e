"""Bring a database to the schema that this version of the product needs."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from core.errors import BusyError, ConflictError, IntegrityError, UnavailableError
from core.storage.database import open_engine

LOCK_WAIT_S = 120
_LOCK_NUMBER = 0x726D6E5F6C6F7261  # «rmn_lora», so that no other program's advisory lock is in the way


def upgrade(url: str) -> str:
    """Run all missing revisions and return the revision reached. Safe to call from several processes at once.

    A SQLite file that holds anything is copied beside itself before it is changed. Raises UnavailableError when
    the database cannot be reached, BusyError when another process holds it for too long, IntegrityError for a file
    that is no database, ConflictError for a database that a newer version of the product has upgraded.
    """
    engine = open_engine(url)
    try:
        with _locked(engine) as connection:
            before = _revision(connection)
            newest = _newest()
            if before != newest:
                _refuse_newer(before)
                _keep_copy(engine, before, newest)
                config = _config()
                config.attributes["connection"] = connection
                config.attributes["transactional_ddl"] = engine.dialect.name in ("sqlite", "postgresql")
                command.upgrade(config, "head")
            return newest
    finally:
        engine.dispose()


def current_revision(url: str) -> str | None:
    """The revision of a database; None where nothing has been set up. Creates nothing. Raises as `upgrade` does."""
    engine = open_engine(url, create_folder=False)
    try:
        if _is_missing_file(engine):
            return None
        with _explained(engine), engine.execution_options(reads_only=True).connect() as connection:
            return _revision(connection)
    finally:
        engine.dispose()


def is_current(url: str) -> bool:
    """Whether the database has exactly the schema that this version needs."""
    return current_revision(url) == _newest()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _newest() -> str:
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    if newest is None:
        raise LookupError("the migrations folder holds no revision")
    return newest


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _refuse_newer(revision: str | None) -> None:
    try:
        if revision is not None:
            ScriptDirectory.from_config(_config()).get_revision(revision)
    except CommandError:
        raise ConflictError(
            "This database belongs to a newer version of the product.",
            f"It is at revision {revision}, which this version does not know.",
            "Start the newer version, or restore the copy that was made before the upgrade.",
        ) from None


@contextmanager
def _locked(engine: Engine) -> Iterator[Connection]:
    """One transaction in which no other process upgrades the same database."""
    with ExitStack() as held:
        with _explained(engine):
            connection = held.enter_context(engine.begin())  # on SQLite BEGIN IMMEDIATE, which is the lock
            if engine.dialect.name == "postgresql":
                connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_WAIT_S}s'"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK_NUMBER})
            elif engine.dialect.name in ("mysql", "mariadb"):
                held.enter_context(_named_lock(connection))
            _revision(connection)
        yield connection


@contextmanager
def _named_lock(connection: Connection) -> Iterator[None]:
    # DDL commits by itself on MariaDB; a named lock belongs to the connection and outlives that.
    name = f"rmn_{hashlib.sha256(str(connection.engine.url.database).encode()).hexdigest()[:32]}"
    if not connection.scalar(text("SELECT GET_LOCK(:name, :wait)"), {"name": name, "wait": LOCK_WAIT_S}):
        raise _busy()
    try:
        yield
    finally:
        connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": name})


@contextmanager
def _explained(engine: Engine) -> Iterator[None]:
    """Say in words why a database cannot be opened."""
    try:
        yield
    except DBAPIError as error:
        reason = " ".join(str(error.orig).split())[:300]
        if "locked" in reason or "lock timeout" in reason:
            raise _busy() from None
        if "not a database" in reason or "malformed" in reason:
            raise IntegrityError(
                "The database file is damaged, or is no database.",
                f"{engine.url.database}: {reason}.",
                "Put a copy of it back (*.bak lies beside it), or move it away to start with an empty one.",
            ) from None
        raise UnavailableError(
            "The database cannot be opened.",
            f"{engine.url.render_as_string(hide_password=True)}: {reason}",
            "Start the database, or correct RMN_DATABASE_URL.",
        ) from None


def _busy() -> BusyError:
    return BusyError(
        "The database is held by another process.",
        "It is being upgraded, or somebody has an open transaction.",
        "Wait for that to end, then start again.",
        retry_after_s=30,
    )


def _is_missing_file(engine: Engine) -> bool:
    return engine.dialect.name == "sqlite" and not Path(str(engine.url.database or "")).is_file()


def _keep_copy(engine: Engine, before: str | None, after: str) -> None:
    """Copy a SQLite file that holds tables, through SQLite itself, so that the copy is whole."""
    if engine.dialect.name != "sqlite" or engine.url.database in (None, "", ":memory:"):
        return
    file = Path(str(engine.url.database))
    with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as source:
        if not source.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            return
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        copy = file.with_name(f"{file.name}.{before or 'start'}-before-{after}-{moment}.bak")
        with closing(sqlite3.connect(copy)) as target:
            source.backup(target)
