"""All SQL of datasets."""

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.datasets.records import Dataset, DatasetKind
from core.storage.tables import DatasetRow


def insert(session: Session, dataset: Dataset) -> bool:
    """Add a dataset. False when the same name and digest got there first; the transaction stays usable."""
    row = DatasetRow(
        id=dataset.id,
        tenant_id=dataset.tenant_id,
        name=dataset.name,
        title=dataset.title,
        kind=str(dataset.kind),
        adapter_type=dataset.adapter_type,
        description=dataset.description,
        simulated=dataset.simulated,
        path=dataset.path,
        digest=dataset.digest,
        size_bytes=dataset.size_bytes,
        rows=dataset.rows,
        card=dataset.card,
        created_at=dataset.created_at,
    )
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        if find_by_content(session, dataset.tenant_id, dataset.name, dataset.digest) is None:
            raise
        return False
    return True


def rewrite(session: Session, tenant_id: str, dataset_id: str, **changes: Any) -> None:
    """Change what may change of a dataset: its path, texts and card."""
    session.execute(
        update(DatasetRow)
        .where(DatasetRow.tenant_id == tenant_id, DatasetRow.id == dataset_id)
        .values(**changes)
    )


def find(session: Session, tenant_id: str, dataset_id: str) -> Dataset | None:
    query = select(DatasetRow).where(DatasetRow.tenant_id == tenant_id, DatasetRow.id == dataset_id)
    return _record(session.scalars(query).one_or_none())


def find_by_content(session: Session, tenant_id: str, name: str, digest: str) -> Dataset | None:
    query = select(DatasetRow).where(
        DatasetRow.tenant_id == tenant_id, DatasetRow.name == name, DatasetRow.digest == digest
    )
    return _record(session.scalars(query).one_or_none())


def list_all(
    session: Session,
    tenant_id: str,
    *,
    kind: DatasetKind | None = None,
    name: str | None = None,
    path: str | None = None,
) -> list[Dataset]:
    """Datasets of a tenant, newest first."""
    query = select(DatasetRow).where(DatasetRow.tenant_id == tenant_id)
    if kind is not None:
        query = query.where(DatasetRow.kind == str(kind))
    if name is not None:
        query = query.where(DatasetRow.name == name)
    if path is not None:
        query = query.where(DatasetRow.path == path)
    rows = session.scalars(query.order_by(DatasetRow.created_at.desc(), DatasetRow.id.desc()))
    return [_to_record(row) for row in rows]


def stored_files(session: Session, tenant_id: str) -> dict[str, int]:
    """Path → size in bytes of every file that a tenant's datasets stand for."""
    query = select(DatasetRow.path, DatasetRow.size_bytes).where(DatasetRow.tenant_id == tenant_id)
    return {row.path: row.size_bytes for row in session.execute(query)}


def _record(row: DatasetRow | None) -> Dataset | None:
    return None if row is None else _to_record(row)


def _to_record(row: DatasetRow) -> Dataset:
    return Dataset(
        id=row.id,
        tenant_id=row.tenant_id,
        name=row.name,
        title=row.title,
        kind=DatasetKind(row.kind),
        adapter_type=row.adapter_type,
        description=row.description,
        simulated=row.simulated,
        path=row.path,
        digest=row.digest,
        size_bytes=row.size_bytes,
        rows=row.rows,
        card=dict(row.card),
        created_at=row.created_at,
    )
