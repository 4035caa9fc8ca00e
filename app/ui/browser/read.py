"""What the data browser reads: raw files, harmonized rows and reference tables. Small ones stay in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import streamlit as st

from core.datasets import raw
from core.datasets.browse import open_table, typed
from core.datasets.records import Dataset, DatasetKind
from core.harmonize.source.open import LINE, Source

#: Files up to this size are read once and kept in memory; larger ones are read anew for every page.
KEPT_BYTES = 64 << 20


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
