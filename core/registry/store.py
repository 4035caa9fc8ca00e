"""All SQL about adapters. Paths under the project folder are stored relative to it: it can be moved."""

import json
from dataclasses import replace
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.registry.records import Adapter, AdapterSource, AdapterState, AdapterType, Manifest
from core.settings import PROJECT_ROOT
from core.storage.tables import AdapterRow
from core.storage.versions import DuplicateRowError, insert_next_version, is_askable


def add(s: Session, adapter: Adapter) -> Adapter | None:
    """Insert as the next version of its name. None when its job has registered one meanwhile."""

    def is_registered() -> bool:
        return adapter.job_id is not None and by_job(s, adapter.tenant_id, adapter.job_id) is not None

    try:
        return insert_next_version(
            s,
            AdapterRow.version,
            (AdapterRow.tenant_id == adapter.tenant_id, AdapterRow.name == adapter.name),
            lambda number: replace(adapter, version=number),
            _row,
            what=f"adapter {adapter.name!r}",
            is_settled=is_registered,
        )
    except DuplicateRowError:
        return None


def get(s: Session, tenant_id: str, adapter_id: str) -> Adapter | None:
    """One adapter by id."""
    if not is_askable(adapter_id):
        return None
    row = s.scalar(select(AdapterRow).where(AdapterRow.tenant_id == tenant_id, AdapterRow.id == adapter_id))
    return _record(row) if row is not None and row.id == adapter_id else None


def by_job(s: Session, tenant_id: str, job_id: str) -> Adapter | None:
    """The adapter that a job made."""
    row = s.scalar(select(AdapterRow).where(AdapterRow.tenant_id == tenant_id, AdapterRow.job_id == job_id))
    return _record(row) if row is not None else None


def by_name(s: Session, tenant_id: str, name: str) -> list[Adapter]:
    """All versions of a name, newest first. Names are told apart by case on every database."""
    if not is_askable(name):
        return []
    rows = s.scalars(
        select(AdapterRow)
        .where(AdapterRow.tenant_id == tenant_id, AdapterRow.name == name)
        .order_by(AdapterRow.version.desc())
    )
    return [_record(row) for row in rows if row.name == name]


def by_digests(s: Session, tenant_id: str, digests: list[str]) -> list[Adapter]:
    """All adapters with one of these contents, oldest first."""
    rows = s.scalars(
        select(AdapterRow)
        .where(AdapterRow.tenant_id == tenant_id, AdapterRow.digest.in_(digests))
        .order_by(AdapterRow.created_at, AdapterRow.id)
    )
    return [_record(row) for row in rows]


def list_all(
    s: Session, tenant_id: str, *, type: AdapterType | None, states: list[AdapterState]
) -> list[Adapter]:
    """Adapters in one of `states`, newest first."""
    query = select(AdapterRow).where(AdapterRow.tenant_id == tenant_id, AdapterRow.state.in_(states))
    if type is not None:
        query = query.where(AdapterRow.type == type)
    return [
        _record(row) for row in s.scalars(query.order_by(AdapterRow.created_at.desc(), AdapterRow.id.desc()))
    ]


def set_state(s: Session, tenant_id: str, adapter_id: str, state: AdapterState) -> None:
    """Change the state of an adapter that exists."""
    row = s.scalars(
        select(AdapterRow).where(AdapterRow.tenant_id == tenant_id, AdapterRow.id == adapter_id)
    ).one()
    row.state = state
    s.flush()


def _row(adapter: Adapter) -> AdapterRow:
    return AdapterRow(
        id=adapter.id,
        tenant_id=adapter.tenant_id,
        name=adapter.name,
        version=adapter.version,
        type=adapter.type.value,
        state=adapter.state.value,
        source=adapter.source.value,
        digest=adapter.digest,
        base_name=adapter.base_name,
        base_digest=adapter.base_digest,
        path=_stored_path(adapter.path),
        size_bytes=adapter.size_bytes,
        parameters=adapter.parameters,
        rank=adapter.rank,
        simulated=adapter.simulated,
        job_id=adapter.job_id,
        dataset_digest=adapter.dataset_digest,
        manifest=json.loads(adapter.manifest.model_dump_json()),
        created_at=adapter.created_at,
    )


def _record(row: AdapterRow) -> Adapter:
    return Adapter(
        id=row.id,
        tenant_id=row.tenant_id,
        name=row.name,
        version=row.version,
        type=AdapterType(row.type),
        state=AdapterState(row.state),
        source=AdapterSource(row.source),
        digest=row.digest,
        base_name=row.base_name,
        base_digest=row.base_digest,
        path=str(PROJECT_ROOT / row.path),
        size_bytes=row.size_bytes,
        parameters=row.parameters,
        rank=row.rank,
        simulated=row.simulated,
        job_id=row.job_id,
        dataset_digest=row.dataset_digest,
        manifest=Manifest.model_validate(row.manifest),
        created_at=row.created_at,
    )


def _stored_path(path: str) -> str:
    folder = Path(path)
    return str(folder.relative_to(PROJECT_ROOT) if folder.is_relative_to(PROJECT_ROOT) else folder)
