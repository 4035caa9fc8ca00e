"""The audit log: add to it, read it, verify it."""

from typing import Any

from sqlalchemy.orm import Session

from app.bootstrap import Console
from core.tenants import audit
from core.tenants.records import AuditEntry, AuditVerdict, Permission, Principal


def note(c: Console, s: Session, p: Principal, action: str, subject: str, /, **detail: Any) -> None:
    """Write down, in the transaction of `s`, what `p` did to `subject` just now."""
    audit.append(
        s,
        tenant_id=p.tenant_id,
        actor=p.actor,
        action=action,
        subject=subject,
        detail=detail,
        now=c.clock(),
    )


def list_entries(
    c: Console, p: Principal, *, limit: int = 200, before_seq: int | None = None, action: str | None = None
) -> list[AuditEntry]:
    """Newest first; `before_seq` continues where a former list ended."""
    p.require(Permission.ADMINISTER)
    with c.database.reading() as s:
        return audit.list_entries(s, p.tenant_id, limit=limit, before_seq=before_seq, action=action)


def verify(c: Console, p: Principal, *, anchored_head: str | None = None) -> AuditVerdict:
    """Walk the whole chain. `anchored_head`: a hash kept elsewhere that must still be in it."""
    p.require(Permission.ADMINISTER)
    with c.database.reading() as s:
        return audit.verify(s, p.tenant_id, anchored_head=anchored_head)
