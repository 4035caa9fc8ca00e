"""What tests share: real databases of every kind, a clock that stands still, settings with their own home.

- `database`: a migrated, empty Database; the test runs once each on SQLite, PostgreSQL and MariaDB
- `sqlite_database`: the same on SQLite alone, for what does not differ between databases
- `empty_database_url`: URL of a database without any table, on each of the three
- `settings`: Settings whose home is a temporary folder and whose database is migrated SQLite
- `tenant`, `other_tenant`: two workspaces in `database`; `sqlite_tenant`: one in `sqlite_database`
- `now`: an aware moment

RMN_TEST_POSTGRESQL_URL and RMN_TEST_MARIADB_URL name the servers. Tests that need one that cannot be reached
are skipped, or fail where RMN_TESTS_REQUIRE_ALL is set.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: two processes that spin starve each other
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Hundreds of processes are started here: each would translate the product's files anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from sqlalchemy import inspect, text
from sqlalchemy.exc import OperationalError

from core.settings import Settings
from core.storage.database import Database, open_engine
from core.storage.migrate import upgrade
from core.storage.tables import Base
from core.tenants import service as tenants
from core.tenants.records import Tenant

POSTGRESQL_URL = os.environ.get("RMN_TEST_POSTGRESQL_URL", "postgresql://postgres@127.0.0.1:5432/test")
MARIADB_URL = os.environ.get("RMN_TEST_MARIADB_URL", "mariadb://root@127.0.0.1:3306/test")
BACKENDS = ["sqlite", "postgresql", "mariadb"]
BROWSER = "tests/browser/"  # one server and one browser for all of them
# Tests whose node ids begin so take the longest, the longest first.
LONG = (
    BROWSER,
    "tests/house/test_types.py",
    "tests/faults/",
    "tests/app/test_command_line.py",
    "tests/core/training/",
    "tests/core/engine/",
    "tests/pages/",
    "tests/security/",
    "tests/house/",
    "tests/app/",
)
# How fast a shared machine draws examples says nothing about what is tested.
hypothesis_settings.register_profile("shared", suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("shared")
sys.dont_write_bytecode = False

NOW = datetime(2026, 11, 2, 9, 30, 15, 123456, tzinfo=UTC)


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied: cheaper than migrating for every test."""
    file = tmp_path_factory.mktemp("template") / "rmn.sqlite"
    upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture
def settings(tmp_path: Path, sqlite_template: Path) -> Settings:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(sqlite_template, home / "rmn.sqlite")
    return Settings(home=home)


@pytest.fixture
def sqlite_database(tmp_path: Path, sqlite_template: Path) -> Iterator[Database]:
    file = tmp_path / "rmn.sqlite"
    shutil.copy(sqlite_template, file)
    database = Database(f"sqlite:///{file}")
    yield database
    database.close()


@pytest.fixture
def sqlite_tenant(sqlite_database: Database, now: datetime) -> Tenant:
    with sqlite_database.transaction() as s:
        return tenants.create_tenant(s, name="Alpha Stores", now=now)


@pytest.fixture(scope="session")
def migrated_servers() -> Iterator[Callable[[str], str]]:
    """Backend → URL of a migrated schema that lives as long as this test process."""
    urls: dict[str, str] = {}

    def url_of(backend: str) -> str:
        if backend not in urls:
            urls[backend] = _create_schema(backend)
            upgrade(urls[backend])
        return urls[backend]

    yield url_of
    for backend, url in urls.items():
        _drop_schema(backend, url)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def database(backend: str, request: pytest.FixtureRequest) -> Iterator[Database]:
    if backend == "sqlite":
        yield request.getfixturevalue("sqlite_database")
        return
    database = Database(request.getfixturevalue("migrated_servers")(backend))
    _wipe(database)
    yield database
    database.close()


@pytest.fixture
def empty_database_url(backend: str, tmp_path: Path) -> Iterator[str]:
    if backend == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite'}"
        return
    url = _create_schema(backend)
    yield url
    _drop_schema(backend, url)


@pytest.fixture
def tenant(database: Database, now: datetime) -> Tenant:
    with database.transaction() as s:
        return tenants.create_tenant(s, name="Alpha Stores", now=now)


@pytest.fixture
def other_tenant(database: Database, now: datetime) -> Tenant:
    with database.transaction() as s:
        return tenants.create_tenant(s, name="Beta Market", now=now)


def _create_schema(backend: str) -> str:
    name = f"rmn_test_{secrets.token_hex(6)}"
    server, create = (
        (POSTGRESQL_URL, f"CREATE SCHEMA {name}")
        if backend == "postgresql"
        else (MARIADB_URL, f"CREATE DATABASE {name}")
    )
    try:
        _run(server, create)
    except OperationalError as error:
        reason = f"{backend} cannot be reached: {error.orig}"
        if os.environ.get("RMN_TESTS_REQUIRE_ALL"):
            pytest.fail(reason)
        pytest.skip(reason)
    if backend == "postgresql":
        return f"{server}{'&' if '?' in server else '?'}options=-csearch_path%3D{name}"
    return server.rpartition("/")[0] + f"/{name}"


def _drop_schema(backend: str, url: str) -> None:
    if backend == "postgresql":
        _run(POSTGRESQL_URL, f"DROP SCHEMA {url.rpartition('%3D')[2]} CASCADE")
    else:
        _run(MARIADB_URL, f"DROP DATABASE {url.rpartition('/')[2]}")


def _run(url: str, statement: str) -> None:
    engine = open_engine(url)
    try:
        with engine.begin() as connection:
            connection.execute(text(statement))
    finally:
        engine.dispose()


def _wipe(database: Database) -> None:
    """Empty all tables. The audit log refuses DELETE, so its triggers are set aside for that."""
    postgresql = database.engine.dialect.name == "postgresql"
    with database.engine.begin() as connection:
        off = "SET LOCAL session_replication_role = replica" if postgresql else "SET foreign_key_checks = 0"
        connection.execute(text(off))
        there = set(inspect(connection).get_table_names())
        for table in Base.metadata.tables.values():
            if table.name == "audit_log" and not postgresql:
                connection.execute(text("TRUNCATE audit_log"))
            elif table.name in there:
                connection.execute(table.delete())
        if not postgresql:
            connection.execute(text("SET foreign_key_checks = 1"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that at the end no test process waits long for the other."""
    items.sort(key=lambda item: _turn(item.nodeid))


def _turn(nodeid: str) -> int:
    return next((turn for turn, begin in enumerate(LONG) if nodeid.startswith(begin)), len(LONG))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`--dist loadfile` in the order above, which it would undo, and with all browser tests in one process."""
    if config.option.dist != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class InOrder(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return BROWSER if nodeid.startswith(BROWSER) else str(super()._split_scope(nodeid))

    config.option.loadscopereorder = False
    return InOrder(config, log)
