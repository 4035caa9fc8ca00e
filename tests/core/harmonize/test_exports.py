"""Rows leave as files and tables that are whole, safe to open, and say what they said."""

import csv
import io
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import polars as pl
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from psycopg import sql

from core.errors import ConflictError, InvalidInputError, UnavailableError
from core.harmonize.export_databases import write_duckdb, write_postgres
from core.harmonize.exports import write_csv, write_parquet
from core.harmonize.formulas import DANGEROUS, formula_safe, unguarded

POSTGRESQL_URL = os.environ.get("RMN_TEST_POSTGRESQL_URL", "postgresql://postgres@127.0.0.1:5432/test")
ROWS = pl.DataFrame(
    {
        "ts": [datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC), None],
        "date_local": [date(2026, 3, 4), None],
        "campaign_id": ["000123456789012345678", ""],
        "campaign_name": ['say "hi", café\nline', None],
        "clicks": [-3, None],
        "cost": [1.1, None],
        "price": pl.Series(["2.50", None]).cast(pl.Decimal(38, 2)),
        "suppressed": [True, None],
        "lineage.file": ["a.csv", "a.csv"],
    }
)
cells = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        "=1+1",
        "+cmd",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\0=1",
        '"=1',
        ";=1",
        " =1",
        "\u00a0=1",
        "\uff1d1",
        "'=1",
        "''=1",
        "-5",
        "+3.20",
        "\ufeff=1",
    ]
)


def read_back(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_bytes().decode(), newline="")))


def test_csv_says_times_blanks_and_numbers_as_they_are(tmp_path: Path) -> None:
    header, first, second = read_back(write_csv(ROWS, tmp_path / "deep" / "rows.csv"))
    assert header == ROWS.columns
    assert first[:4] == [
        "2026-03-04T05:06:07Z",
        "2026-03-04",
        "000123456789012345678",
        'say "hi", café\nline',
    ]
    assert first[4:] == ["-3", "1.1", "2.50", "true", "a.csv"]
    assert second == ["", "", "", "", "", "", "", "", "a.csv"]
    assert b'"",,' in (tmp_path / "deep" / "rows.csv").read_bytes()  # empty text is not null


def test_csv_of_times_in_another_zone_is_utc(tmp_path: Path) -> None:
    moved = ROWS.select(pl.col("ts").dt.convert_time_zone("Asia/Tokyo"))
    assert read_back(write_csv(moved, tmp_path / "a.csv"))[1] == ["2026-03-04T05:06:07Z"]


