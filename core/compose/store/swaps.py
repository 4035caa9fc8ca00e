"""All SQL about what names serve and about swaps. Names are told apart by case on every database."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import Session

from core.compose.swap_records import UNFINISHED, Served, ServedKind, Swap, SwapState
from core.storage.tables import ServedVersionRow, SwapRow


def served(s: Session, tenant_id: str, kind: ServedKind, name: str) -> Served | None:
    """What a name means; None: it was never swapped."""
    row = s.execute(
        select(ServedVersionRow.name, ServedVersionRow.version, ServedVersionRow.swap_id).where(
            *_of_name(tenant_id, kind, name)
        )
    ).first()
    return Served(row.version, row.swap_id) if row is not None and row.name == name else None


def serve(
    s: Session,
    tenant_id: str,
    kind: ServedKind,
    name: str,
    served: Served,
    *,
    before: Served | None,
    now: datetime,
) -> bool:
    """Point a name to another version. False: it does not mean `before` any more, and nothing was changed.

    Two that set the first pointer of a name wait for each other by the lock that the caller holds.
    """
    values = {"version": served.version, "swap_id": served.swap_id, "updated_at": now}
    if before is None:
        s.execute(insert(ServedVersionRow).values(tenant_id=tenant_id, kind=kind.value, name=name, **values))
        return True
    statement = update(ServedVersionRow).where(
        *_of_name(tenant_id, kind, name),
        ServedVersionRow.version == before.version,
        ServedVersionRow.swap_id == before.swap_id,
    )
    return _changed(s, statement.values(**values))


def add(s: Session, swap: Swap) -> None:
    """Write a new swap down."""
    s.execute(
        insert(SwapRow).values(
            id=swap.id,
            tenant_id=swap.tenant_id,
            kind=swap.kind.value,
            name=swap.name,
            from_version=swap.from_version,
            to_version=swap.to_version,
            state=swap.state.value,
            reason=swap.reason,
            figures=swap.figures,
            created_by=swap.created_by,
            created_at=swap.created_at,
            finished_at=swap.finished_at,
        )
    )


def change(s: Session, tenant_id: str, swap_id: str, before: SwapState, **values: Any) -> bool:
    """Change a swap that is still in the state `before`. False: it is not, and nothing was changed."""
    statement = update(SwapRow).where(
        SwapRow.tenant_id == tenant_id, SwapRow.id == swap_id, SwapRow.state == before.value
    )
    return _changed(s, statement.values(**values))


def get(s: Session, tenant_id: str, swap_id: str) -> Swap | None:
    """One swap by id."""
    found = _swaps(s, select(SwapRow).where(SwapRow.tenant_id == tenant_id, SwapRow.id == swap_id))
    return found[0] if found and found[0].id == swap_id else None


def unfinished(s: Session, tenant_id: str | None, kind: ServedKind | None, name: str | None) -> list[Swap]:
    """Swaps that run, oldest first: of one name, or with None of all tenants."""
    query = select(SwapRow).where(SwapRow.state.in_([state.value for state in UNFINISHED]))
    if tenant_id is not None:
        query = query.where(SwapRow.tenant_id == tenant_id)
    if kind is not None:
        query = query.where(SwapRow.kind == kind.value)
    if name is not None:
        query = query.where(SwapRow.name == name)
    found = _swaps(s, query.order_by(SwapRow.created_at, SwapRow.id))
    return [swap for swap in found if name is None or swap.name == name]


def list_all(s: Session, tenant_id: str, kind: ServedKind | None, name: str | None, limit: int) -> list[Swap]:
    """Swaps of the tenant, newest first."""
    query = select(SwapRow).where(SwapRow.tenant_id == tenant_id)
    if kind is not None:
        query = query.where(SwapRow.kind == kind.value)
    if name is not None:
        query = query.where(SwapRow.name == name)
    return _swaps(s, query.order_by(SwapRow.created_at.desc(), SwapRow.id.desc()).limit(limit))


def _of_name(tenant_id: str, kind: ServedKind, name: str) -> tuple[Any, ...]:
    return (
        ServedVersionRow.tenant_id == tenant_id,
        ServedVersionRow.kind == kind.value,
        ServedVersionRow.name == name,
    )


def _changed(s: Session, statement: Any) -> bool:
    result = s.execute(statement, execution_options={"synchronize_session": False})
    return isinstance(result, CursorResult) and result.rowcount == 1


def _swaps(s: Session, query: Any) -> list[Swap]:
    rows: Sequence[SwapRow] = s.scalars(query.execution_options(populate_existing=True)).all()
    return [
        Swap(
            id=row.id,
            tenant_id=row.tenant_id,
            kind=ServedKind(row.kind),
            name=row.name,
            from_version=row.from_version,
            to_version=row.to_version,
            state=SwapState(row.state),
            reason=row.reason,
            created_by=row.created_by,
            created_at=row.created_at,
            finished_at=row.finished_at,
            figures=dict(row.figures),
        )
        for row in rows
    ]
