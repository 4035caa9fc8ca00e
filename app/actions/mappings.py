"""Mappings: suggest, save, activate, compare."""

from collections.abc import Mapping as MappingOf
from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.actions import datasets
from app.bootstrap import Console
from core.datasets import raw
from core.harmonize import service as mappings
from core.harmonize.mapping_files import RuleChange
from core.harmonize.propose import propose_rules
from core.harmonize.records import Mapping, SourceCard
from core.harmonize.saved import MappingVersion, SavedMapping
from core.harmonize.suggest.evidence import Voice
from core.harmonize.suggest.memory import Memory
from core.harmonize.suggest.suggest import Suggestion
from core.tenants import audit
from core.tenants.records import Permission, Principal


def list_mappings(c: Console, p: Principal) -> list[SavedMapping]:
    """Newest first, each with the coverage of its newest run."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return mappings.list_mappings(s, p.tenant_id)


def get_mapping(c: Console, p: Principal, mapping_id: str) -> SavedMapping:
    """Raises NotFoundError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return mappings.get(s, p.tenant_id, mapping_id)


def list_versions(c: Console, p: Principal, mapping_id: str) -> list[MappingVersion]:
    """Newest first. Raises NotFoundError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return mappings.list_versions(s, p.tenant_id, mapping_id)


def get_version(c: Console, p: Principal, mapping_id: str, number: int) -> MappingVersion:
    """Raises NotFoundError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return mappings.get_version(s, p.tenant_id, mapping_id, number)


def find_version(c: Console, p: Principal, given: str) -> MappingVersion:
    """By id, by name (the version in use, else the newest), or by `name@2`. Raises NotFoundError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return mappings.resolve(s, p.tenant_id, given)


def compare_versions(c: Console, p: Principal, mapping_id: str, old: int, new: int) -> list[RuleChange]:
    """One entry for each source column whose rule differs. Raises NotFoundError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return mappings.diff(s, p.tenant_id, mapping_id, old, new)


def save_mapping(
    c: Console, p: Principal, *, name: str, mapping: Mapping, note: str = "", activate: bool = False
) -> MappingVersion:
    """Save as the next version of `name`; rules that were saved before make none. Raises InvalidInputError."""
    p.require(Permission.TRAIN)
    with c.database.transaction() as s:
        version = mappings.save_version(
            s,
            p.tenant_id,
            name=name,
            mapping=mapping,
            note=note,
            author=p.actor,
            now=c.clock(),
            activate_it=activate,
        )
        _note(s, c, p, "mapping.activated" if activate else "mapping.saved", version)
    return version


def activate_mapping(c: Console, p: Principal, mapping_id: str, number: int | None = None) -> MappingVersion:
    """Put a version into use, the newest without a number. Raises NotFoundError."""
    p.require(Permission.TRAIN)
    with c.database.transaction() as s:
        version = mappings.activate(s, p.tenant_id, mapping_id, number)
        _note(s, c, p, "mapping.activated", version)
    return version


def memory_of(c: Console, p: Principal) -> Memory:
    """What people of this workspace have confirmed."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return mappings.memory_of(s, p.tenant_id)


def suggest_for_dataset(
    c: Console,
    p: Principal,
    dataset_id: str,
    *,
    card: SourceCard | None = None,
    documents: MappingOf[str, str] | None = None,
    voices: Sequence[Voice] = (),
) -> list[Suggestion]:
    """A rule for every column of a raw file in the library. Raises NotFoundError, InvalidInputError, IntegrityError.

    Without `card` the one that the file was imported with counts.
    """
    p.require(Permission.TRAIN)
    dataset = datasets.get_dataset(c, p, dataset_id)
    with raw.open_raw(dataset) as source:
        return propose_rules(
            source,
            card=card or raw.told_card(dataset),
            documents=documents or {},
            memory=memory_of(c, p),
            voices=voices,
        )


def _note(s: Session, c: Console, p: Principal, action: str, version: MappingVersion) -> None:
    audit.append(
        s,
        tenant_id=p.tenant_id,
        actor=p.actor,
        action=action,
        subject=version.mapping_id,
        detail={"name": version.label, "digest": version.digest},
        now=c.clock(),
    )