@settings(max_examples=150, deadline=None)
@given(st.lists(cells, min_size=1, max_size=8))
def test_no_cell_of_a_csv_starts_a_formula_and_every_one_comes_back(texts: list[str]) -> None:
    frame = pl.DataFrame({"t": texts}, schema={"t": pl.String})
    guarded = frame.select(formula_safe(pl.col("t"))).to_series().to_list()
    for text in guarded:
        bare = text.lstrip(" \u00a0\ufeff\u200b\"',;|") if not text.startswith("'") else "'"
        signed = text[:1] in "+-" and text[1:].replace(",", ".", 1).replace(".", "", 1).isdecimal()
        assert bare[:1] not in {*"=+-@\t\r\n\0\uff1d\uff0b\uff0d\uff20"} - {""} or signed, text
    assert (
        pl.DataFrame({"t": guarded}, schema={"t": pl.String})
        .select(unguarded(pl.col("t")))
        .to_series()
        .to_list()
        == texts
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(cells, min_size=1, max_size=6))
def test_a_csv_that_is_read_again_has_the_same_cells(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    frame = pl.DataFrame({"t": texts}, schema={"t": pl.String})
    path = write_csv(frame, tmp_path_factory.mktemp("csv") / "a.csv")
    cells = [row[0] for row in read_back(path)[1:]]
    again = pl.DataFrame({"t": cells}, schema={"t": pl.String})
    assert again.select(unguarded(pl.col("t"))).to_series().to_list() == texts


def test_plain_negative_numbers_stay_numbers(tmp_path: Path) -> None:
    path = write_csv(pl.DataFrame({"n": [-1.5], "t": ["-1.50"], "=bad()": ["-1-2"]}), tmp_path / "a.csv")
    assert read_back(path) == [["n", "t", "'=bad()"], ["-1.5", "-1.50", "'-1-2"]]


def test_separators_of_other_countries_cannot_open_a_new_cell(tmp_path: Path) -> None:
    """`a;=1+1` would be two cells where the semicolon separates; quoted it is one everywhere."""
    path = write_csv(pl.DataFrame({"t": ["a;=1+1", "b\t=1+1"]}), tmp_path / "a.csv")
    assert path.read_bytes() == b'"t"\n"a;=1+1"\n"b\t=1+1"\n'


def test_the_pattern_takes_all_signs_of_the_threat_list() -> None:
    starts = pl.Series(["=", "+", "-", "@", "\t", "\r", "\0"]) + "x"
    assert starts.str.contains(DANGEROUS).all()


def test_writing_again_gives_the_same_bytes(tmp_path: Path) -> None:
    for write, name in ((write_csv, "a.csv"), (write_parquet, "a.parquet")):
        first = write(ROWS.lazy(), tmp_path / name).read_bytes()
        assert write(ROWS.lazy(), tmp_path / name).read_bytes() == first


def test_a_failed_export_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = write_csv(ROWS, tmp_path / "a.csv")
    before = path.read_bytes()
    broken = ROWS.lazy().with_columns(pl.col("campaign_name").cast(pl.Int64, strict=True))
    for write in (write_csv, write_parquet):
        with pytest.raises(pl.exceptions.PolarsError):
            write(broken, path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["a.csv"]


def test_parquet_keeps_every_type(tmp_path: Path) -> None:
    assert_frame_equal(pl.read_parquet(write_parquet(ROWS, tmp_path / "a.parquet")), ROWS)


def test_nested_columns_are_refused_with_their_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="«parts» cannot be written"):
        write_csv(pl.DataFrame({"parts": [[1, 2]]}), tmp_path / "a.csv")


def test_a_duckdb_file_holds_the_rows_and_their_types(tmp_path: Path) -> None:
    path = write_duckdb(ROWS.lazy(), tmp_path / "o'dd [name]*.duckdb", "facts")
    with duckdb.connect(path, read_only=True) as database:
        relation = database.table("facts")
        assert relation.columns == ROWS.columns
        kinds = dict(zip(relation.columns, map(str, relation.types), strict=True))
        rows = relation.project("campaign_id, clicks, cost, price::varchar").fetchall()
    assert (kinds["ts"], kinds["clicks"], kinds["price"]) == (
        "TIMESTAMP WITH TIME ZONE",
        "BIGINT",
        "DECIMAL(38,2)",
    )
    assert rows == [("000123456789012345678", -3, 1.1, "2.50"), ("", None, None, None)]
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_duckdb_file_is_not_replaced_unasked(tmp_path: Path) -> None:
    path = write_duckdb(ROWS, tmp_path / "a.duckdb", "facts")
    with pytest.raises(ConflictError):
        write_duckdb(ROWS, path, "facts")
    write_duckdb(ROWS.head(1), path, "facts", replace=True)
    with duckdb.connect(path, read_only=True) as database:
        assert database.table("facts").shape[0] == 1


@pytest.mark.parametrize("name", ["", "a b", 'a"; DROP TABLE x; --', "1a", "a.b", "x" * 64, "ä"])
def test_names_that_could_be_more_than_a_name_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be the name"):
        write_duckdb(ROWS, tmp_path / "a.duckdb", name)
    for schema, table in ((name, "facts"), ("public", name)):
        with pytest.raises(InvalidInputError, match="cannot be the name"):
            write_postgres(ROWS, "postgresql://nowhere.invalid/x", schema, table)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def schema() -> Iterator[str]:
    name = f"rmn_export_{os.getpid()}"
    try:
        connection = psycopg.connect(POSTGRESQL_URL, autocommit=True, connect_timeout=5)
    except psycopg.Error:
        if os.environ.get("RMN_TESTS_REQUIRE_ALL"):
            raise
        pytest.skip("PostgreSQL cannot be reached")
    with connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        yield name
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))


def fetched(schema: str, table: str) -> list[tuple[object, ...]]:
    with psycopg.connect(POSTGRESQL_URL) as connection:
        return connection.execute(
            sql.SQL("SELECT * FROM {}").format(sql.Identifier(schema, table))
        ).fetchall()


