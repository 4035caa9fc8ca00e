"""Reading Parquet: own types, structs taken apart by dotted names, lists as JSON text."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from core.errors import RefusedFileError
from core.harmonize.source.header import column_names
from core.harmonize.source.parts import check_rows
from core.harmonize.source.records import LINE, LINE_TYPE, SourceKind, SourceLimits, Table, refused

_KEY = "list"
Leaf = tuple[str, pl.Expr, pl.DataType]


@contextmanager
def sound_data(name: str) -> Iterator[None]:
    """Damage that is met only while rows are read, as the error for a file that cannot be read."""
    try:
        yield
    except (pl.exceptions.ComputeError, pl.exceptions.PanicException, OSError) as error:
        raise _damaged(name, error) from None


def open_parquet(path: Path, name: str, limits: SourceLimits) -> Table:
    """The table of a Parquet file, still lazy. Raises RefusedFileError for damaged or too large ones."""
    try:
        scanned = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        schema = scanned.collect_schema()
        rows = int(scanned.select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise _damaged(name, error) from None
    check_rows(rows, name, limits)
    leaves = [leaf for column, dtype in schema.items() for leaf in _leaves(column, pl.col(column), dtype)]
    if len(leaves) > limits.columns:
        raise refused(name, f"It has {len(leaves):,} columns; at most {limits.columns:,} are read.")
    columns, notes = column_names([path for path, _, _ in leaves])
    values, told = _values(scanned, name, columns, leaves)
    line = pl.row_index(LINE).cast(LINE_TYPE) + 1
    return Table(
        SourceKind.PARQUET, columns, scanned.select(*values, line.alias(LINE)), rows, (*notes, *told)
    )


def _leaves(path: str, value: pl.Expr, dtype: pl.DataType) -> Iterator[Leaf]:
    """(dotted path, expression, type) of each column once structs are taken apart."""
    if not isinstance(dtype, pl.Struct):
        yield path, value, dtype
        return
    for field in dtype.fields:
        inner = field.dtype if isinstance(field.dtype, pl.DataType) else field.dtype()
        yield from _leaves(f"{path}.{field.name}", value.struct.field(field.name), inner)


def _values(
    scanned: pl.LazyFrame, name: str, columns: tuple[str, ...], leaves: list[Leaf]
) -> tuple[list[pl.Expr], list[str]]:
    """An expression for each column, and notes on those that are not given as they are stored."""
    values, notes = [], []
    for column, (_, value, dtype) in zip(columns, leaves, strict=True):
        given = value
        if isinstance(dtype, pl.List | pl.Array):
            # Encoded inside an object of one key, {"list":[…]}, and taken out of it again.
            text = pl.struct(value.alias(_KEY)).struct.json_encode().str.slice(len(_KEY) + 4).str.head(-1)
            given = pl.when(value.is_null()).then(None).otherwise(text)
            notes.append(f"«{column}» holds lists; they are given as JSON text.")
        elif isinstance(dtype, pl.Binary) and not _is_text(scanned, value, name):
            given = value.bin.encode("hex")
            notes.append(f"«{column}» holds bytes that are no text; they are given as hexadecimal digits.")
        elif isinstance(dtype, pl.Categorical | pl.Enum | pl.Null | pl.Binary):
            given = value.cast(pl.String)
        values.append(given.alias(column))
    return values, notes


def _is_text(scanned: pl.LazyFrame, value: pl.Expr, name: str) -> bool:
    """Whether all bytes of a column are UTF-8, although the file does not say that they are text."""
    length = value.cast(pl.String).str.len_bytes().sum().alias("bytes")
    try:
        scanned.select(length).collect(engine="streaming")
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        if "utf8" in str(error).lower():
            return False
        raise _damaged(name, error) from None
    return True


def _damaged(name: str, error: BaseException) -> RefusedFileError:
    known = isinstance(error, pl.exceptions.PolarsError) and str(error)
    reason = str(error).splitlines()[0][:200] if known else "unreadable"
    return refused(name, f"Its data is damaged ({reason}).", "Copy or export it again.")
