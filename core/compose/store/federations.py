"""All SQL about federations: one row per version; a version is never changed."""

import json
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.compose.records import CompositionSpec, Federation
from core.storage.tables import FederationRow
from core.storage.text import storable_document
from core.storage.versions import insert_next_version, is_askable


def add(s: Session, federation: Federation) -> Federation:
    """Insert as the next version of its name. Two that save at once get two versions."""
    return insert_next_version(
        s,
        FederationRow.version,
        (FederationRow.tenant_id == federation.tenant_id, FederationRow.name == federation.name),
        lambda number: replace(federation, version=number),
        _row,
        what=f"federation {federation.name!r}",
    )


def get(s: Session, tenant_id: str, federation_id: str) -> Federation | None:
    """One version by id."""
    if not is_askable(federation_id):
        return None
    row = s.scalar(
        select(FederationRow).where(FederationRow.tenant_id == tenant_id, FederationRow.id == federation_id)
    )
    return _record(row) if row is not None and row.id == federation_id else None


def by_name(s: Session, tenant_id: str, name: str) -> list[Federation]:
    """All versions of a name, newest first. Names are told apart by case on every database."""
    if not is_askable(name):
        return []
    rows = s.scalars(
        select(FederationRow)
        .where(FederationRow.tenant_id == tenant_id, FederationRow.name == name)
        .order_by(FederationRow.version.desc())
    )
    return [_record(row) for row in rows if row.name == name]


def list_all(s: Session, tenant_id: str) -> list[Federation]:
    """Every version of every federation, newest first."""
    rows = s.scalars(
        select(FederationRow)
        .where(FederationRow.tenant_id == tenant_id)
        .order_by(FederationRow.created_at.desc(), FederationRow.id.desc())
    )
    return [_record(row) for row in rows]


def _row(federation: Federation) -> FederationRow:
    return FederationRow(
        id=federation.id,
        tenant_id=federation.tenant_id,
        name=federation.name,
        version=federation.version,
        description=federation.description,
        spec=storable_document(json.loads(federation.spec.model_dump_json())),
        created_by=federation.created_by,
        created_at=federation.created_at,
    )


def _record(row: FederationRow) -> Federation:
    return Federation(
        id=row.id,
        tenant_id=row.tenant_id,
        name=row.name,
        version=row.version,
        description=row.description,
        spec=CompositionSpec.model_validate(row.spec),
        created_by=row.created_by,
        created_at=row.created_at,
    )
