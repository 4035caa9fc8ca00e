"""The library of mappings: save, activate, find, compare; what was confirmed in them; and what they made.

No function commits; time is an argument. A version never changes, and saving the same rules again makes none.
"""

import re
from collections import Counter
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from core.errors import InvalidInputError, NotFoundError
from core.harmonize import store
from core.harmonize.mapping_files import RuleChange, diff_mappings, mapping_digest
from core.harmonize.records import Mapping, MappingState, Rule
from core.harmonize.saved import HarmonizedRun, MappingVersion, SavedMapping
from core.harmonize.suggest.memory import ConfirmedRule, Memory
from core.storage.ids import new_id
from core.storage.text import storable_document

NAME_LETTERS = 200
NOTE_LETTERS = 2000
VERSIONED = re.compile(r"(?P<name>.+)@(?P<version>[1-9][0-9]{0,8})", re.DOTALL)
MAX_RUNS = 1000


def save_version(
    s: Session,
    tenant_id: str,
    *,
    name: str,
    mapping: Mapping,
    author: str,
    now: datetime,
    note: str = "",
    activate_it: bool = False,
) -> MappingVersion:
    """Save as the next version of `name`, as a draft unless `activate_it`.

    Rules that were saved under this name before are that version, whose note stays as it is. The version that the
    document names is replaced by its number here. Raises InvalidInputError for a name or note that cannot be kept.
    """
    name = checked_name(name)
    if len(note) > NOTE_LETTERS:
        raise InvalidInputError(
            "The note is too long.", f"It has {len(note)} of {NOTE_LETTERS} signs.", "Shorten it."
        )
    # What no database can hold is replaced before the digest is taken: what comes back must have the same one.
    mapping = Mapping.model_validate(storable_document(mapping.plain()))
    mapping_id = store.id_by_name(s, tenant_id, name)
    if mapping_id is None:
        store.insert_mapping(s, new_id("map"), tenant_id, name, mapping, now)
        mapping_id = store.id_by_name(s, tenant_id, name) or ""
    store.lock_mapping(s, tenant_id, mapping_id)
    saved = store.version_by_digest(s, tenant_id, mapping_id, mapping_digest(mapping))
    if saved is None:
        number = store.newest_number(s, tenant_id, mapping_id) + 1
        mapping = mapping.model_copy(update={"version": number})
        saved = MappingVersion(
            id=new_id("mpv"),
            tenant_id=tenant_id,
            mapping_id=mapping_id,
            name=name,
            version=number,
            digest=mapping_digest(mapping),
            mapping=mapping,
            state=MappingState.DRAFT,
            note=note,
            author=author[:NAME_LETTERS],
            created_at=now,
        )
        store.insert_version(s, saved, mapping.plain())
        store.describe_mapping(s, tenant_id, mapping_id, mapping)
    return activate(s, tenant_id, mapping_id, saved.version) if activate_it else saved


def activate(s: Session, tenant_id: str, mapping_id: str, number: int | None = None) -> MappingVersion:
    """Put a version into use, the newest without a number; the one that was in use is retired.

    Raises NotFoundError.
    """
    if not store.lock_mapping(s, tenant_id, mapping_id):
        raise _no_mapping()
    number = store.newest_number(s, tenant_id, mapping_id) if number is None else number
    chosen = get_version(s, tenant_id, mapping_id, number)
    store.set_active(s, tenant_id, mapping_id, chosen.version)
    return get_version(s, tenant_id, mapping_id, chosen.version)


def list_mappings(s: Session, tenant_id: str) -> list[SavedMapping]:
    """Newest first."""
    return store.list_mappings(s, tenant_id)


def get(s: Session, tenant_id: str, mapping_id: str) -> SavedMapping:
    """A mapping by id. Raises NotFoundError, also for another tenant's."""
    found = store.list_mappings(s, tenant_id, mapping_id=mapping_id)
    if not found:
        raise _no_mapping()
    return found[0]


def list_versions(s: Session, tenant_id: str, mapping_id: str) -> list[MappingVersion]:
    """All versions of a mapping, newest first. Raises NotFoundError."""
    found = store.versions(s, tenant_id, mapping_id)
    if not found:
        raise _no_mapping()
    return found


def get_version(s: Session, tenant_id: str, mapping_id: str, number: int) -> MappingVersion:
    """Raises NotFoundError."""
    found = store.version_by_number(s, tenant_id, mapping_id, number)
    if found is None:
        get(s, tenant_id, mapping_id)
        raise NotFoundError(
            f"This mapping has no version {number}.", "", "Look at the list of its versions and choose one."
        )
    return found


