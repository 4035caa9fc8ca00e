"""Which version a name means, and the swaps that made it so."""

from datetime import datetime

from sqlalchemy.orm import Session

from core.compose.store import swaps as store
from core.compose.swap_records import Served, ServedKind, Swap, SwapState
from core.errors import NotFoundError
from core.tenants import audit

HISTORY_LENGTH = 20
# In a swap's figures: the swap whose version it took the place of, and the id of that version.
REPLACED, REPLACED_ID = "replaced_swap", "replaced_id"


def served_version(s: Session, tenant_id: str, kind: ServedKind, name: str) -> int | None:
    """The version that a bare name means; None: it was never swapped, the newest that can serve is meant."""
    found = store.served(s, tenant_id, kind, name)
    return None if found is None else found.version


def served_history(s: Session, tenant_id: str, kind: ServedKind, name: str) -> tuple[int, ...]:
    """The version that a bare name means, then those it took the place of, the latest first, each once.

    When the served one cannot serve any more (its files changed: it is in quarantine), the next of these does.
    Empty: the name was never swapped.
    """
    found = store.served(s, tenant_id, kind, name)
    if found is None:
        return ()
    versions = {found.version: None}
    swap_id = found.swap_id
    for _ in range(HISTORY_LENGTH):
        swap = store.get(s, tenant_id, swap_id) if swap_id else None
        if swap is None or swap.from_version is None:
            break
        versions.setdefault(swap.from_version)
        swap_id = str(swap.figures.get(REPLACED, ""))
    return tuple(versions)


def served_by(s: Session, tenant_id: str, kind: ServedKind, name: str) -> Served | None:
    """The version that a bare name means, and the swap that made it so; None: it was never swapped."""
    return store.served(s, tenant_id, kind, name)


def keep_serving(
    s: Session, tenant_id: str, kind: ServedKind, name: str, version: int, *, now: datetime
) -> None:
    """Let a name that was never swapped go on meaning this version, whatever newer ones are saved; nothing for others.

    The caller has appended to the audit log of the tenant, so that two that do it wait for each other.
    """
    if store.served(s, tenant_id, kind, name) is None:
        store.serve(s, tenant_id, kind, name, Served(version, ""), before=None, now=now)


def swap_under_way(s: Session, tenant_id: str, kind: ServedKind, name: str) -> Swap | None:
    """The swap of a name that has not ended yet."""
    return next(iter(store.unfinished(s, tenant_id, kind, name)), None)


def list_swaps(
    s: Session, tenant_id: str, *, kind: ServedKind | None = None, name: str | None = None, limit: int = 100
) -> list[Swap]:
    """Swaps of the tenant, newest first."""
    return store.list_all(s, tenant_id, kind, name, limit)


def get_swap(s: Session, tenant_id: str, swap_id: str) -> Swap:
    """One swap by id. Raises NotFoundError."""
    swap = store.get(s, tenant_id, swap_id)
    if swap is None:
        raise NotFoundError(
            f"There is no swap «{swap_id[:200]}».", "Nothing here has this id.", "List the swaps."
        )
    return swap


def recover_swaps(s: Session, now: datetime) -> list[Swap]:
    """At the start, before anything is served: what a process that died left half done has failed.

    The names mean what they meant, because only the last step of a swap changes that. Should another process be in
    the middle of one of these, its flip is refused.
    """
    ended = []
    for swap in store.unfinished(s, None, None, None):
        reason = f"The process ended while the swap was {swap.state}."
        values = {"state": SwapState.FAILED.value, "reason": reason, "finished_at": now}
        if not store.change(s, swap.tenant_id, swap.id, swap.state, **values):
            continue
        audit.append(
            s,
            tenant_id=swap.tenant_id,
            actor="system",
            action="swap.failed",
            subject=swap.id,
            detail={"name": swap.name, "kind": swap.kind.value, "version": swap.to_version, "reason": reason},
            now=now,
        )
        ended.append(get_swap(s, swap.tenant_id, swap.id))
    return ended
