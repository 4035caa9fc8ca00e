"""Where `harmonize --to` writes: a table in a new DuckDB file, or in PostgreSQL. Drivers are loaded when one is meant."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import polars as pl
import typer

from core.harmonize.sinks import beside

_POSTGRES = ("postgresql://", "postgres://")
_BESIDE = (("rejected", ".csv"), ("broken", ".csv"), ("other_windows", ".parquet"))
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


@dataclass(frozen=True, repr=False)
class Target:
    """A table to be made. `url` may hold a password: it is never shown, `place` is."""

    place: str
    table: str
    schema: str = ""
    path: Path | None = None
    url: str = ""
    replace: bool = False


def read_target(to: str | None, table: str, schema: str, *, replace: bool) -> Target | None:
    """What `--to` names, refused before any work where it cannot be. Raises typer.BadParameter."""
    if to is None:
        return None
    for option, name in (("--table", table), ("--schema", schema)):
        if not _NAME.fullmatch(name):
            raise typer.BadParameter("letters, digits and underscores, no digit first", param_hint=option)
    if to.startswith(_POSTGRES):
        try:
            told = urlsplit(to)
            host = (told.hostname or "localhost") + (f":{told.port}" if told.port else "")
        except ValueError:
            raise typer.BadParameter("this is no address of a server", param_hint="--to") from None
        return Target(f"postgresql://{host}{told.path} {schema}.{table}", table, schema, None, to, replace)
    path = Path(to)
    if path.suffix.lower() not in (".duckdb", ".db"):
        raise typer.BadParameter("name a file *.duckdb, or postgresql://user@host/name", param_hint="--to")
    if path.exists() and not replace:
        raise typer.BadParameter("the file is there already; --replace replaces it", param_hint="--to")
    return Target(f"{path} {table}", table, "", path, "", replace)


@contextmanager
def rows_file(out: Path | None, target: Target | None) -> Iterator[Path]:
    """The file that the rows are written to: `out`, or for a table alone one that goes when the block ends.

    What lies beside it (rejected values, broken rows, other windows) is kept beside the DuckDB file, or under the
    table's name in the working directory.
    """
    if out is not None or target is None:
        yield out or Path()
        return
    with TemporaryDirectory(prefix="rmn-to-") as folder:
        rows = Path(folder) / "rows.parquet"
        yield rows
        for word, ending in _BESIDE:
            final = kept_beside(target, word, ending)
            final.unlink(missing_ok=True)  # of an earlier run: it would be taken for this one's
            if (made := beside(rows, word, ending)).is_file():
                shutil.move(made, final)


def kept_beside(target: Target, word: str, ending: str) -> Path:
    """Where a file beside the rows of a table is kept."""
    return beside(target.path or Path(target.table), word, ending)


def write_target(target: Target, rows: Path) -> None:
    """Make and fill the table, wholly or not at all. Raises ConflictError, InvalidInputError, UnavailableError."""
    from core.harmonize.export_databases import write_duckdb, write_postgres

    frame = pl.scan_parquet(rows, glob=False)
    if target.path is not None:
        write_duckdb(frame, target.path, target.table, replace=target.replace)
    else:
        write_postgres(frame, target.url, target.schema, target.table, replace=target.replace)
