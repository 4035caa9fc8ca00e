"""Adapters and bases: list, look into, import, export, archive, restore."""

from pathlib import Path
from typing import BinaryIO

from sqlalchemy.orm import Session

from app.bootstrap import Console
from core.registry import package
from core.registry import service as registry
from core.registry.records import (
    Adapter,
    AdapterSource,
    AdapterType,
    BaseModelCard,
    Lineage,
)
from core.tenants import audit
from core.tenants.records import Permission, Principal


def list_adapters(
    c: Console, p: Principal, *, type: AdapterType | None = None, include_archived: bool = False
) -> list[Adapter]:
    """Newest first."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return registry.list_adapters(s, p.tenant_id, type=type, include_archived=include_archived)


def get_adapter(c: Console, p: Principal, adapter_id: str) -> Adapter:
    """By id. Raises NotFoundError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return registry.get_adapter(s, p.tenant_id, adapter_id)


def resolve_adapter(c: Console, p: Principal, id_or_name: str) -> Adapter:
    """By id, by name (newest active version), or by «name@2». Raises NotFoundError, ConflictError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return registry.resolve(s, p.tenant_id, id_or_name)


def lineage(c: Console, p: Principal, adapter_id: str) -> Lineage:
    """Where an adapter comes from, and what was built on it. Raises NotFoundError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return registry.lineage(s, p.tenant_id, adapter_id)


def list_bases(c: Console, p: Principal) -> list[BaseModelCard]:
    """Base models that this installation can name, the one that answers here first."""
    p.require(Permission.VIEW)
    return c.base.cards()


def import_adapter(
    c: Console,
    p: Principal,
    file: BinaryIO | Path,
    *,
    name: str | None = None,
    type: AdapterType | None = None,
    config: BinaryIO | Path | None = None,
) -> Adapter:
    """Verify an adapter (zip, or .safetensors with its `config`), publish and register it.

    One without this product's manifest needs a name and a type. Raises RefusedFileError, InvalidInputError.
    """
    p.require(Permission.TRAIN)
    now = c.clock()
    base = c.base()
    folder, manifest = package.import_package(
        file,
        adapters_dir=c.settings.adapters_dir,
        base=base,
        name=name,
        type=type,
        config=config,
        limit_bytes=c.settings.upload_limit_mb << 20,
        now=now,
    )
    with c.database.transaction() as s:
        adapter = registry.register_adapter(
            s,
            p.tenant_id,
            folder=folder,
            manifest=manifest,
            source=AdapterSource.IMPORTED,
            base=base,
            now=now,
        )
        _note(s, c, p, "adapter.imported", adapter)
    return adapter


def export_adapter(c: Console, p: Principal, adapter_id: str) -> Path:
    """A zip of the adapter. Raises IntegrityError when its files are not those that were registered."""
    adapter = get_adapter(c, p, adapter_id)
    path = package.export_package(adapter, c.settings.home / "exports" / adapter.id)
    with c.database.transaction() as s:
        _note(s, c, p, "adapter.exported", adapter)
    return path


def archive_adapter(c: Console, p: Principal, adapter_id: str) -> Adapter:
    """Hide it from choice; its files stay."""
    p.require(Permission.TRAIN)
    with c.database.transaction() as s:
        adapter = registry.archive_adapter(s, p.tenant_id, adapter_id)
        _note(s, c, p, "adapter.archived", adapter)
    return adapter


def restore_adapter(c: Console, p: Principal, adapter_id: str) -> Adapter:
    """Make it active again. Raises IntegrityError when its files have changed."""
    p.require(Permission.TRAIN)
    with c.database.transaction() as s:
        adapter = registry.restore_adapter(s, p.tenant_id, adapter_id)
        _note(s, c, p, "adapter.restored", adapter)
    return adapter


def _note(s: Session, c: Console, p: Principal, action: str, adapter: Adapter) -> None:
    audit.append(
        s,
        tenant_id=p.tenant_id,
        actor=p.actor,
        action=action,
        subject=adapter.id,
        detail={"name": adapter.label, "digest": adapter.digest},
        now=c.clock(),
    )
