"""The dataset library: register, import, find, read and check."""

from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy.orm import Session

from core.datasets import cards, raw, store
from core.datasets.check import check_examples, require_trainable
from core.datasets.doctor import examine
from core.datasets.examples import Census, open_examples, take_census, unreadable_rows
from core.datasets.findings import ERROR, SHOWN_LINES, finding_of_set, rows_word
from core.datasets.formats import detect_format, read_rows
from core.datasets.layouts import Outline
from core.datasets.records import Dataset, DatasetKind, Example, Preference, Problem
from core.datasets.registration import checked_name, is_current, register_stored, room_left
from core.datasets.rows import Fault, Row
from core.datasets.uploads import StoredFile, store_upload
from core.errors import IntegrityError, InvalidInputError, NotFoundError
from core.settings import PROJECT_ROOT
from core.storage.files import sha256_of

__all__ = [
    "check_dataset",
    "check_examples",
    "dataset_path",
    "find_by_name",
    "get",
    "import_upload",
    "list_datasets",
    "preview_rows",
    "read_examples",
    "read_preferences",
    "register_file",
    "require_trainable",
]

ADAPTER_TYPES = ("retailer", "task", "brand", "domain")
MAX_PREVIEW_ROWS = 1000


def register_file(
    session: Session, tenant_id: str, *, path: Path, card: dict[str, Any] | None, name: str, now: datetime
) -> Dataset:
    """Register a file where it lies. The same name and content give the same dataset, with the newer card.

    A dataset registered at this path with other content is superseded: listed no more, still found by id.
    Without a card the file must be a training file, and its card is made from what it holds.
    Raises NotFoundError, IntegrityError (the digest of the card is another one), InvalidInputError.
    """
    if not path.is_file():
        raise NotFoundError(
            f"The data file {path.name} is missing.", "", "Restore it, or generate the demo data again."
        )
    stored = StoredFile(path.resolve(), sha256_of(path), path.stat().st_size)
    if card is None:
        _, found = inspect_file(path, path.name)
        entries = card_of_file(checked_name(name), None, stored, found)
    else:
        entries = card
        told = cards.parse_card(card, path.name).digest
        if told != stored.digest:
            raise IntegrityError(
                f"The data file {path.name} is damaged.",
                f"Its SHA-256 is {stored.digest[:12]}…, its card says {told[:12]}….",
                "Restore it, or generate the demo data again.",
            )
    return register_stored(session, tenant_id, checked_name(name), stored, entries=entries, now=now)


def import_upload(
    session: Session,
    tenant_id: str,
    *,
    file: BinaryIO,
    name: str,
    adapter_type: str | None,
    datasets_dir: Path,
    limit_bytes: int,
    now: datetime,
    quota_bytes: int | None = None,
) -> Dataset:
    """Store an uploaded training file and register it; every row must be readable.

    JSONL, JSON or CSV, plain or gzipped: prompt and completion, messages, or chosen and rejected. A set that
    names no splits gets them from its prompts (80/10/10). If the transaction fails, the stored file may stay.
    `quota_bytes` is what all uploads of the tenant may take together. Raises InvalidInputError (with the lines
    that are wrong), QuotaExceededError, UnavailableError when the disk refuses.
    """
    name = checked_name(name)
    if adapter_type is not None and adapter_type not in ADAPTER_TYPES:
        raise InvalidInputError(
            f"«{adapter_type[:40]}» is no adapter type.", "", f"Use one of {', '.join(ADAPTER_TYPES)}."
        )
    room = None if quota_bytes is None else room_left(session, tenant_id, datasets_dir, quota_bytes)
    stored, found = store_upload(
        file, datasets_dir, limit_bytes, lambda staging: inspect_file(staging, name), room_bytes=room
    )
    entries = card_of_file(name, adapter_type, stored, found)
    return register_stored(session, tenant_id, name, stored, entries=entries, now=now)


def get(session: Session, tenant_id: str, dataset_id: str) -> Dataset:
    """A dataset by id. Raises NotFoundError, also for another tenant's dataset."""
    dataset = store.find(session, tenant_id, dataset_id)
    if dataset is None:
        raise NotFoundError("There is no such dataset.", "", "Choose one from the dataset library.")
    return dataset


def list_datasets(session: Session, tenant_id: str, *, kind: DatasetKind | None = None) -> list[Dataset]:
    """Datasets of a tenant, newest first: of each name the version in use."""
    return [each for each in store.list_all(session, tenant_id, kind=kind) if is_current(each)]


def find_by_name(session: Session, tenant_id: str, name: str) -> Dataset | None:
    """The newest dataset of that name, or None."""
    current = [each for each in store.list_all(session, tenant_id, name=name) if is_current(each)]
    return current[0] if current else None


