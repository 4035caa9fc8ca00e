"""What figures are kept for, as it is called now: adapters of the registry, names from outside, compositions."""

from collections.abc import Mapping

from sqlalchemy.orm import Session

from core.analytics.records import Subject, SubjectKind
from core.analytics.store import names
from core.analytics.store.names import TASK, KnownName
from core.errors import NotFoundError, RmnError
from core.registry import service as registry
from core.registry.records import Adapter

EVERYTHING = Subject(SubjectKind.ALL, "", "All requests")


def find_adapter(s: Session, tenant_id: str, name: str) -> Subject:
    """By id or name; a name from outside that has records. Raises NotFoundError."""
    try:
        return of_adapter(registry.resolve(s, tenant_id, name))
    except RmnError as error:
        known = names.find_name(s, tenant_id, SubjectKind.ADAPTER, name)
        if known is None:
            raise NotFoundError(
                f"There is no adapter «{name[:200]}».",
                "The registry has none, and nothing was recorded under this name.",
                "GET /adapters lists those of the workspace.",
            ) from error
    return of_name(known)


def find_composition(s: Session, tenant_id: str, digest: str) -> Subject:
    """By digest. Raises NotFoundError where it has no records."""
    known = names.find_name(s, tenant_id, SubjectKind.COMPOSITION, digest)
    if known is None:
        raise NotFoundError(
            "There is no such composition.", "No request was answered by it.", "Take one from the list."
        )
    return of_name(known)


def list_subjects(s: Session, tenant_id: str, kind: SubjectKind) -> Mapping[str, Subject]:
    """Everything of a kind that ever had a record, by id; in the order of labels."""
    known = names.list_names(s, tenant_id, kind)
    registered: dict[str, Adapter] = {}
    if kind is SubjectKind.ADAPTER:
        found = registry.list_adapters(s, tenant_id, include_archived=True)
        registered = {adapter.id: adapter for adapter in found}
    return {
        each.subject: of_adapter(registered[each.subject]) if each.subject in registered else of_name(each)
        for each in known
    }


def list_tasks(s: Session, tenant_id: str) -> list[str]:
    """Tasks that ever had a record."""
    return [each.subject for each in names.list_names(s, tenant_id, TASK)]


def of_adapter(adapter: Adapter) -> Subject:
    """One of the registry."""
    return Subject(
        SubjectKind.ADAPTER, adapter.id, adapter.label, adapter.type.value, size_bytes=adapter.size_bytes
    )


def of_name(name: KnownName) -> Subject:
    """One that has records."""
    kind = SubjectKind(name.kind)
    return Subject(kind, name.subject, name.label, name.type, registered=kind is not SubjectKind.ADAPTER)
