"""Rows of a run as a DuckDB file and as a table of a PostgreSQL server; addresses that are refused."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import duckdb
import psycopg
import pytest
from psycopg import sql

from app import harmonize_child
from app.actions import datasets, harmonize, mappings, run_rows
from app.bootstrap import Console
from core.errors import ConflictError, InvalidInputError, PermissionDeniedError, UnavailableError
from core.harmonize.records import Mapping, Rule, SourceCard, Transform
from core.harmonize.saved import HarmonizedRun
from core.jobs import service as jobs
from core.tenants import audit
from core.tenants.records import Role
from core.training.progress import Stop
from tests.app.conftest import Workspace

POSTGRESQL_URL = os.environ.get("RMN_TEST_POSTGRESQL_URL", "postgresql://postgres@127.0.0.1:5432/test")
RAW = b"Day,Clicks,Spend\n2026-03-01,3,1.50\n2026-03-02,12,3.75\n"
RULES = Mapping(
    currency="USD",
    rules=(
        Rule(
            source_field="Day", target="ts", transform=Transform(op="to_utc", format="%Y-%m-%d", grain="day")
        ),
        Rule(source_field="Clicks", target="clicks"),
        Rule(source_field="Spend", target="cost", transform=Transform(op="parse_number")),
    ),
)


@pytest.fixture
def run(console: Console, workspace: Workspace) -> HarmonizedRun:
    who = workspace.principal()
    datasets.import_raw(console, who, io.BytesIO(RAW), "north", SourceCard(retailer="North"))
    mappings.save_mapping(console, who, name="north", mapping=RULES)
    job = harmonize.submit_harmonize(console, who, dataset="north", mapping="north")
    with console.database.transaction() as s:
        claimed = jobs.claim(s, job.id, now=console.clock())
    assert claimed is not None
    harmonize_child.run_job(console.database, console.settings, job.id, claimed.fence, Stop())
    (made,) = harmonize.list_runs(console, who)
    return made


@pytest.fixture
def schema() -> Iterator[str]:
    name = f"rmn_export_{os.getpid()}"
    with psycopg.connect(POSTGRESQL_URL, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        yield name
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))


def test_a_duckdb_file_holds_the_rows(
    console: Console, workspace: Workspace, run: HarmonizedRun, tmp_path: Path
) -> None:
    made = run_rows.write_duckdb_file(console, workspace.principal(), run, tmp_path / "rows.duckdb")
    with duckdb.connect(made, read_only=True) as database:
        assert database.sql("SELECT clicks, cost FROM rmis_rows ORDER BY ts").fetchall() == [
            (3, 1.5),
            (12, 3.75),
        ]


@pytest.mark.database
def test_a_table_in_postgres_holds_the_rows_and_the_audit_log_tells_where_without_the_password(
    console: Console, workspace: Workspace, run: HarmonizedRun, schema: str
) -> None:
    who = workspace.principal()
    told = {"address": POSTGRESQL_URL, "password": "s3cret", "schema": schema, "table": "facts"}
    assert run_rows.write_postgres_table(console, who, run, **told) == 2
    with psycopg.connect(POSTGRESQL_URL) as connection:
        query = sql.SQL("SELECT sum(clicks) FROM {}").format(sql.Identifier(schema, "facts"))
        assert connection.execute(query).fetchone() == (15,)
    with pytest.raises(ConflictError):
        run_rows.write_postgres_table(console, who, run, **told)
    assert run_rows.write_postgres_table(console, who, run, **told, replace=True) == 2
    with console.database.reading() as s:
        entry = next(e for e in audit.list_entries(s, who.tenant_id) if e.action == "harmonize.exported")
    assert entry.detail["table"] == "facts"
    assert "127.0.0.1" in entry.detail["server"]
    assert "s3cret" not in str(entry)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "mysql://me@db.example/x",
        "postgresql://db.example/x",
        "postgresql:///x?host=/var/run/postgresql",
        "postgresql://me@/x",
        "postgresql://me@db.example",
        "postgresql://me@db.example:99999/x",
        "postgresql://me@db.example/x?host=/var/run/postgresql",
        "postgresql://me@db.example/x?passfile=/etc/passwd",
        "postgresql://me@db.example/x?service=other",
        "postgresql://me@%2Fvar%2Frun/x",
        "postgresql://me@one.example,two.example/x",
        "postgresql://me:secret@db.example/x",
    ],
)
def test_an_address_that_names_no_server_is_refused(
    console: Console, workspace: Workspace, run: HarmonizedRun, address: str
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        run_rows.write_postgres_table(
            console, workspace.principal(), run, address=address, password="", schema="public", table="facts"
        )
    assert "secret" not in str(refused.value)


def test_a_server_that_is_not_there_is_said_without_the_password(
    console: Console, workspace: Workspace, run: HarmonizedRun
) -> None:
    with pytest.raises(UnavailableError) as unavailable:
        run_rows.write_postgres_table(
            console,
            workspace.principal(),
            run,
            address="postgresql://me@127.0.0.1:9/x?sslmode=disable",
            password="p@ss/word",
            schema="public",
            table="facts",
        )
    assert "p@ss" not in str(unavailable.value)


def test_a_viewer_writes_to_no_server(console: Console, workspace: Workspace, run: HarmonizedRun) -> None:
    with pytest.raises(PermissionDeniedError):
        run_rows.write_postgres_table(
            console,
            workspace.principal(Role.VIEWER),
            run,
            address="postgresql://me@db.example/x",
            password="",
            schema="public",
            table="facts",
        )
