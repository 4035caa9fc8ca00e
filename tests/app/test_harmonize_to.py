"""harmonize --to: rows straight into a table."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import psycopg
import pytest
from psycopg import sql

from app.__main__ import main

POSTGRESQL_URL = os.environ.get("RMN_TEST_POSTGRESQL_URL", "postgresql://postgres@127.0.0.1:5432/test")
RAW = 'Date,Clicks,Cost\n2026-03-01,5,1.50\n2026-03-02,x,2.25\n"broken\n2026-03-03,9,4.00\n'
MAPPING: dict[str, Any] = {
    "account_timezone": "America/Chicago",
    "rules": [
        {"source_field": "Date", "target": "ts", "transform": {"op": "to_utc", "format": "%Y-%m-%d"}},
        {"source_field": "Clicks", "target": "clicks"},
        {"source_field": "Cost", "target": "cost"},
    ],
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "raw.csv").write_text(RAW)
    (tmp_path / "north.json").write_text(json.dumps(MAPPING))
    monkeypatch.setenv("RMN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def harmonize(*words: str) -> int:
    return main(["harmonize", "raw.csv", "--mapping", "north.json", *words])


def of_duckdb(path: Path, table: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(path, read_only=True) as database:
        return database.execute(f'select clicks, cost from "{table}" order by cost').fetchall()


def test_rows_become_a_table_and_what_did_not_fit_lies_beside_it(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert harmonize("--to", "out.duckdb", "--table", "facts", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert of_duckdb(place / "out.duckdb", "facts") == [(5, 1.5), (None, 2.25), (9, 4.0)]
    assert told["table"] == "out.duckdb facts"
    assert told["out_path"] is None
    assert Path(told["rejected_path"]).read_text().splitlines()[1].startswith('3,"Clicks"')
    assert '"broken' in Path(told["broken_path"]).read_text().replace('""', '"')
    assert {each.name for each in place.iterdir()} >= {"out.duckdb", "out.rejected.csv", "out.broken.csv"}
    assert not (place / "rows.parquet").exists()


def test_what_is_there_is_replaced_only_when_asked(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert harmonize("--to", "out.duckdb") == 0
    before = (place / "out.duckdb").read_bytes()
    assert harmonize("--to", "out.duckdb") == 2
    assert (place / "out.duckdb").read_bytes() == before
    assert harmonize("--to", "out.duckdb", "--table", "other", "--replace") == 0
    assert len(of_duckdb(place / "out.duckdb", "other")) == 3
    capsys.readouterr()


def test_a_file_and_a_table_at_once(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert harmonize("--out", "rows.parquet", "--to", "out.duckdb") == 0
    assert (place / "rows.parquet").is_file()
    assert (place / "rows.rejected.csv").is_file()
    assert "out.duckdb rows" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--to", "out.txt"),
        ("--to", "out.duckdb", "--table", "a;drop"),
        ("--to", "out.duckdb", "--out", "rows.csv"),
        ("--to", "postgresql://x/y", "--schema", "a.b"),
        ("--to", "postgresql://u:s3cret@x:99999999/y"),
    ],
)
def test_a_target_that_cannot_be_is_refused_before_any_work(
    place: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    there = set(place.iterdir())
    assert harmonize(*words) == 2
    assert set(place.iterdir()) == there
    assert "s3cret" not in "".join(capsys.readouterr())


def test_the_password_of_a_server_that_does_not_answer_is_not_shown(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert harmonize("--to", "postgresql://me:s3cret@127.0.0.1:1/x", "--json") != 0
    told = "".join(capsys.readouterr())
    assert "s3cret" not in told
    assert "cannot be reached" in told
    assert not any(
        "s3cret" in each.read_text(errors="replace") for each in place.rglob("*") if each.is_file()
    )


@pytest.fixture
def schema() -> Iterator[str]:
    name = f"to_{uuid4().hex[:12]}"
    with psycopg.connect(POSTGRESQL_URL, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        yield name
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))


@pytest.mark.database
def test_rows_become_a_table_of_postgres(
    place: Path, schema: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--to", POSTGRESQL_URL, "--schema", schema, "--table", "facts")
    assert harmonize(*words, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["table"].endswith(f" {schema}.facts")
    assert "@" not in told["table"]
    query = sql.SQL("SELECT clicks, cost FROM {} ORDER BY cost").format(sql.Identifier(schema, "facts"))
    with psycopg.connect(POSTGRESQL_URL) as connection:
        assert connection.execute(query).fetchall() == [(5, 1.5), (None, 2.25), (9, 4.0)]
    assert harmonize(*words) != 0
    assert harmonize(*words, "--replace") == 0
    assert (place / "facts.rejected.csv").is_file()
