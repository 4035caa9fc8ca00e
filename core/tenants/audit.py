"""The audit log of a tenant: a chain in which each link's hash covers its columns and the hash before it.

    hash(n) = SHA-256(canonical JSON of {tenant_id, seq, at, actor, action, subject, detail,
                                         previous_hash: hash(n-1)})

An edit, a gap or another order breaks the chain where it happened. Cutting off the end does not; that shows
against the head noted beside the log, and, where somebody could change both, against a head kept elsewhere.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from core.errors import NotFoundError
from core.storage.text import storable, storable_document
from core.tenants import store
from core.tenants.records import AuditEntry, AuditVerdict

FIRST_HASH = "0" * 64
NAME_LETTERS = 200
ACTION_LETTERS = 64


def append(
    s: Session,
    *,
    tenant_id: str,
    actor: str,
    action: str,
    subject: str,
    detail: Mapping[str, Any] | None = None,
    now: datetime,
) -> AuditEntry:
    """Add a link. Appends of one tenant wait for each other until the transaction ends, so append last.

    Raises NotFoundError for a tenant that does not exist.
    """
    head = store.lock_audit_head(s, tenant_id)
    if head is None:
        raise NotFoundError("There is no such workspace.")
    entry = AuditEntry(
        seq=head[0] + 1,
        at=now.astimezone(UTC),
        actor=_short(actor, NAME_LETTERS),
        action=_short(action, ACTION_LETTERS),
        subject=_short(subject, NAME_LETTERS),
        detail=storable_document(detail or {}),
        previous_hash=head[1],
        hash="",
    )
    entry = replace(entry, hash=link_hash(tenant_id, entry))
    store.append_audit(s, tenant_id, entry)
    return entry


def list_entries(
    s: Session, tenant_id: str, *, limit: int = 200, before_seq: int | None = None, action: str | None = None
) -> list[AuditEntry]:
    """The newest links first; `before_seq` continues where a former list ended."""
    return store.audit_entries(s, tenant_id, limit, before_seq, action)


def verify(s: Session, tenant_id: str, *, anchored_head: str | None = None) -> AuditVerdict:
    """Walk the whole chain. `anchored_head`: hash of a link, kept elsewhere, that must still be there.

    Raises NotFoundError for a tenant that does not exist.
    """
    noted = store.audit_head(s, tenant_id)
    if noted is None and store.tenant_by_id(s, tenant_id) is None:
        raise NotFoundError("There is no such workspace.")
    seen = {FIRST_HASH} & {anchored_head}
    at_noted = (0, FIRST_HASH)
    count, head = at_noted
    try:
        for entry in store.audit_chain(s, tenant_id):
            problem = _broken(tenant_id, entry, count + 1, head)
            if problem:
                return AuditVerdict(count, head, count + 1, problem)
            count, head = entry.seq, entry.hash
            seen |= {head} & {anchored_head}
            if noted is not None and count == noted[0]:
                at_noted = (count, head)
    except ValueError:
        return AuditVerdict(count, head, count + 1, "An entry cannot be read: it was changed.")
    # Entries may have been added while we walked: the heads noted before and after enclose the end.
    noted_now = store.audit_head(s, tenant_id)
    if noted is None or noted_now is None or at_noted != noted or count > noted_now[0]:
        return AuditVerdict(count, head, count + 1, "The log does not end where its last entry was noted.")
    if anchored_head is not None and not seen:
        return AuditVerdict(
            count, head, count + 1, "The anchored entry is missing: cut off, or written anew."
        )
    return AuditVerdict(count, head, None, None)


def link_hash(tenant_id: str, entry: AuditEntry) -> str:
    """The hash that the link must have."""
    content = {
        "tenant_id": tenant_id,
        "seq": entry.seq,
        "at": entry.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "detail": entry.detail,
        "previous_hash": entry.previous_hash,
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def _broken(tenant_id: str, entry: AuditEntry, seq: int, previous_hash: str) -> str | None:
    if entry.seq != seq:
        return f"Entry {seq} is missing."
    if entry.previous_hash != previous_hash:
        return "The entry does not follow the one before it."
    if entry.hash != link_hash(tenant_id, entry):
        return "The entry was changed after it was written."
    return None


def _short(text: str, letters: int) -> str:
    text = storable(text)
    return text if len(text) <= letters else text[: letters - 1] + "…"
