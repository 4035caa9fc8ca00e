"""A raw source of any retailer, opened: what it is, its rows as they stand in it, and what could not be read.

Formats are told by content. Text formats give every column as text and null for blank cells; nothing is
converted, trimmed or guessed here. A broken row is set aside with its line and reason and never stops a file.
"""

import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import polars as pl

from core.errors import NotFoundError, UnavailableError
from core.harmonize.source.bytes import GZIP, from_utf16, head_of, kind_of, looks_like_json, unpack_gzip
from core.harmonize.source.json import open_document, open_lines
from core.harmonize.source.parquet import open_parquet, sound_data
from core.harmonize.source.parts import BrokenLog
from core.harmonize.source.records import (
    LINE,
    BrokenRow,
    Source,
    SourceKind,
    SourceLimits,
    Table,
    refused,
)
from core.harmonize.source.sheets import open_sheets
from core.harmonize.source.text import open_text
from core.storage.files import sha256_of

__all__ = ["LINE", "BrokenRow", "Source", "SourceKind", "SourceLimits", "open_source", "sample", "sound_data"]


def open_source(
    path: Path,
    *,
    work_dir: Path,
    name: str = "",
    sheet: str | None = None,
    limits: SourceLimits = SourceLimits(),
) -> Source:
    """Open a raw file. `name` is shown instead of the path; `sheet` names the sheet of an XLSX file.

    What must be unpacked, recoded or set aside goes into a new folder below `work_dir`; the frame reads from
    there or from `path`, so both stay until it is no longer needed. Raises RefusedFileError for a file that
    cannot be read at all, NotFoundError for none.
    """
    name = name or path.name
    if not path.is_file():
        raise NotFoundError(f"There is no file {name}.", "", "Check the path.")
    size = path.stat().st_size
    if not size:
        raise refused(name, "It is empty.", "Choose another file.")
    with _folder_in(work_dir, name) as folder:
        log = BrokenLog(folder, limits)
        compressed = head_of(path, 2) == GZIP
        # The digest reads along in a thread of its own: hashing does not hold the interpreter.
        with ThreadPoolExecutor(1) as threads:
            digest = threads.submit(sha256_of, path)
            try:
                table = _read(path, folder, name, sheet, limits, log, compressed=compressed)
            finally:
                broken_file = log.close()
            told = digest.result()
        if not table.columns and not log.count:
            raise refused(name, "It holds no rows with named values.", "Choose another file.")
    return Source(
        name=name,
        kind=table.kind,
        compressed=compressed,
        digest=told,
        size_bytes=size,
        columns=table.columns,
        frame=table.frame,
        broken=tuple(log.first),
        broken_count=log.count,
        broken_file=broken_file,
        notes=table.notes,
        rows=table.rows,
    )


def sample(source: Source, rows: int = 200) -> pl.DataFrame:
    """The first rows of a source without LINE."""
    with sound_data(source.name):
        return source.frame.drop(LINE).head(rows).collect()


@contextmanager
def _folder_in(work_dir: Path, name: str) -> Iterator[Path]:
    """A new folder that stays only if the source can be opened: what a bomb unpacked to goes at once."""
    folder = None
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=work_dir, prefix="source."))
        yield folder
    except BaseException as error:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        if not isinstance(error, OSError):
            raise
        why = f"{error.strerror or error}."
        next_step = "Free some disk space, or check the rights of file and folder."
        raise UnavailableError(f"The file {name} could not be read.", why, next_step) from None


def _read(
    path: Path,
    folder: Path,
    name: str,
    sheet: str | None,
    limits: SourceLimits,
    log: BrokenLog,
    *,
    compressed: bool,
) -> Table:
    if compressed:
        path = unpack_gzip(path, folder / "unpacked", name, limits)
    if not path.stat().st_size:
        raise refused(name, "It is empty once unpacked.", "Choose another file.")
    kind = kind_of(head_of(path), name)
    if kind is not None and compressed:
        raise refused(name, f"A gzip file may hold a text, not {kind.upper()}.", "Unpack it first.")
    if kind is SourceKind.PARQUET:
        return open_parquet(path, name, limits)
    if kind is SourceKind.XLSX:
        return open_sheets(path, folder, name, limits, sheet)
    if from_utf16(path, folder / "utf8"):
        table = _read_text(folder / "utf8", folder, name, limits, log)
        return replace(table, notes=("The file is in UTF-16; it was read as such.", *table.notes))
    return _read_text(path, folder, name, limits, log)


def _read_text(path: Path, folder: Path, name: str, limits: SourceLimits, log: BrokenLog) -> Table:
    head = head_of(path)
    if not head.removeprefix(b"\xef\xbb\xbf").strip():
        raise refused(name, "It holds no rows.", "Choose another file.")
    kind = looks_like_json(head)
    table = open_document(path, folder, name, limits, log) if kind is SourceKind.JSON else None
    if table is not None:
        return table
    if kind is not None:
        return open_lines(path, folder, name, limits, log)
    return open_text(path, folder, name, limits, log)
