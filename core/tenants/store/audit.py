"""All SQL of the audit log."""

import json
from collections.abc import Generator
from typing import Any

from sqlalchemy import Row, Text, cast, insert, select, update
from sqlalchemy.orm import Session

from core.storage.tables import AuditHeadRow, AuditRow
from core.tenants.records import AuditEntry


def lock_audit_head(s: Session, tenant_id: str) -> tuple[int, str] | None:
    """Number and hash of the last link, locked until the transaction ends."""
    statement = select(AuditHeadRow.seq, AuditHeadRow.hash).where(AuditHeadRow.tenant_id == tenant_id)
    found = s.execute(statement.with_for_update()).first()
    return None if found is None else (found[0], found[1])


def audit_head(s: Session, tenant_id: str) -> tuple[int, str] | None:
    """Number and hash of the last link as they were noted when it was written."""
    statement = select(AuditHeadRow.seq, AuditHeadRow.hash).where(AuditHeadRow.tenant_id == tenant_id)
    found = s.execute(statement).first()
    return None if found is None else (found[0], found[1])


def append_audit(s: Session, tenant_id: str, entry: AuditEntry) -> None:
    s.execute(
        insert(AuditRow).values(
            tenant_id=tenant_id,
            seq=entry.seq,
            at=entry.at,
            actor=entry.actor,
            action=entry.action,
            subject=entry.subject,
            detail=entry.detail,
            previous_hash=entry.previous_hash,
            hash=entry.hash,
        )
    )
    s.execute(
        update(AuditHeadRow).where(AuditHeadRow.tenant_id == tenant_id).values(seq=entry.seq, hash=entry.hash)
    )


def audit_entries(
    s: Session,
    tenant_id: str,
    limit: int,
    before_seq: int | None,
    action: str | None,
    subject: str | None = None,
) -> list[AuditEntry]:
    """Newest first."""
    statement = _audit_columns(tenant_id)
    if before_seq is not None:
        statement = statement.where(AuditRow.seq < before_seq)
    if action is not None:
        statement = statement.where(AuditRow.action == action)
    if subject is not None:
        statement = statement.where(AuditRow.subject == subject)
    return [_entry(row) for row in s.execute(statement.order_by(AuditRow.seq.desc()).limit(limit))]


def audit_chain(s: Session, tenant_id: str, portion: int = 500) -> Generator[AuditEntry]:
    """Every link, oldest first, a portion at a time. Raises ValueError at a portion that cannot be read."""
    statement = _audit_columns(tenant_id).order_by(AuditRow.seq).execution_options(yield_per=portion)
    with s.execute(statement) as rows:
        yield from map(_entry, rows)


def _audit_columns(tenant_id: str) -> Any:
    # The detail is read as text: what somebody put there may not be JSON.
    statement = select(
        AuditRow.seq,
        AuditRow.at,
        AuditRow.actor,
        AuditRow.action,
        AuditRow.subject,
        cast(AuditRow.detail, Text).label("detail"),
        AuditRow.previous_hash,
        AuditRow.hash,
    )
    return statement.where(AuditRow.tenant_id == tenant_id)


def _entry(row: Row[Any]) -> AuditEntry:
    try:
        detail = json.loads(row.detail)
    except (ValueError, TypeError, RecursionError):
        detail = {"unreadable": row.detail}
    return AuditEntry(
        row.seq, row.at, row.actor, row.action, row.subject, detail, row.previous_hash, row.hash
    )
