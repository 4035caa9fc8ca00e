"""Harmonized rows as tables of databases: a DuckDB file, a table in PostgreSQL.

Each is wholly there or not at all: the file is renamed into place, the table is made and filled in one transaction.
Identifiers are checked and quoted by the drivers; no statement is put together from text of the data.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import polars as pl
import psycopg
from psycopg import sql

from core.errors import ConflictError, InvalidInputError, UnavailableError
from core.harmonize.exports import PRIVATE, Frame, plain_columns
from core.storage.files import staged_file

#: What tables and schemas may be called. Columns may have any name that the database takes.
_TABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
POSTGRES_NAME_BYTES, POSTGRES_COLUMNS = 63, 1600
BATCH_ROWS = 50_000
CONNECT_TIMEOUT_S = 10


def write_duckdb(frame: Frame, path: Path, table: str, *, replace: bool = False) -> Path:
    """A new DuckDB file with one table.

    Raises InvalidInputError for a table name that is none, ConflictError where the file is there and not `replace`.
    """
    _require_name(table, "table")
    if path.exists() and not replace:
        raise ConflictError(
            f"{path.name} is there already.",
            "It is not replaced unasked.",
            "Choose another name or allow replacing it.",
        )
    with tempfile.TemporaryDirectory() as folder, staged_file(path, PRIVATE) as part:
        rows = Path(folder) / "rows.parquet"
        plain_columns(frame)[0].sink_parquet(rows, maintain_order=True)
        part.unlink()  # DuckDB makes its own file and takes an empty one for a broken one
        try:
            with duckdb.connect(part) as database:
                database.read_parquet(str(rows)).create(table)
        except duckdb.Error as error:
            raise InvalidInputError(
                "The rows could not be written as a DuckDB table.",
                _first_line(error),
                "Check the column names.",
            ) from error
        finally:
            part.with_name(part.name + ".wal").unlink(missing_ok=True)
    return path


def write_postgres(frame: Frame, url: str, schema: str, table: str, *, replace: bool = False) -> int:
    """A new table in PostgreSQL, filled by COPY; returns its rows. `url`: postgresql://user@host:5432/name.

    Making, filling and (with `replace`) removing an older table are one transaction: a fault leaves all as it was.
    NUL, which PostgreSQL cannot hold, becomes U+FFFD. Raises InvalidInputError for names and columns that cannot be,
    ConflictError where the table is there and not `replace`, UnavailableError where the server cannot be reached.
    """
    _require_name(schema, "schema")
    _require_name(table, "table")
    lazy, columns = plain_columns(frame)
    _require_columns(columns)
    with _connected(url) as connection:
        try:
            with connection.transaction(), connection.cursor() as cursor:
                return _fill(cursor, lazy, columns, sql.Identifier(schema, table), replace=replace)
        except psycopg.errors.DuplicateTable as error:
            raise ConflictError(
                f"The table {schema}.{table} is there already.",
                "It is not replaced unasked.",
                "Choose another name or allow replacing it.",
            ) from error
        except psycopg.Error as error:
            raise InvalidInputError(
                f"The rows could not be written to {schema}.{table}; nothing was changed.",
                error.diag.message_primary or _first_line(error),
                "Check that the schema exists and that this user may create tables in it.",
            ) from error


def _fill(
    cursor: psycopg.Cursor, lazy: pl.LazyFrame, columns: pl.Schema, name: sql.Identifier, *, replace: bool
) -> int:
    if replace:
        cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))
    kinds = [sql.SQL("{} {}").format(sql.Identifier(n), _postgres_type(t)) for n, t in columns.items()]
    cursor.execute(sql.SQL("CREATE TABLE {} ({})").format(name, sql.SQL(", ").join(kinds)))
    rows = 0
    statement = sql.SQL("COPY {} FROM STDIN (FORMAT csv, ENCODING 'UTF8')").format(name)
    whole = lazy.with_columns(pl.col(pl.String).str.replace_all("\x00", "\ufffd", literal=True))
    with cursor.copy(statement) as copy:
        for batch in whole.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True):
            copy.write(batch.write_csv(include_header=False, quote_style="non_numeric").encode())
            rows += batch.height
    return rows


def _postgres_type(dtype: pl.DataType) -> sql.SQL:
    if dtype.is_integer():
        return sql.SQL("numeric(20)") if dtype == pl.UInt64 else sql.SQL("bigint")
    if isinstance(dtype, pl.Decimal):
        return sql.SQL("numeric")
    if isinstance(dtype, pl.Datetime):
        return sql.SQL("timestamptz") if dtype.time_zone else sql.SQL("timestamp")
    if dtype.is_float():
        return sql.SQL("double precision")
    return {pl.Boolean: sql.SQL("boolean"), pl.Date: sql.SQL("date")}.get(type(dtype), sql.SQL("text"))


@contextmanager
def _connected(url: str) -> Iterator[psycopg.Connection]:
    if not url.startswith(("postgresql://", "postgres://")):
        raise InvalidInputError(
            "This is no address of a PostgreSQL server.", "", "Write it as postgresql://user@host:5432/name."
        )
    try:
        connection = psycopg.connect(url, connect_timeout=CONNECT_TIMEOUT_S, client_encoding="UTF8")
    except psycopg.Error as error:
        # The message of the driver may repeat the address, and that the password.
        raise UnavailableError(
            "The PostgreSQL server cannot be reached.", "", "Check the address, the user and the password."
        ) from error
    with connection:
        yield connection


def _require_name(name: str, what: str) -> None:
    if not _TABLE_NAME.fullmatch(name):
        raise InvalidInputError(
            f"«{name[:80]}» cannot be the name of a {what}.",
            "It must be letters, digits and underscores, begin with no digit, and have at most 63 signs.",
            "Choose another name.",
        )


def _require_columns(schema: pl.Schema) -> None:
    """PostgreSQL cuts longer names silently, so that two columns may become one."""
    long = [name for name in schema if not 0 < len(name.encode()) <= POSTGRES_NAME_BYTES or "\x00" in name]
    if long or not 0 < len(schema) <= POSTGRES_COLUMNS:
        what = (
            f"«{long[0][:80]}» cannot be a column in PostgreSQL."
            if long
            else "PostgreSQL cannot hold this table."
        )
        raise InvalidInputError(
            what,
            f"A name has at most {POSTGRES_NAME_BYTES} bytes, a table at most {POSTGRES_COLUMNS} columns.",
            "Rename or leave out columns.",
        )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:300]
