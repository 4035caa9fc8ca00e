"""Raw files of retailers in the library: any format that `core.harmonize.source.open` reads, as datasets of kind events.

A broken row never stops an import: it is counted, its line is named, and harmonizing the file lists it in full.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError
from sqlalchemy.orm import Session

from core.datasets.findings import SHOWN_LINES, WARNING, finding_of_set, rows_word
from core.datasets.records import Dataset, DatasetKind, Problem
from core.datasets.registration import checked_name, register_stored, room_left
from core.datasets.uploads import StoredFile, quota_exceeded, store_upload
from core.errors import IntegrityError, InvalidInputError
from core.harmonize.preamble import complete_card
from core.harmonize.records import SourceCard
from core.harmonize.source.open import Source, open_source, sample
from core.settings import PROJECT_ROOT
from core.storage.text import storable_document

SOURCE_CARD = "source_card"
NOTES_KEPT = 50


@dataclass(frozen=True, slots=True)
class RawFile:
    """A raw file in its final place, with the entries of the card that it will have."""

    name: str
    stored: StoredFile
    entries: dict[str, Any]


def store_raw(
    file: BinaryIO,
    *,
    name: str,
    card: SourceCard | None,
    datasets_dir: Path,
    limit_bytes: int,
    room_bytes: int | None = None,
) -> RawFile:
    """Stream an upload to the disk, find out what it is, and count its rows. No database: this may take a while.

    Nothing stays when the file cannot be read. Raises RefusedFileError, InvalidInputError (name, size),
    QuotaExceededError (more than `room_bytes`), UnavailableError when the disk refuses.
    """
    name = checked_name(name)
    stored, entries = store_upload(
        file, datasets_dir, limit_bytes, lambda staging: _inspect(staging, name, card), room_bytes=room_bytes
    )
    return RawFile(name, stored, {**entries, "digest": stored.digest})


def register_raw(
    session: Session,
    tenant_id: str,
    raw: RawFile,
    *,
    datasets_dir: Path,
    quota_bytes: int | None,
    now: datetime,
) -> Dataset:
    """The stored file as a dataset. The same name and content give the same dataset, with the newer card.

    Raises QuotaExceededError when others have taken the room meanwhile; the stored file may stay.
    """
    made = register_stored(session, tenant_id, raw.name, raw.stored, entries=raw.entries, now=now)
    if quota_bytes is not None and room_left(session, tenant_id, datasets_dir, quota_bytes) < 0:
        raise quota_exceeded()
    return made


@contextmanager
def open_raw(dataset: Dataset, *, work_dir: Path | None = None) -> Iterator[Source]:
    """The file of a dataset as a source; what had to be unpacked goes with the block unless `work_dir` is given.

    Raises InvalidInputError (a set of another kind), IntegrityError (the file is missing or has changed).
    """
    if dataset.kind is not DatasetKind.EVENTS:
        raise InvalidInputError(
            f"«{dataset.name}» is no raw export of a retailer.",
            f"It is a dataset of kind {dataset.kind}.",
            "Choose a dataset of kind events.",
        )
    path = PROJECT_ROOT / dataset.path
    if not path.is_file():
        raise _changed(dataset, f"The data folder has no {path.name}.")
    with tempfile.TemporaryDirectory(prefix="rmn-raw-") as own:
        source = open_source(path, work_dir=work_dir or Path(own), name=dataset.name)
        if source.digest != dataset.digest:
            raise _changed(dataset, f"{path.name} is not the file with SHA-256 {dataset.digest[:12]}….")
        yield source


def told_card(dataset: Dataset) -> SourceCard | None:
    """The source card that was given with a raw file; None where nobody has said anything."""
    told = dataset.card.get(SOURCE_CARD)
    try:
        return SourceCard.model_validate(told) if isinstance(told, dict) and told else None
    except ValidationError:
        return None


def source_card_of(dataset: Dataset) -> SourceCard | None:
    """The same, completed with what the lines above the file's header say."""
    notes = dataset.card.get("notes")
    return complete_card(told_card(dataset), map(str, notes) if isinstance(notes, list) else ())


def preview_raw(dataset: Dataset, limit: int) -> list[dict[str, Any]]:
    """The first rows by column, as text. Values are untrusted. Raises as `open_raw`."""
    with open_raw(dataset) as source:
        return sample(source, rows=limit).to_dicts()


def check_raw(dataset: Dataset) -> list[Problem]:
    """What cannot be read of a raw file. Raises as `open_raw`."""
    with open_raw(dataset) as source:
        if not source.broken_count:
            return []
        first = source.broken[0].reason if source.broken else "they are damaged"
        message = (
            f"{rows_word(source.broken_count)} cannot be read, the first because {first.rstrip('.')}. "
            "All others can be harmonized; what is broken is listed then. Export the file again to have every row."
        )
        lines = [row.line for row in source.broken[:SHOWN_LINES]]
        return [finding_of_set("unreadable_rows", WARNING, message, source.broken_count, lines)]


def _inspect(path: Path, name: str, card: SourceCard | None) -> tuple[str, dict[str, Any]]:
    """Suffix and card entries of a raw file. Raises RefusedFileError."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".inspect-") as work_dir:
        source = open_source(path, work_dir=Path(work_dir), name=name)
        if not source.rows:
            raise InvalidInputError(
                f"«{name}» holds no rows that can be read.",
                f"{rows_word(source.broken_count)} cannot be read."
                if source.broken_count
                else "It has none.",
                "Choose another file.",
            )
        told = {} if card is None else card.model_dump(mode="json", exclude_unset=True)
        entries = {
            "name": name,
            "title": name,
            "kind": str(DatasetKind.EVENTS),
            "adapter_type": None,
            "description": "",
            "simulated": False,
            "format": str(source.kind),
            "compressed": source.compressed,
            "columns": [{"name": column, "meaning": "", "unit": ""} for column in source.columns],
            "rows": source.rows,
            "broken_rows": source.broken_count,
            "notes": list(source.notes[:NOTES_KEPT]),
            SOURCE_CARD: {key: value for key, value in told.items() if value not in ("", None)},
        }
        suffix = f".{source.kind}{'.gz' if source.compressed else ''}"
        return suffix, storable_document(entries)


def _changed(dataset: Dataset, why: str) -> IntegrityError:
    return IntegrityError(
        f"The file of «{dataset.name}» is missing or has changed since it was registered.",
        why,
        "Restore it, or import it again.",
    )
