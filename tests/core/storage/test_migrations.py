"""Migrations on the three databases."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from core.errors import ConflictError, IntegrityError, UnavailableError
from core.storage import migrate
from core.storage.database import Database, open_engine
from core.storage.tables import Base
from core.tenants import audit
from core.tenants.records import Tenant


def test_an_upgraded_empty_database_equals_the_models(empty_database_url: str) -> None:
    assert migrate.current_revision(empty_database_url) is None
    reached = migrate.upgrade(empty_database_url)
    assert migrate.current_revision(empty_database_url) == reached
    assert migrate.is_current(empty_database_url)
    engine = open_engine(empty_database_url)
    try:
        with engine.connect() as connection:
            options = {"compare_type": True, "compare_server_default": True}
            context = MigrationContext.configure(connection, opts=options)
            assert compare_metadata(context, Base.metadata) == []
        assert _foreign_keys_and_uniques(engine) == _foreign_keys_and_uniques_of_models()
    finally:
        engine.dispose()


def test_a_changed_table_is_noticed_by_the_comparison(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)
    engine = open_engine(empty_database_url)
    try:
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE jobs ADD COLUMN colour INTEGER"))
        with engine.connect() as connection:
            found = compare_metadata(MigrationContext.configure(connection), Base.metadata)
        assert [difference[0] for difference in found] == ["remove_column"]
    finally:
        engine.dispose()


def test_upgrading_twice_changes_nothing(empty_database_url: str) -> None:
    assert migrate.upgrade(empty_database_url) == migrate.upgrade(empty_database_url)


def test_two_processes_that_upgrade_at_once_both_succeed(empty_database_url: str) -> None:
    program = "import sys; from core.storage.migrate import upgrade; print(upgrade(sys.argv[1]))"
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", program, empty_database_url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    answers = [run.communicate(timeout=60) for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], answers
    assert len({out for out, _ in answers}) == 1
    assert migrate.is_current(empty_database_url)


@pytest.mark.parametrize("backend", ["mariadb"])
def test_an_interrupted_first_upgrade_is_finished_by_the_next(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)
    engine = open_engine(empty_database_url)
    try:
        with engine.begin() as connection:
            for statement in (
                "DROP TABLE job_points",
                "DROP TRIGGER audit_log_no_delete",
                "DELETE FROM alembic_version",
            ):
                connection.execute(text(statement))
        migrate.upgrade(empty_database_url)
        with engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    finally:
        engine.dispose()


def test_asking_for_the_revision_creates_no_file(tmp_path: Path) -> None:
    assert migrate.current_revision(f"sqlite:///{tmp_path / 'none.sqlite'}") is None
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_a_newer_version_is_refused(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)
    engine = open_engine(empty_database_url)
    try:
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        assert not migrate.is_current(empty_database_url)
        with pytest.raises(ConflictError, match="newer version"):
            migrate.upgrade(empty_database_url)
    finally:
        engine.dispose()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://postgres@127.0.0.1:1/test",
        "mariadb://root@127.0.0.1:1/test",
        "sqlite:////proc/1/none/rmn.sqlite",
    ],
)
def test_a_database_that_cannot_be_reached_is_explained(url: str) -> None:
    with pytest.raises(UnavailableError):
        migrate.upgrade(url)


def test_a_password_does_not_show_when_a_database_cannot_be_reached() -> None:
    with pytest.raises(UnavailableError) as refusal:
        migrate.current_revision("postgresql://ann:opensesame@127.0.0.1:1/test")
    assert "opensesame" not in str(refusal.value)


def test_a_file_that_is_no_database_is_explained(tmp_path: Path) -> None:
    (tmp_path / "rmn.sqlite").write_text("no database, " * 1000)
    with pytest.raises(IntegrityError, match="damaged"):
        migrate.upgrade(f"sqlite:///{tmp_path / 'rmn.sqlite'}")


def test_a_sqlite_file_that_holds_something_is_copied_before_it_is_upgraded(tmp_path: Path) -> None:
    file = tmp_path / "rmn.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript("CREATE TABLE notes (words TEXT); INSERT INTO notes VALUES ('kept')")
    migrate.upgrade(f"sqlite:///{file}")
    (copy,) = tmp_path.glob("rmn.sqlite.start-before-*.bak")
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT words FROM notes").fetchall() == [("kept",)]
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("notes",)]


def test_an_empty_sqlite_file_is_not_copied(tmp_path: Path) -> None:
    migrate.upgrade(f"sqlite:///{tmp_path / 'rmn.sqlite'}")
    assert not list(tmp_path.glob("*.bak"))


def test_a_current_sqlite_file_is_not_copied(tmp_path: Path, sqlite_template: Path) -> None:
    shutil.copy(sqlite_template, tmp_path / "rmn.sqlite")
    migrate.upgrade(f"sqlite:///{tmp_path / 'rmn.sqlite'}")
    assert not list(tmp_path.glob("*.bak"))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET actor = 'somebody else'",
        "DELETE FROM audit_log",
        "DELETE FROM audit_log WHERE seq = 1",
    ],
)
def test_the_audit_log_refuses_changes(
    database: Database, tenant: Tenant, now: datetime, statement: str
) -> None:
    with database.transaction() as s:
        audit.append(s, tenant_id=tenant.id, actor="ann", action="look", subject="job", now=now)
    with pytest.raises(DBAPIError, match="append-only"), database.transaction() as s:
        s.execute(text(statement))
    with database.transaction() as s:
        assert audit.verify(s, tenant.id).first_bad_seq is None
        assert len(audit.list_entries(s, tenant.id)) == 1


def test_the_audit_log_refuses_a_replacing_insert(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    with sqlite_database.transaction() as s:
        audit.append(s, tenant_id=sqlite_tenant.id, actor="ann", action="look", subject="job", now=now)
    replace = (
        "INSERT OR REPLACE INTO audit_log SELECT tenant_id, seq, at, 'eve', action, subject, detail, "
        "previous_hash, hash FROM audit_log"
    )
    with pytest.raises(DBAPIError, match="append-only"), sqlite_database.transaction() as s:
        s.execute(text(replace))


@pytest.mark.parametrize("backend", ["postgresql"])
def test_the_audit_log_refuses_to_be_truncated(database: Database, tenant: Tenant) -> None:
    with pytest.raises(DBAPIError, match="append-only"), database.transaction() as s:
        s.execute(text("TRUNCATE audit_log"))


def _foreign_keys_and_uniques(engine: Engine) -> set[tuple[str, str]]:
    """MariaDB tells unique indexes and unique constraints not apart, so they count as one kind."""
    look = inspect(engine)
    return {
        (table, str(found["name"]))
        for table in look.get_table_names()
        for found in [
            *look.get_foreign_keys(table),
            *look.get_unique_constraints(table),
            *(index for index in look.get_indexes(table) if index["unique"]),
        ]
    }


def _foreign_keys_and_uniques_of_models() -> set[tuple[str, str]]:
    tables = Base.metadata.tables.values()
    constraints = {(t.name, str(c.name)) for t in tables for c in t.constraints}
    indexes = {(t.name, str(i.name)) for t in tables for i in t.indexes if i.unique}
    return {each for each in constraints if each[1].startswith(("fk_", "uq_"))} | indexes
