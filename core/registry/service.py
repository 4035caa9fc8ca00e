"""Adapters of a tenant: register, find, archive, quarantine, and where they come from."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from core.errors import ConflictError, IntegrityError, NotFoundError, RefusedFileError
from core.registry import store
from core.registry.bases import BaseFacts
from core.registry.records import Adapter, AdapterSource, AdapterState, AdapterType, Lineage, Manifest
from core.registry.verify import check_manifest, verify_folder
from core.storage.digests import digest_adapter_folder
from core.storage.ids import new_id
from core.storage.versions import check_name as require_name
from core.storage.versions import split_version


def register_adapter(
    s: Session,
    tenant_id: str,
    *,
    folder: Path,
    manifest: Manifest,
    source: AdapterSource,
    job_id: str | None = None,
    base: BaseFacts | None = None,
    now: datetime,
) -> Adapter:
    """Register the adapter that lies in `folder` as the next version of its name.

    The files are verified again, and against `base` where it is given. A job registers at most one adapter:
    asked again, the first is answered. Without a job, so is an active one of the same name and content.
    Raises RefusedFileError, InvalidInputError.
    """
    if job_id is not None and (made := store.by_job(s, tenant_id, job_id)) is not None:
        return made
    check_name(manifest.name)
    facts = verify_folder(folder, base=base)
    check_manifest(manifest, facts, base)
    if job_id is None:
        for known in store.by_name(s, tenant_id, manifest.name):
            if (known.digest, known.type, known.state) == (facts.digest, manifest.type, AdapterState.ACTIVE):
                return known
    adapter = Adapter(
        id=new_id("adp"),
        tenant_id=tenant_id,
        name=manifest.name,
        version=0,
        type=manifest.type,
        state=AdapterState.ACTIVE,
        source=source,
        digest=facts.digest,
        base_name=manifest.base_name,
        base_digest=manifest.base_digest,
        path=str(folder.resolve()),
        size_bytes=facts.size_bytes,
        parameters=facts.parameters,
        rank=facts.rank,
        simulated=manifest.simulated,
        job_id=job_id,
        dataset_digest=manifest.dataset_digest,
        manifest=manifest,
        created_at=now,
    )
    added = store.add(s, adapter)
    if added is None and job_id is not None:
        added = store.by_job(s, tenant_id, job_id)
    if added is None:
        raise ConflictError("The adapter was registered by another run.", "", "Reload the list of adapters.")
    return added


def check_name(name: str) -> None:
    """Raise InvalidInputError unless an adapter may have this name."""
    require_name(name, "an adapter")


def get_adapter(s: Session, tenant_id: str, adapter_id: str) -> Adapter:
    """One adapter by id, in whatever state. Raises NotFoundError."""
    adapter = store.get(s, tenant_id, adapter_id)
    if adapter is None:
        raise _not_found(adapter_id)
    return adapter


def list_adapters(
    s: Session, tenant_id: str, *, type: AdapterType | None = None, include_archived: bool = False
) -> list[Adapter]:
    """Adapters of the tenant, newest first: active and quarantined ones, archived ones if asked for."""
    states = [AdapterState.ACTIVE, AdapterState.QUARANTINED]
    if include_archived:
        states.append(AdapterState.ARCHIVED)
    return store.list_all(s, tenant_id, type=type, states=states)


def find_by_digest(s: Session, tenant_id: str, digest: str) -> list[Adapter]:
    """All adapters of the tenant with this content, oldest first."""
    return store.by_digests(s, tenant_id, [digest])


def resolve(s: Session, tenant_id: str, id_or_name: str) -> Adapter:
    """An id, a name (newest active version), or «name v2» or «name@2» (that one, in any state).

    Raises NotFoundError, and ConflictError when a name has no active version left.
    """
    if (adapter := store.get(s, tenant_id, id_or_name)) is not None:
        return adapter
    versions = store.by_name(s, tenant_id, id_or_name)
    for adapter in versions:
        if adapter.state is AdapterState.ACTIVE:
            return adapter
    if versions:
        raise ConflictError(
            f"No version of the adapter «{id_or_name}» is active.",
            f"Its newest version, {versions[0].label}, is {versions[0].state}.",
            "Restore a version, or choose another adapter.",
        )
    if (numbered := split_version(id_or_name)) is not None:
        for adapter in store.by_name(s, tenant_id, numbered[0]):
            if adapter.version == numbered[1]:
                return adapter
    raise _not_found(id_or_name)


def archive_adapter(s: Session, tenant_id: str, adapter_id: str) -> Adapter:
    """Hide an adapter from choice. Its files stay; it can be restored."""
    return _change_state(s, get_adapter(s, tenant_id, adapter_id), AdapterState.ARCHIVED)


def restore_adapter(s: Session, tenant_id: str, adapter_id: str) -> Adapter:
    """Make an archived or quarantined adapter active again, if its bytes are those that were registered.

    Raises IntegrityError when they are not.
    """
    adapter = get_adapter(s, tenant_id, adapter_id)
    check_bytes(adapter)
    return _change_state(s, adapter, AdapterState.ACTIVE)


def quarantine_adapter(s: Session, tenant_id: str, adapter_id: str) -> Adapter:
    """Keep an adapter, but refuse to serve it. An older active version of its name serves again."""
    return _change_state(s, get_adapter(s, tenant_id, adapter_id), AdapterState.QUARANTINED)


def check_bytes(adapter: Adapter) -> None:
    """Raise IntegrityError unless the files are byte for byte those that were registered."""
    try:
        found = digest_adapter_folder(Path(adapter.path))
    except (RefusedFileError, OSError):
        found = "missing"
    if found != adapter.digest:
        raise IntegrityError(
            f"The files of adapter {adapter.label} changed after it was registered.",
            f"Their digest should be {adapter.digest[:12]}… and is {found[:12]}.",
            "Restore the files from a backup, import the adapter again, or use another version.",
        )


def check_on_disk(s: Session, adapter: Adapter) -> Adapter:
    """Quarantine an adapter whose files are not those registered. Answers it as it is now."""
    try:
        check_bytes(adapter)
    except IntegrityError:
        if adapter.state is AdapterState.ACTIVE:
            return _change_state(s, adapter, AdapterState.QUARANTINED)
    return adapter


def lineage(s: Session, tenant_id: str, adapter_id: str) -> Lineage:
    """Parents, children, dataset and job of an adapter. Unknown parents are digests."""
    adapter = get_adapter(s, tenant_id, adapter_id)
    parents = store.by_digests(s, tenant_id, adapter.manifest.parents)
    known = {parent.digest for parent in parents}
    everything = store.list_all(s, tenant_id, type=None, states=list(AdapterState))
    return Lineage(
        adapter=adapter,
        parents=tuple(parents),
        missing_parents=tuple(digest for digest in adapter.manifest.parents if digest not in known),
        children=tuple(other for other in everything if adapter.digest in other.manifest.parents),
        versions=tuple(store.by_name(s, tenant_id, adapter.name)),
        dataset_name=adapter.manifest.dataset_name,
        dataset_digest=adapter.dataset_digest,
        job_id=adapter.job_id,
    )


def _change_state(s: Session, adapter: Adapter, state: AdapterState) -> Adapter:
    store.set_state(s, adapter.tenant_id, adapter.id, state)
    return replace(adapter, state=state)


def _not_found(name: str) -> NotFoundError:
    return NotFoundError(
        f"There is no adapter «{name[:200]}».",
        "Nothing here has this id or name.",
        "List the adapters.",
    )
