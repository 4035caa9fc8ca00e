"""The audit log of a tenant: a chain in which each link's hash covers its columns and the hash before it.

    hash(n) = SHA-256(canonical JSON of {tenant_id, seq, at, actor, action, subject, detail,
                                         previous_hash: hash(n-1)})

An edit, a gap or another order breaks the chain where it happened. Cutting off the end does not; that shows
against the head noted beside the log, and, where somebody could change both, against a head kept elsewhere.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from core.errors import NotFoundError
from core.storage.text import storable, storable_document
from core.tenants.records import AuditEntry, AuditVerdict
from core.tenants.store import audit as store
from core.tenants.store import people

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
    s: Session,
    tenant_id: str,
    *,
    limit: int = 200,
    before_seq: int | None = None,
    action: str | None = None,
    subject: str | None = None,
) -> list[AuditEntry]:
    """The newest links first; `before_seq` continues where a former list ended; `subject`: of one thing only."""
    return store.audit_entries(s, tenant_id, limit, before_seq, action, subject)


def verify(s: Session, tenant_id: str, *, anchored_head: str | None = None) -> AuditVerdict:
    """Walk the whole chain. `anchored_head`: hash of a link, kept elsewhere, that must still be there.

    Raises NotFoundError for a tenant that does not exist.
    """
    noted = store.audit_head(s, tenant_id)
    if noted is None and people.tenant_by_id(s, tenant_id) is None:
        raise NotFoundError("There is no such workspace.")
    kept = {FIRST_HASH if noted is None else noted[1], anchored_head or FIRST_HASH}
    try:
        with closing(store.audit_chain(s, tenant_id)) as chain:
            walk = _walk(chain, tenant_id, kept)
    except ValueError:
        with closing(store.audit_chain(s, tenant_id, portion=1)) as chain:
            walk = _walk(_readable(chain), tenant_id, kept)
        walk.problem = walk.problem or "The entry cannot be read: it was changed."
    # Entries may have been added while we walked: the heads noted before and after enclose the end.
    noted_now = store.audit_head(s, tenant_id)
    if walk.problem is None and (noted is None or noted_now is None or walk.count > noted_now[0]):
        walk.problem = "The log does not end where its last entry was noted."
    if walk.problem is None and noted is not None and walk.seen.get(noted[1]) != noted[0]:
        walk.problem = "The log ends before the last entry that was noted."
    if walk.problem is None and anchored_head is not None and anchored_head not in walk.seen:
        walk.problem = "The anchored entry is missing: cut off, or written anew."
    return AuditVerdict(walk.count, walk.head, walk.count + 1 if walk.problem else None, walk.problem)


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


@dataclass
class _Walk:
    """How far a chain holds. `seen` gives the numbers of the hashes that were looked for."""

    count: int
    head: str
    seen: dict[str, int]
    problem: str | None


def _walk(chain: Iterable[AuditEntry], tenant_id: str, kept: set[str]) -> _Walk:
    walk = _Walk(0, FIRST_HASH, {FIRST_HASH: 0}, None)
    for entry in chain:
        walk.problem = _broken(tenant_id, entry, walk.count + 1, walk.head)
        if walk.problem:
            break
        walk.count, walk.head = entry.seq, entry.hash
        if walk.head in kept:
            walk.seen[walk.head] = walk.count
    return walk


def _readable(chain: Iterable[AuditEntry]) -> Iterator[AuditEntry]:
    with suppress(ValueError):
        yield from chain


def _broken(tenant_id: str, entry: AuditEntry, seq: int, previous_hash: str) -> str | None:
    if entry.seq != seq:
        return f"Entry {seq} is missing."
    if entry.previous_hash != previous_hash:
        return "The entry does not follow the one before it."
    with suppress(TypeError, ValueError):  # what nobody could have written through `append` has no hash
        if entry.hash == link_hash(tenant_id, entry):
            return None
    return "The entry was changed after it was written."


def _short(text: str, letters: int) -> str:
    text = storable(text)
    return text if len(text) <= letters else text[: letters - 1] + "…"
