"""What names of a tenant stand for: one statement whose answer changes when any of them means something else.

Rows of adapters, gates and federations never change but for their state, so id and state of all versions of a name,
and the version that it serves, are all that a resolution depends on. It reads the adapters' table too, which is the
registry's: asked one after another, four stores would take longer than resolving anew.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import CompoundSelect, Select, bindparam, literal, null, or_, select, union_all
from sqlalchemy.orm import Session

from core.storage.tables import AdapterRow, FederationRow, GateRow, ServedVersionRow
from core.storage.tables.base import Id, Name

Stamp = tuple[tuple[str, str, str], ...]
_TENANT = bindparam("tenant", type_=Id)
_NAMES = bindparam("names", expanding=True, type_=Name)


def _versions(table: Any, letter: str, state: Any) -> Select[Any]:
    named = or_(table.name.in_(_NAMES), table.id.in_(_NAMES))
    return select(literal(letter), table.id, state).where(table.tenant_id == _TENANT, named)


_STATEMENT: CompoundSelect[Any] = union_all(
    _versions(AdapterRow, "a", AdapterRow.state),
    _versions(GateRow, "g", GateRow.state),
    _versions(FederationRow, "f", null()),
    select(literal("s"), ServedVersionRow.swap_id, ServedVersionRow.kind).where(
        ServedVersionRow.tenant_id == _TENANT, ServedVersionRow.name.in_(_NAMES)
    ),
)


def read_stamp(s: Session, tenant_id: str, names: Collection[str]) -> Stamp:
    """Equal stamps for equal names: a resolution from then is still right. Names may be ids."""
    rows = s.execute(_STATEMENT, {"tenant": tenant_id, "names": sorted(names)})
    return tuple(sorted((letter, row_id, state or "") for letter, row_id, state in rows))
