"""All SQL about federations: one row per version; a version is never changed."""

import json
from dataclasses import replace

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError as DuplicateRowError
from sqlalchemy.orm import Session

from core.compose.records import CompositionSpec, Federation
from core.storage.tables import FederationRow

VERSION_ATTEMPTS = 20


def add(s: Session, federation: Federation) -> Federation:
    """Insert as the next version of its name. Two that save at once get two versions."""
    for _ in range(VERSION_ATTEMPTS):
        newest = s.scalar(
            select(func.max(FederationRow.version)).where(
                FederationRow.tenant_id == federation.tenant_id, FederationRow.name == federation.name
            )
        )
        numbered = replace(federation, version=(newest or 0) + 1)
        try:
            with s.begin_nested():
                s.add(_row(numbered))
        except DuplicateRowError:
            continue
        return numbered
    raise RuntimeError(f"no free version of federation {federation.name!r} after {VERSION_ATTEMPTS} attempts")


def get(s: Session, tenant_id: str, federation_id: str) -> Federation | None:
    """One version by id."""
    if not _askable(federation_id):
        return None
    row = s.scalar(
        select(FederationRow).where(FederationRow.tenant_id == tenant_id, FederationRow.id == federation_id)
    )
    return _record(row) if row is not None and row.id == federation_id else None


def by_name(s: Session, tenant_id: str, name: str) -> list[Federation]:
    """All versions of a name, newest first. Names are told apart by case on every database."""
    if not _askable(name):
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


def _askable(text: str) -> bool:
    """Names and ids are printable ASCII. Other text cannot match, and some databases fail on it (NUL)."""
    return text.isascii() and text.isprintable()


def _row(federation: Federation) -> FederationRow:
    return FederationRow(
        id=federation.id,
        tenant_id=federation.tenant_id,
        name=federation.name,
        version=federation.version,
        description=federation.description,
        spec=json.loads(federation.spec.model_dump_json()),
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