def tables(schema: str) -> list[str]:
    with psycopg.connect(POSTGRESQL_URL) as connection:
        found = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = %s", (schema,)
        )
        return [row[0] for row in found.fetchall()]


@pytest.mark.database
def test_a_postgres_table_holds_the_rows(schema: str) -> None:
    assert write_postgres(ROWS.lazy(), POSTGRESQL_URL, schema, "facts") == 2
    first, second = fetched(schema, "facts")
    assert first[:4] == (ROWS["ts"][0], date(2026, 3, 4), "000123456789012345678", 'say "hi", café\nline')
    assert (first[4], first[5], str(first[6]), first[7]) == (-3, 1.1, "2.50", True)
    assert second == (None, None, "", None, None, None, None, None, "a.csv")


@pytest.mark.database
def test_hostile_columns_and_cells_are_only_names_and_text(schema: str) -> None:
    odd = ["\\.", "\\N", "", "a\tb\r\nc", "'; DROP TABLE facts; --", "\u202e😀", "nul\0here", '"']
    name = 'x"; DROP SCHEMA public; --'
    frame = pl.DataFrame({name: odd})
    assert write_postgres(frame, POSTGRESQL_URL, schema, "facts") == len(odd)
    assert [row[0] for row in fetched(schema, "facts")] == [text.replace("\0", "\ufffd") for text in odd]


@pytest.mark.database
def test_many_batches_arrive_in_order(schema: str) -> None:
    frame = pl.DataFrame({"n": range(120_001), "f": [float("nan"), float("inf"), -0.5] * 40_000 + [1.0]})
    assert write_postgres(frame, POSTGRESQL_URL, schema, "big") == 120_001
    rows = fetched(schema, "big")
    assert [row[0] for row in rows] == list(range(120_001))
    assert str(rows[0][1]) == "nan"
    assert rows[1][1] == float("inf")


@pytest.mark.database
def test_a_table_that_is_there_is_not_replaced_unasked(schema: str) -> None:
    write_postgres(ROWS, POSTGRESQL_URL, schema, "facts")
    with pytest.raises(ConflictError, match="is there already"):
        write_postgres(ROWS.head(1), POSTGRESQL_URL, schema, "facts")
    assert len(fetched(schema, "facts")) == 2
    assert write_postgres(ROWS.head(1), POSTGRESQL_URL, schema, "facts", replace=True) == 1
    assert len(fetched(schema, "facts")) == 1


@pytest.mark.database
def test_a_fault_in_the_middle_leaves_no_half_table_and_the_old_one(schema: str) -> None:
    write_postgres(ROWS, POSTGRESQL_URL, schema, "facts")
    rows = pl.LazyFrame({"n": ["1"] * 100_000 + ["no number"]}).with_columns(
        pl.col("n").cast(pl.Int64, strict=True)
    )
    with pytest.raises(pl.exceptions.PolarsError):
        write_postgres(rows, POSTGRESQL_URL, schema, "half")
    with pytest.raises(pl.exceptions.PolarsError):
        write_postgres(rows, POSTGRESQL_URL, schema, "facts", replace=True)
    huge = pl.DataFrame({"n": [2**63]}, schema={"n": pl.Int128})
    with pytest.raises(InvalidInputError, match="nothing was changed"):
        write_postgres(huge, POSTGRESQL_URL, schema, "facts", replace=True)
    assert tables(schema) == ["facts"]
    assert len(fetched(schema, "facts")) == 2


@pytest.mark.database
def test_a_schema_that_is_not_there_is_told(schema: str) -> None:
    with pytest.raises(InvalidInputError, match="does not exist"):
        write_postgres(ROWS, POSTGRESQL_URL, f"{schema}_gone", "facts")


def test_a_server_that_is_not_there_is_told_without_the_password() -> None:
    with pytest.raises(UnavailableError) as failed:
        write_postgres(ROWS, "postgresql://me:s3cret@127.0.0.1:1/x", "public", "facts")
    assert "s3cret" not in str(failed.value)
    with pytest.raises(InvalidInputError, match="no address"):
        write_postgres(ROWS, "host=127.0.0.1", "public", "facts")


@pytest.mark.parametrize("name", ["x" * 64, "ä" * 32, "a\0b"])
def test_column_names_that_postgres_would_cut_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be a column"):
        write_postgres(pl.DataFrame({name: [1]}), "postgresql://nowhere.invalid/x", "public", "facts")
