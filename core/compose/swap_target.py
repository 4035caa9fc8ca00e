"""What a version of a name is made of, and whether it can serve here."""

from datetime import datetime

from sqlalchemy.orm import Session

from core.compose import service
from core.compose.records import CompositionSpec, Federation, Term
from core.compose.swap_records import ServedKind
from core.engine.records import Composition
from core.errors import ConflictError, IntegrityError, NotFoundError
from core.registry import service as registry
from core.registry.records import Adapter, AdapterState
from core.tenants import audit


def check_version(s: Session, tenant_id: str, kind: ServedKind, name: str, version: int) -> None:
    """Raise NotFoundError unless this version of exactly this name exists. In which state does not matter."""
    spec_of(s, tenant_id, kind, name, version)


def current(s: Session, tenant_id: str, kind: ServedKind, name: str) -> tuple[int, str] | None:
    """The version that a request by this name gets now, and its id; None: none can serve."""
    found: Adapter | Federation | None
    try:
        if kind is ServedKind.ADAPTER:
            found = service.find_adapter(s, tenant_id, name)
        else:
            found = service.find_federation(s, tenant_id, name)
    except (ConflictError, NotFoundError):
        return None
    if found is None or found.name != name:
        return None
    return found.version, found.id


def parts(
    s: Session,
    tenant_id: str,
    kind: ServedKind,
    name: str,
    version: int,
    *,
    base_digest: str,
    modules: tuple[str, ...],
    known_id: str | None = None,
) -> tuple[Composition, ...]:
    """The compositions of a version: one, or that of each stage. An adapter is taken with its parents.

    `known_id` is that of the version, where it is known: finding it by name takes longer.
    Raises NotFoundError, ConflictError (not active, another base, a parent is missing), InvalidInputError.
    """
    spec = spec_of(s, tenant_id, kind, name, version, known_id)
    return parts_of(s, tenant_id, spec, base_digest=base_digest, modules=modules)


def parts_of(
    s: Session, tenant_id: str, spec: CompositionSpec, *, base_digest: str, modules: tuple[str, ...]
) -> tuple[Composition, ...]:
    """The compositions of a spec: one, or that of each stage. Raises as `parts`, and IntegrityError."""
    found = service.resolve_parts(s, tenant_id, spec, base_digest=base_digest, modules=modules)
    return tuple(dict.fromkeys(part.composition for part in found))


def quarantine_changed(s: Session, tenant_id: str, digests: set[str], now: datetime) -> IntegrityError | None:
    """Put those active adapters of the tenant away whose files are not those registered. Answers why, if any was."""
    problem: IntegrityError | None = None
    for digest in sorted(digests):
        for adapter in registry.find_by_digest(s, tenant_id, digest):
            if adapter.state is not AdapterState.ACTIVE:
                continue
            try:
                registry.check_bytes(adapter)
            except IntegrityError as error:
                problem = error
                registry.quarantine_adapter(s, tenant_id, adapter.id)
                audit.append(
                    s,
                    tenant_id=tenant_id,
                    actor="system",
                    action="adapter.quarantined",
                    subject=adapter.id,
                    detail={"name": adapter.label, "digest": adapter.digest},
                    now=now,
                )
    return problem


def changed_meanwhile(name: str) -> ConflictError:
    """For one whose name, or whose version's parts, somebody else changed first."""
    return ConflictError(
        f"«{name[:200]}» was changed meanwhile.", "Another swap or rollback ended first.", "Look at it again."
    )


def spec_of(
    s: Session, tenant_id: str, kind: ServedKind, name: str, version: int, known_id: str | None = None
) -> CompositionSpec:
    """The composition of a version; that of an adapter with its parents. Raises NotFoundError."""
    if kind is ServedKind.FEDERATION:
        if known_id is not None:
            return service.get_federation(s, tenant_id, known_id).spec
        for federation in service.list_federations(s, tenant_id, name=name):
            if federation.version == version:
                return federation.spec
        raise _no_version(kind, name, version)
    adapter = registry.resolve(s, tenant_id, known_id or f"{name}@{version}")
    if (adapter.name, adapter.version) != (name, version):
        raise _no_version(kind, name, version)
    return CompositionSpec(terms=tuple(Term(adapter=each.id) for each in _with_parents(s, adapter)))


def _with_parents(s: Session, adapter: Adapter) -> list[Adapter]:
    """The adapter after those it was trained on top of, as far as this tenant has them."""
    family = [adapter]
    for digest in adapter.manifest.parents:
        known = registry.find_by_digest(s, adapter.tenant_id, digest)
        active = [parent for parent in known if parent.state is AdapterState.ACTIVE]
        family[:0] = active[:1] or known[:1]
    return family


def _no_version(kind: ServedKind, name: str, version: int) -> NotFoundError:
    return NotFoundError(
        f"There is no version {version} of the {kind} «{name[:200]}».",
        "Nothing here has this name and version.",
        f"List the versions of the {kind}.",
    )