def get_version_by_id(s: Session, tenant_id: str, version_id: str) -> MappingVersion:
    """Raises NotFoundError."""
    found = store.version_by_id(s, tenant_id, version_id)
    if found is None:
        raise _no_mapping()
    return found


def resolve(s: Session, tenant_id: str, given: str) -> MappingVersion:
    """By id or name (the version in use, else the newest), by `name@2` or `id@2`, or by a version's own id.

    Raises NotFoundError.
    """
    version = store.version_by_id(s, tenant_id, given)
    if version is not None:
        return version
    versioned = VERSIONED.fullmatch(given)
    named = versioned["name"] if versioned else given
    mapping_id = store.id_by_name(s, tenant_id, named) or named
    found = store.versions(s, tenant_id, mapping_id)
    if versioned:
        number = int(versioned["version"])
        chosen = next((each for each in found if each.version == number), None)
    else:
        active = (each for each in found if each.state is MappingState.ACTIVE)
        chosen = next(active, found[0] if found else None)
    if chosen is None:
        raise NotFoundError(
            f"There is no mapping «{given[:NAME_LETTERS]}».",
            "Nothing here has this id or name, or it has no such version.",
            "List the mappings.",
        )
    return chosen


def diff(s: Session, tenant_id: str, mapping_id: str, old: int, new: int) -> list[RuleChange]:
    """What differs between two versions, one entry for each source column. Raises NotFoundError."""
    before, after = (get_version(s, tenant_id, mapping_id, number) for number in (old, new))
    return diff_mappings(before.mapping, after.mapping)


def memory_of(s: Session, tenant_id: str) -> Memory:
    """What people of this tenant have confirmed: the rules of the versions in use, for the suggester to learn from.

    `times` counts the mappings of a network in which the same column has the same rule.
    """
    counted: Counter[tuple[str, str, str]] = Counter()
    rules: dict[tuple[str, str, str], Rule] = {}
    for version in store.active_versions(s, tenant_id):
        for rule in version.mapping.rules:
            key = (version.mapping.network, rule.source_field, rule.model_dump_json(exclude={"note"}))
            counted[key] += 1
            rules[key] = rule
    return Memory(
        entries=tuple(
            ConfirmedRule(network=key[0], source_field=key[1], rule=rules[key], times=times)
            for key, times in sorted(counted.items())
        )
    )


def record_run(
    s: Session,
    version: MappingVersion,
    *,
    run_id: str,
    dataset_id: str,
    dataset_digest: str,
    job_id: str | None,
    path: str,
    digest: str,
    size_bytes: int,
    report: dict[str, Any],
    created_by: str,
    now: datetime,
) -> HarmonizedRun:
    """Write down what a version of a mapping made of a dataset of the same tenant. `report`: as plain data."""
    run = HarmonizedRun(
        id=run_id,
        tenant_id=version.tenant_id,
        dataset_id=dataset_id,
        dataset_digest=dataset_digest,
        mapping_version_id=version.id,
        mapping_label=version.label,
        mapping_digest=version.digest,
        job_id=job_id,
        path=path,
        digest=digest,
        size_bytes=size_bytes,
        rows_in=int(report["rows_in"]),
        rows_out=int(report["rows_out"]),
        coverage=float(report["coverage"]),
        report=storable_document(report),
        created_by=created_by[:NAME_LETTERS],
        created_at=now,
    )
    store.insert_run(s, run)
    return run


def list_runs(
    s: Session,
    tenant_id: str,
    *,
    dataset_id: str | None = None,
    mapping_id: str | None = None,
    limit: int = 100,
) -> list[HarmonizedRun]:
    """Newest first."""
    limit = max(0, min(limit, MAX_RUNS))
    return store.runs(s, tenant_id, dataset_id=dataset_id, mapping_id=mapping_id, limit=limit)


def get_run(s: Session, tenant_id: str, run_id: str) -> HarmonizedRun:
    """Raises NotFoundError."""
    found = store.runs(s, tenant_id, run_id=run_id, limit=1)
    if not found:
        raise NotFoundError(
            "There are no such harmonized rows.", "", "Choose a run from the list of harmonized data."
        )
    return found[0]


def checked_name(name: str) -> str:
    """A name that a person can read and type. Raises InvalidInputError."""
    name = name.strip()
    if not name or len(name) > NAME_LETTERS or not name.isprintable() or set(name) & set("/\\@"):
        raise InvalidInputError(
            "The mapping has no usable name.",
            f"A name has 1 to {NAME_LETTERS} printable characters, without slashes and without @.",
            "Give it another name.",
        )
    return name


def _no_mapping() -> NotFoundError:
    return NotFoundError("There is no such mapping.", "", "Choose one from the list of mappings.")
