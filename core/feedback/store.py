"""All SQL about preference pairs: written once, never changed."""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError as DuplicateRowError
from sqlalchemy.orm import Session

from core.engine.records import Message
from core.feedback.records import PairSource, PreferencePair
from core.storage.tables import PreferencePairRow


def add(s: Session, pair: PreferencePair) -> PreferencePair:
    """Insert, or answer what this person said of the same two answers before."""
    known = by_digest(s, pair.tenant_id, pair.created_by, pair.digest)
    if known is not None:
        return known
    try:
        with s.begin_nested():
            s.add(_row(pair))
    except DuplicateRowError:
        known = by_digest(s, pair.tenant_id, pair.created_by, pair.digest)
        if known is None:
            raise
        return known
    return pair


def by_digest(s: Session, tenant_id: str, created_by: str, digest: str) -> PreferencePair | None:
    """What one person said of a prompt and two answers."""
    row = s.scalar(
        select(PreferencePairRow).where(
            PreferencePairRow.tenant_id == tenant_id,
            PreferencePairRow.created_by == created_by,
            PreferencePairRow.digest == digest,
        )
    )
    return None if row is None else _record(row)


def count_since(s: Session, tenant_id: str, created_by: str, since: datetime) -> int:
    """How many one person gave after `since`."""
    query = select(func.count()).where(
        PreferencePairRow.tenant_id == tenant_id,
        PreferencePairRow.created_by == created_by,
        PreferencePairRow.created_at > since,
    )
    return s.scalar(query) or 0


def list_all(s: Session, tenant_id: str) -> list[PreferencePair]:
    """All of the tenant, oldest first."""
    rows = s.scalars(
        select(PreferencePairRow)
        .where(PreferencePairRow.tenant_id == tenant_id)
        .order_by(PreferencePairRow.created_at, PreferencePairRow.id)
    )
    return [_record(row) for row in rows]


def _row(pair: PreferencePair) -> PreferencePairRow:
    return PreferencePairRow(
        id=pair.id,
        tenant_id=pair.tenant_id,
        digest=pair.digest,
        messages=[{"role": m.role, "content": m.content} for m in pair.messages],
        chosen=pair.chosen,
        rejected=pair.rejected,
        chosen_model=pair.chosen_model,
        rejected_model=pair.rejected_model,
        chosen_key=pair.chosen_key,
        rejected_key=pair.rejected_key,
        source=pair.source.value,
        why=pair.why,
        created_by=pair.created_by,
        created_at=pair.created_at,
    )


def _record(row: PreferencePairRow) -> PreferencePair:
    return PreferencePair(
        id=row.id,
        tenant_id=row.tenant_id,
        digest=row.digest,
        messages=tuple(Message(turn["role"], turn["content"]) for turn in row.messages),
        chosen=row.chosen,
        rejected=row.rejected,
        chosen_model=row.chosen_model,
        rejected_model=row.rejected_model,
        chosen_key=row.chosen_key,
        rejected_key=row.rejected_key,
        source=PairSource(row.source),
        why=row.why,
        created_by=row.created_by,
        created_at=row.created_at,
    )
