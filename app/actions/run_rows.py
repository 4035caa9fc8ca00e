"""The harmonized rows of a run: read as a table, written as a DuckDB file or into a PostgreSQL server."""

from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

import polars as pl

from app.actions import harmonize
from app.bootstrap import Console
from core.errors import InvalidInputError
from core.harmonize.formulas import unguarded
from core.harmonize.saved import HarmonizedRun
from core.rmis.facts import FactType, fact_column
from core.tenants import audit
from core.tenants.records import Permission, Principal

DUCKDB_TABLE = "rmis_rows"


def run_rows(c: Console, p: Principal, run: HarmonizedRun) -> pl.LazyFrame:
    """The harmonized rows of a run. Raises as `harmonize.run_file`."""
    path = harmonize.run_file(c, p, run.id)
    if path.suffix == ".parquet":
        return pl.scan_parquet(path, glob=False)
    return _typed_csv(path)


def write_duckdb_file(c: Console, p: Principal, run: HarmonizedRun, target: Path) -> Path:
    """The rows as a new DuckDB file with one table, `rmis_rows`. Raises ConflictError where the file is there."""
    from core.harmonize.export_databases import write_duckdb

    return write_duckdb(run_rows(c, p, run), target, DUCKDB_TABLE)


def write_postgres_table(
    c: Console,
    p: Principal,
    run: HarmonizedRun,
    *,
    address: str,
    password: str,
    schema: str,
    table: str,
    replace: bool = False,
) -> int:
    """The rows as a new table in a PostgreSQL server; how many. The password is used once and kept nowhere.

    `address`: postgresql://user@host:5432/name. Raises InvalidInputError, ConflictError, UnavailableError.
    """
    from core.harmonize.export_databases import write_postgres

    p.require(Permission.TRAIN)
    server, url = _server_of(address, password)
    rows = write_postgres(run_rows(c, p, run), url, schema, table, replace=replace)
    with c.database.transaction() as s:
        audit.append(
            s,
            tenant_id=p.tenant_id,
            actor=p.actor,
            action="harmonize.exported",
            subject=run.id,
            detail={"server": server, "schema": schema, "table": table, "rows": rows, "digest": run.digest},
            now=c.clock(),
        )
    return rows


def _server_of(address: str, password: str) -> tuple[str, str]:
    """Host and database as they may be written down, and the whole address with the password.

    A server is named: without a host the driver would take a socket of this machine, and with it the rights of
    the user that the console runs as. Of the options only sslmode is taken, for the same reason.
    """
    refused = InvalidInputError(
        "This is no address of a PostgreSQL server.",
        "It names a user, a host and a database, and no options but sslmode.",
        "Write it as postgresql://user@host:5432/name.",
    )
    try:
        parts = urlsplit(address.strip())
        port, options = parts.port or 5432, dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        raise refused from None
    name = parts.path.removeprefix("/")
    hosts = parts.hostname or ""
    if parts.scheme not in ("postgresql", "postgres") or not hosts or not parts.username or not name:
        raise refused
    if set(options) - {"sslmode"} or "," in hosts or "%" in hosts or "/" in name:
        raise refused
    if parts.password:
        raise InvalidInputError(
            "The address holds a password.",
            "An address is shown and may be written down.",
            "Put the password into its own field.",
        )
    secret = f":{quote(password, safe='')}" if password else ""
    host = f"[{hosts}]" if ":" in hosts else hosts
    where = f"{host}:{port}"
    url = urlunsplit(("postgresql", f"{parts.username}{secret}@{where}", f"/{name}", parts.query, ""))
    return f"{where}/{name}", url


def _typed_csv(path: Path) -> pl.LazyFrame:
    """Our own CSV: texts without their guard against formulas, numbers and times by their RMIS type."""
    frame = pl.scan_csv(path, infer_schema=False, glob=False)
    made = []
    for name in frame.collect_schema().names():
        column = pl.col(f"^{_quoted(name)}$")
        known = fact_column(name)
        match known.dtype if known else None:
            case FactType.INTEGER:
                made.append(column.cast(pl.Int64, strict=False))
            case FactType.NUMBER:
                made.append(column.cast(pl.Float64, strict=False))
            case FactType.TIMESTAMP:
                made.append(column.str.to_datetime("%Y-%m-%dT%H:%M:%SZ", strict=False, time_zone="UTC"))
            case FactType.DATE:
                made.append(column.str.to_date("%Y-%m-%d", strict=False))
            case _:
                made.append(unguarded(column))
    return frame.select(made)


def _quoted(name: str) -> str:
    return "".join(sign if sign.isalnum() or sign == "_" else f"\\{sign}" for sign in name)
