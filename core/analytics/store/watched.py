"""All SQL of the watch: what it remembers of each series, and which process it is."""

from contextlib import suppress
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError as DuplicateRowError
from sqlalchemy.orm import Session

from core.analytics.alert_records import AlertKind
from core.storage.tables import LeaseRow, WatchedRow


def watched(s: Session, tenant_id: str, kind: AlertKind, subject: str) -> tuple[datetime, bytes] | None:
    """Until when a series was read, and what its alarm holds; None: never."""
    row = WatchedRow
    found = s.execute(
        select(row.seen_until, row.state).where(
            row.tenant_id == tenant_id, row.kind == kind.value, row.subject == subject
        )
    ).first()
    return None if found is None else (found[0], bytes(found[1]))


def remember(
    s: Session, tenant_id: str, kind: AlertKind, subject: str, seen_until: datetime, state: bytes
) -> None:
    """Keep it over what was kept."""
    row = WatchedRow
    here = (row.tenant_id == tenant_id, row.kind == kind.value, row.subject == subject)
    if _changed(s, update(row).where(*here).values(seen_until=seen_until, state=state)):
        return
    values = {"tenant_id": tenant_id, "kind": kind.value, "subject": subject}
    s.execute(insert(row).values(**values, seen_until=seen_until, state=state))


def lease(s: Session, name: str) -> tuple[str, int] | None:
    """Who holds it ("": nobody) and how often that was renewed; None: nobody ever did."""
    found = s.execute(select(LeaseRow.holder, LeaseRow.beat).where(LeaseRow.name == name)).first()
    return None if found is None else (str(found[0]), int(found[1]))


def make_lease(s: Session, name: str) -> None:
    """So that there is one, held by nobody, unless another process has made it."""
    with suppress(DuplicateRowError), s.begin_nested():
        s.execute(insert(LeaseRow).values(name=name, holder="", beat=0))


def take_lease(s: Session, name: str, *, seen: tuple[str, int], holder: str) -> bool:
    """Become (or stay) the holder, provided that nobody has renewed it since `seen`."""
    statement = (
        update(LeaseRow)
        .where(LeaseRow.name == name, LeaseRow.holder == seen[0], LeaseRow.beat == seen[1])
        .values(holder=holder, beat=seen[1] + 1)
    )
    return bool(_changed(s, statement))


def _changed(s: Session, statement: Any) -> int:
    return int(s.execute(statement.execution_options(synchronize_session=False)).rowcount)  # type: ignore[attr-defined]
