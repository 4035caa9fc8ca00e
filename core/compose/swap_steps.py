"""The written steps of a swap. Each is one transaction of the caller; between two of them the process may die."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from core.compose import swap_target
from core.compose.served import REPLACED, REPLACED_ID, get_swap
from core.compose.store import swaps as store
from core.compose.swap_records import UNFINISHED, Served, ServedKind, Swap, SwapState, check_transition
from core.errors import ConflictError
from core.storage.ids import new_id
from core.tenants import audit

MAX_REASON = 1000


def begin(
    s: Session, tenant_id: str, kind: ServedKind, name: str, to_version: int, *, actor: str, now: datetime
) -> Swap:
    """Write down that a swap begins. Raises NotFoundError; ConflictError when one of this name runs, or the name was
    swapped to this version already."""
    swap_target.check_version(s, tenant_id, kind, name, to_version)
    found = swap_target.current(s, tenant_id, kind, name)
    swap = Swap(
        id=new_id("swap"),
        tenant_id=tenant_id,
        kind=kind,
        name=name,
        from_version=found[0] if found else None,
        to_version=to_version,
        state=SwapState.BUILDING,
        reason="",
        created_by=actor,
        created_at=now,
    )
    # Appending to the audit log locks the tenant: two that begin at once come one after the other from here on.
    _note(s, swap, "swap.begun", actor, now)
    if running := store.unfinished(s, tenant_id, kind, name):
        raise ConflictError(
            f"A swap of «{name}» is under way.",
            f"It goes to version {running[0].to_version} and is {running[0].state}.",
            "Wait until it has ended.",
        )
    pointer = store.served(s, tenant_id, kind, name)
    if pointer is not None and pointer.version == to_version:
        raise ConflictError(f"«{name}» serves version {to_version} already.", "", "Choose another version.")
    store.add(s, swap)
    return swap


def move_to_canary(s: Session, swap: Swap, figures: dict[str, Any]) -> Swap:
    """The new version is loaded; now it is tested."""
    return _move(s, swap, SwapState.CANARY, figures=dict(figures))


def flip(s: Session, swap: Swap, figures: dict[str, Any], *, now: datetime) -> Swap:
    """The name means the new version: both rows are written, or none. Raises ConflictError when the swap was ended
    or the name changed by somebody else."""
    pointer = store.served(s, swap.tenant_id, swap.kind, swap.name)
    version, known_id = swap_target.current(s, swap.tenant_id, swap.kind, swap.name) or (None, None)
    noted = {**figures, REPLACED: pointer.swap_id if pointer else "", REPLACED_ID: known_id}
    flipped = _move(s, swap, SwapState.SERVING, from_version=version, figures=noted, finished_at=now)
    served = Served(swap.to_version, swap.id)
    if not store.serve(s, swap.tenant_id, swap.kind, swap.name, served, before=pointer, now=now):
        raise swap_target.changed_meanwhile(swap.name)
    _note(s, swap, "swap.served", swap.created_by, now, replaced=version)
    return flipped


def note_figures(s: Session, swap: Swap, figures: dict[str, Any]) -> Swap:
    """Add what came after the flip."""
    store.change(s, swap.tenant_id, swap.id, SwapState.SERVING, figures=swap.figures | figures)
    return get_swap(s, swap.tenant_id, swap.id)


def fail(s: Session, swap: Swap, reason: str, figures: dict[str, Any], *, now: datetime) -> None:
    """It never served, and why. One that was ended already keeps its own reason."""
    values = {"state": SwapState.FAILED.value, "reason": reason[:MAX_REASON], "figures": dict(figures)}
    for state in UNFINISHED:
        if store.change(s, swap.tenant_id, swap.id, state, finished_at=now, **values):
            _note(s, swap, "swap.failed", swap.created_by, now, reason=reason[:MAX_REASON])


def last_swap(s: Session, tenant_id: str, kind: ServedKind, name: str) -> tuple[Served, Swap, int]:
    """What a name means, the swap that made it so, and the version that served before. Raises ConflictError."""
    pointer = store.served(s, tenant_id, kind, name)
    swap = store.get(s, tenant_id, pointer.swap_id) if pointer is not None and pointer.swap_id else None
    if pointer is None or swap is None or swap.from_version is None:
        raise ConflictError(
            f"There is nothing to roll «{name[:200]}» back to.",
            "No swap of this name serves, or nothing served before it.",
            "Swap to the version that you want.",
        )
    return pointer, swap, swap.from_version


def roll_back(
    s: Session,
    pointer: Served,
    swap: Swap,
    version: int,
    figures: dict[str, Any],
    *,
    actor: str,
    now: datetime,
) -> Swap:
    """The name means again what it meant before `swap`. Raises ConflictError when it was changed meanwhile."""
    before = Served(version, str(swap.figures.get(REPLACED, "")))
    if not store.serve(s, swap.tenant_id, swap.kind, swap.name, before, before=pointer, now=now):
        raise swap_target.changed_meanwhile(swap.name)
    rolled = _move(
        s,
        swap,
        SwapState.ROLLED_BACK,
        figures=swap.figures | figures,
        reason=f"Rolled back by {actor}.",
        finished_at=now,
    )
    _note(s, swap, "swap.rolled_back", actor, now, serves=version)
    return rolled


def _move(s: Session, swap: Swap, state: SwapState, **values: Any) -> Swap:
    """Raises IllegalTransitionError unless the swap is still what it was."""
    check_transition(swap.state, state)
    if not store.change(s, swap.tenant_id, swap.id, swap.state, state=state.value, **values):
        check_transition(get_swap(s, swap.tenant_id, swap.id).state, state)
    return replace(swap, state=state, **values)


def _note(s: Session, swap: Swap, action: str, actor: str, now: datetime, **detail: Any) -> None:
    audit.append(
        s,
        tenant_id=swap.tenant_id,
        actor=actor,
        action=action,
        subject=swap.id,
        detail={"name": swap.name, "kind": swap.kind.value, "version": swap.to_version, **detail},
        now=now,
    )
