"""Federations, gates and what a name serves: compositions of a tenant, one row per version."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.storage.tables.base import Base, Digest, Document, Id, Name, Prose, StorableString, UtcDateTime


class FederationRow(Base):
    __tablename__ = "federations"
    __table_args__ = (UniqueConstraint("tenant_id", "name", "version"),)
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), index=True)
    name: Mapped[str] = mapped_column(Name)
    version: Mapped[int] = mapped_column(Integer)
    description: Mapped[str] = mapped_column(Prose)
    spec: Mapped[dict[str, Any]] = mapped_column(Document)
    created_by: Mapped[str] = mapped_column(Name)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class GateRow(Base):
    """A trained gate. `digest` is that of its weights file at `path`; `adapters` are the digests it chooses among."""

    __tablename__ = "gates"
    __table_args__ = (UniqueConstraint("tenant_id", "name", "version"),)
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), index=True)
    name: Mapped[str] = mapped_column(Name)
    version: Mapped[int] = mapped_column(Integer)
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    base_digest: Mapped[str] = mapped_column(Digest)
    digest: Mapped[str] = mapped_column(Digest)
    path: Mapped[str] = mapped_column(StorableString(1000))
    adapters: Mapped[list[dict[str, Any]]] = mapped_column(Document)
    report: Mapped[dict[str, Any]] = mapped_column(Document)
    job_id: Mapped[str | None] = mapped_column(Id)
    created_by: Mapped[str] = mapped_column(Name)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ServedVersionRow(Base):
    """The version that a name of this tenant answers with. Without a row: the newest that can serve."""

    __tablename__ = "served_versions"
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(Name, primary_key=True)
    version: Mapped[int] = mapped_column(Integer)
    swap_id: Mapped[str] = mapped_column(Id)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


class SwapRow(Base):
    """One change of the version that a name serves, from the first check to its end."""

    __tablename__ = "swaps"
    __table_args__ = (Index(None, "tenant_id", "created_at", "id"),)
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    kind: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(Name)
    from_version: Mapped[int | None] = mapped_column(Integer)
    to_version: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Prose)
    figures: Mapped[dict[str, Any]] = mapped_column(Document)
    created_by: Mapped[str] = mapped_column(Name)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