def dataset_path(dataset: Dataset) -> Path:
    """Where the file of a dataset lies: a relative path is below the project's folder."""
    return PROJECT_ROOT / dataset.path


def read_examples(dataset: Dataset) -> list[Example]:
    """All demonstrations of an SFT set, in the order of the file.

    Raises IntegrityError (the file is missing or has changed), InvalidInputError (a set of another kind).
    """
    return [row for row in _read(dataset, DatasetKind.SFT) if isinstance(row, Example)]


def read_preferences(dataset: Dataset) -> list[Preference]:
    """All preference pairs of a DPO set, in the order of the file. Raises as `read_examples`."""
    return [row for row in _read(dataset, DatasetKind.DPO) if isinstance(row, Preference)]


def preview_rows(dataset: Dataset, limit: int) -> list[dict[str, Any]]:
    """The first rows as the file says them, by column; rows that cannot be read are left to the checks.

    Reads only the beginning of the file, so its digest is not checked. Values are untrusted text.
    """
    limit = max(0, min(limit, MAX_PREVIEW_ROWS))
    if dataset.kind is DatasetKind.EVENTS:
        return raw.preview_raw(dataset, limit)
    rows = read_rows(_present(dataset), name=dataset.name)
    return list(islice((row.values for row in rows if isinstance(row, Row)), limit))


def check_dataset(dataset: Dataset) -> list[Problem]:
    """Problems of a dataset of any kind. Raises IntegrityError when the file is missing or has changed."""
    if dataset.kind in (DatasetKind.SFT, DatasetKind.DPO, DatasetKind.KTO):
        return list(examine(unchanged_file(dataset), name=dataset.name).problems)
    if dataset.kind is DatasetKind.EVENTS:
        return raw.check_raw(dataset)
    faults = [row for row in read_rows(unchanged_file(dataset), name=dataset.name) if isinstance(row, Fault)]
    if not faults:
        return []
    message = f"{rows_word(len(faults))} cannot be read, the first because {faults[0].reason}. Export the file again."
    lines = [fault.line for fault in faults[:SHOWN_LINES]]
    return [finding_of_set("unreadable_rows", ERROR, message, len(faults), lines)]


def _read(dataset: Dataset, kind: DatasetKind) -> list[Example | Preference]:
    if dataset.kind is not kind:
        needed = "demonstrations (sft)" if kind is DatasetKind.SFT else "preference pairs (dpo)"
        raise InvalidInputError(
            f"«{dataset.name}» holds no {needed}.",
            f"It is a dataset of kind {dataset.kind}.",
            "Choose another dataset.",
        )
    _, rows = open_examples(unchanged_file(dataset), name=dataset.name)
    examples: list[Example | Preference] = []
    census = Census()
    for row in rows:
        census.add(row)
        if not isinstance(row, Fault):
            examples.append(row)
    if census.fault_count:
        raise unreadable_rows(dataset.name, census.faults, census.fault_count)
    return examples


def _present(dataset: Dataset) -> Path:
    path = dataset_path(dataset)
    if not path.is_file():
        raise IntegrityError(
            f"The file of «{dataset.name}» is missing.",
            f"The data folder has no {path.name}.",
            "Restore it, or import it again.",
        )
    return path


def unchanged_file(dataset: Dataset) -> Path:
    """The file of a dataset, byte for byte as registered. Raises IntegrityError."""
    path = _present(dataset)
    if sha256_of(path) != dataset.digest:
        raise IntegrityError(
            f"The file of «{dataset.name}» has changed since it was registered.",
            f"{path.name} is not the file with SHA-256 {dataset.digest[:12]}….",
            "Restore it, or register it again as a new dataset.",
        )
    return path


def inspect_file(path: Path, name: str) -> tuple[str, tuple[Outline, Census]]:
    """Suffix, outline and counts of a training file. Raises InvalidInputError that lists unreadable rows."""
    suffix = detect_format(path, name=name).suffix
    outline, rows = open_examples(path, name=name)
    census = take_census(rows)
    if census.fault_count:
        raise unreadable_rows(name, census.faults, census.fault_count)
    return suffix, (outline, census)


def card_of_file(
    name: str, adapter_type: str | None, stored: StoredFile, found: tuple[Outline, Census]
) -> dict[str, Any]:
    """The card of a training file that has none."""
    outline, census = found
    return {
        "name": name,
        "title": name,
        "kind": str(outline.kind),
        "adapter_type": adapter_type,
        "description": "",
        "simulated": False,
        "layout": str(outline.layout),
        "rows": census.rows,
        "splits": dict(sorted(census.splits.items())),
        "split_by": "split column" if outline.names_splits else "hash of the prompt",
        "slices": dict(sorted(census.slices.items())),
        "ignored_columns": list(outline.ignored_columns),
        "digest": stored.digest,
    }
