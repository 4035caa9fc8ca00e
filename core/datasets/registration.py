"""From a stored file to the row of a dataset."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from core.datasets import cards, store
from core.datasets.records import Dataset
from core.datasets.uploads import StoredFile
from core.errors import InvalidInputError
from core.settings import PROJECT_ROOT
from core.storage.ids import new_id

SUPERSEDED = "superseded_by"  # its file is gone: other content lies at its path
REPLACED = "replaced_by"  # another version of the same name is the current one


def register_stored(
    session: Session, tenant_id: str, name: str, stored: StoredFile, *, entries: dict[str, Any], now: datetime
) -> Dataset:
    """A row for a stored file with the entries of its card. The same name and content give the same dataset.

    Whatever was registered at this path with other content is superseded. Raises InvalidInputError.
    """
    card = cards.parse_card(entries, name)
    dataset = Dataset(
        id=new_id("ds"),
        tenant_id=tenant_id,
        name=name,
        title=card.title,
        kind=card.kind,
        adapter_type=card.adapter_type,
        description=card.description,
        simulated=card.simulated,
        path=_stored_path(stored.path),
        digest=stored.digest,
        size_bytes=stored.size_bytes,
        rows=card.rows,
        card=entries,
        created_at=now,
    )
    known = store.find_by_content(session, tenant_id, name, stored.digest)
    if known is None and not store.insert(session, dataset):
        known = store.find_by_content(session, tenant_id, name, stored.digest)
    if known is not None:
        # Registering what is there, as every start does with the shipped sets, does not choose the current version.
        kept = {REPLACED: known.card[REPLACED]} if REPLACED in known.card else {}
        dataset = replace(dataset, id=known.id, created_at=known.created_at, card={**entries, **kept})
        if dataset != known:
            texts = {
                each: getattr(dataset, each) for each in ("title", "description", "simulated", "path", "card")
            }
            store.rewrite(session, tenant_id, dataset.id, **texts)
    _supersede(session, dataset)
    return dataset


def is_current(dataset: Dataset) -> bool:
    """Whether a dataset is listed: its file is there, and it is the version in use."""
    return SUPERSEDED not in dataset.card and REPLACED not in dataset.card


def room_left(session: Session, tenant_id: str, datasets_dir: Path, quota_bytes: int) -> int:
    """How many bytes this tenant may still upload; less than none where the quota was lowered.

    Files that ship with the product take no room.
    """
    folder = datasets_dir.resolve()
    used = sum(
        size
        for path, size in store.stored_files(session, tenant_id).items()
        if (PROJECT_ROOT / path).is_relative_to(folder)
    )
    return quota_bytes - used


def _supersede(session: Session, dataset: Dataset) -> None:
    """Whatever else was registered at this path holds content that is no longer there."""
    for other in store.list_all(session, dataset.tenant_id, path=dataset.path):
        if other.digest != dataset.digest and other.card.get(SUPERSEDED) != dataset.id:
            store.rewrite(session, dataset.tenant_id, other.id, card={**other.card, SUPERSEDED: dataset.id})


def _stored_path(path: Path) -> str:
    return str(path.relative_to(PROJECT_ROOT) if path.is_relative_to(PROJECT_ROOT) else path)


def checked_name(name: str) -> str:
    """A name that can be shown and be part of a path. Raises InvalidInputError."""
    name = name.strip()
    if not name or len(name) > 200 or not name.isprintable() or "/" in name or "\\" in name:
        raise InvalidInputError(
            "The dataset has no usable name.",
            "A name has 1 to 200 printable characters, without slashes.",
            "Give it another name.",
        )
    return name
