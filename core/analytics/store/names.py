"""What has records, what it was called, and who wrote them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError as DuplicateRowError
from sqlalchemy.orm import Session

from core.storage.tables import AnalyticsSubjectRow, AnalyticsWriterRow

Row, Writer = AnalyticsSubjectRow, AnalyticsWriterRow
TASK = "task"
ROLL_UP = "roll-up"


@dataclass(frozen=True, slots=True)
class KnownName:
    """An adapter, composition or task that has records. `type` of an adapter, «» of others."""

    tenant_id: str
    kind: str
    subject: str
    label: str
    type: str
    first_at: datetime


def list_names(s: Session, tenant_id: str, kind: str | None = None) -> list[KnownName]:
    """By label."""
    query = select(Row).where(Row.tenant_id == tenant_id)
    if kind is not None:
        query = query.where(Row.kind == kind)
    rows = s.scalars(query.order_by(Row.kind, Row.label, Row.subject))
    return [KnownName(r.tenant_id, r.kind, r.subject, r.label, r.type, r.first_at) for r in rows]


def find_name(s: Session, tenant_id: str, kind: str, subject: str) -> KnownName | None:
    """One of them."""
    row = s.get(Row, (tenant_id, kind, subject))
    if row is None or row.subject != subject:
        return None
    return KnownName(row.tenant_id, row.kind, row.subject, row.label, row.type, row.first_at)


def add_names(s: Session, names: Sequence[KnownName]) -> None:
    """Insert those that nobody has inserted yet."""
    for name in names:
        values = {
            "tenant_id": name.tenant_id,
            "kind": name.kind,
            "subject": name.subject,
            "label": name.label,
            "type": name.type,
            "first_at": name.first_at,
        }
        if find_name(s, name.tenant_id, name.kind, name.subject) is not None:
            continue
        try:
            with s.begin_nested():
                s.execute(insert(Row).values(**values))
        except DuplicateRowError:  # another process met it at the same time
            continue


def tenants_with_names(s: Session) -> list[str]:
    """Tenants that ever had a record."""
    return list(s.scalars(select(Row.tenant_id).distinct().order_by(Row.tenant_id)))


def begin_batch(s: Session, writer: str, batch: int, now: datetime) -> bool:
    """False when this batch of this writer is in the database already."""
    found = s.execute(
        update(Writer).where(Writer.id == writer, Writer.batch < batch).values(batch=batch, written_at=now)
    )
    if int(found.rowcount):  # type: ignore[attr-defined]
        return True
    if s.scalar(select(Writer.batch).where(Writer.id == writer)) is not None:
        return False
    s.execute(insert(Writer).values(id=writer, batch=batch, written_at=now))
    return True


def lock_roll_up(s: Session, now: datetime) -> None:
    """Wait until nobody else rolls up, and keep others away until the transaction ends."""
    lock = update(Writer).where(Writer.id == ROLL_UP).values(written_at=now)
    if int(s.execute(lock).rowcount):  # type: ignore[attr-defined]
        return
    try:
        with s.begin_nested():
            s.execute(insert(Writer).values(id=ROLL_UP, batch=0, written_at=now))
    except DuplicateRowError:
        s.execute(lock)


def forget_writers(s: Session, before: datetime) -> None:
    """Delete processes that have written nothing for long."""
    s.execute(delete(Writer).where(Writer.id != ROLL_UP, Writer.written_at < before))
