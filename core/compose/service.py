"""Compositions of a tenant: from names to adapters that fit together, and saved as federations."""

from datetime import datetime

from sqlalchemy.orm import Session

from core.compose.differences import diff_federations
from core.compose.records import CompositionSpec, Federation, Term
from core.compose.resolve import find_adapter, resolve, resolve_parts
from core.compose.served import served_history
from core.compose.store import federations as store
from core.compose.swap_records import ServedKind
from core.errors import InvalidInputError, NotFoundError
from core.registry import service as registry
from core.registry.records import Adapter
from core.storage.ids import new_id
from core.storage.versions import check_name, split_version

__all__ = [
    "diff_federations",
    "find_adapter",
    "find_federation",
    "get_federation",
    "list_federations",
    "resolve",
    "resolve_parts",
    "save_federation",
    "single",
]

MAX_DESCRIPTION = 2000


def single(adapter: Adapter) -> CompositionSpec:
    """One adapter alone, with weight 1."""
    return CompositionSpec(terms=(Term(adapter=adapter.id),))


def save_federation(
    s: Session,
    tenant_id: str,
    *,
    name: str,
    description: str,
    spec: CompositionSpec,
    created_by: str,
    now: datetime,
) -> Federation:
    """Save as the next version of `name`. Its adapters must exist; that they fit is checked at each use.

    A term that names an adapter follows the version that its name serves; one that gives an id stays with it.
    Raises InvalidInputError, NotFoundError.
    """
    check_name(name, "a federation")
    if len(description) > MAX_DESCRIPTION:
        raise InvalidInputError(
            "The description is too long.",
            f"It has {len(description)} of {MAX_DESCRIPTION} signs.",
            "Shorten it.",
        )
    for part in [stage.composition for stage in spec.stages] or [spec]:
        for term in part.terms:
            registry.resolve(s, tenant_id, term.adapter)
    federation = Federation(
        id=new_id("fed"),
        tenant_id=tenant_id,
        name=name,
        version=0,
        description=description,
        spec=spec,
        created_by=created_by,
        created_at=now,
    )
    return store.add(s, federation)


def get_federation(s: Session, tenant_id: str, federation_id: str) -> Federation:
    """One version by id. Raises NotFoundError."""
    federation = store.get(s, tenant_id, federation_id)
    if federation is None:
        raise NotFoundError(
            f"There is no federation «{federation_id[:200]}».",
            "Nothing here has this id.",
            "List the federations.",
        )
    return federation


def find_federation(s: Session, tenant_id: str, name: str) -> Federation | None:
    """An id, a name (the version that it serves, else its newest), «name v2» or «name@2» (that one). None: no such."""
    if (federation := store.get(s, tenant_id, name)) is not None:
        return federation
    if versions := store.by_name(s, tenant_id, name):
        known = {version.version: version for version in versions}
        served = served_history(s, tenant_id, ServedKind.FEDERATION, name)
        return next((known[number] for number in served if number in known), versions[0])
    if (numbered := split_version(name)) is not None:
        for federation in store.by_name(s, tenant_id, numbered[0]):
            if federation.version == numbered[1]:
                return federation
    return None


def list_federations(s: Session, tenant_id: str, *, name: str | None = None) -> list[Federation]:
    """The newest version of each federation, or all versions of `name`; newest first."""
    if name is not None:
        return store.by_name(s, tenant_id, name)
    newest: dict[str, Federation] = {}
    for federation in store.list_all(s, tenant_id):
        if federation.name not in newest or federation.version > newest[federation.name].version:
            newest[federation.name] = federation
    return sorted(newest.values(), key=lambda f: (f.created_at, f.id), reverse=True)
