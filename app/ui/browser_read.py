"""What the data browser reads: raw files, harmonized rows and reference tables. Small ones stay in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import streamlit as st

from app.actions import harmonize
from app.ui.visit import Visit
from core.datasets import raw
from core.datasets.browse import open_table, typed
from core.datasets.records import Dataset, DatasetKind
from core.harmonize.exports import unguarded
from core.harmonize.saved import HarmonizedRun
from core.harmonize.source import LINE, Source
from core.rmis.facts import FactType, fact_column

#: Files up to this size are read once and kept in memory; larger ones are read anew for every page.
KEPT_BYTES = 64 << 20


def run_rows(visit: Visit, run: HarmonizedRun) -> pl.LazyFrame:
    """The harmonized rows of a run. Raises as `harmonize.run_file`."""
    path = harmonize.run_file(visit.console, visit.principal, run.id)
    if path.suffix == ".parquet":
        return pl.scan_parquet(path, glob=False)
    return _typed_csv(path)


@contextmanager
def raw_rows(dataset: Dataset) -> Iterator[pl.LazyFrame]:
    """The rows of a raw file with LINE. Raises as `raw.open_raw`."""
    if dataset.size_bytes <= KEPT_BYTES:
        yield _kept(dataset.id, dataset.digest, dataset).frame
        return
    with raw.open_raw(dataset) as source:
        yield source.frame


def reference_rows(dataset: Dataset) -> pl.DataFrame:
    """A reference table, columns that hold only numbers as numbers. Raises IntegrityError."""
    return _reference(dataset.id, dataset.digest, dataset)


@st.cache_resource(max_entries=4, show_spinner="Reading the file")
def _kept(_id: str, digest: str, _dataset: Dataset) -> Source:
    del _id, digest  # they are what the cache tells files apart by
    with raw.open_raw(_dataset) as source:
        rows = source.frame.collect()
        return replace(source, frame=rows.lazy(), broken_file=None)


@st.cache_resource(max_entries=8, show_spinner="Reading the table")
def _reference(_id: str, digest: str, _dataset: Dataset) -> pl.DataFrame:
    del _id, digest
    with TemporaryDirectory(prefix="rmn-table-") as work, open_table(_dataset, work_dir=Path(work)) as source:
        return typed(source.frame.drop(LINE).collect())


def reference_sets(sets: list[Dataset]) -> dict[str, Dataset]:
    """Name → the newest reference dataset of that name."""
    found: dict[str, Dataset] = {}
    for dataset in sets:
        if dataset.kind is DatasetKind.REFERENCE:
            found.setdefault(dataset.name, dataset)
    return found


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
