"""Mappings of a tenant, their versions, and what was harmonized with them."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Double, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.storage.tables.base import Base, Digest, Document, Id, Name, Prose, StorableString, UtcDateTime


class MappingRow(Base):
    __tablename__ = "mappings"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), index=True)
    name: Mapped[str] = mapped_column(Name)
    retailer: Mapped[str] = mapped_column(Name)
    network: Mapped[str] = mapped_column(Name)
    report: Mapped[str] = mapped_column(Name)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class MappingVersionRow(Base):
    """`digest` covers everything in the document but its version: the same rules are one version of a mapping."""

    __tablename__ = "mapping_versions"
    __table_args__ = (UniqueConstraint("mapping_id", "version"), UniqueConstraint("mapping_id", "digest"))
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), index=True)
    mapping_id: Mapped[str] = mapped_column(ForeignKey("mappings.id"))
    version: Mapped[int] = mapped_column(Integer)
    digest: Mapped[str] = mapped_column(Digest)
    document: Mapped[dict[str, Any]] = mapped_column(Document)
    state: Mapped[str] = mapped_column(String(16))
    note: Mapped[str] = mapped_column(Prose)
    author: Mapped[str] = mapped_column(Name)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class HarmonizedRunRow(Base):
    __tablename__ = "harmonized_runs"
    __table_args__ = (
        Index(None, "tenant_id", "created_at", "id"),
        UniqueConstraint("job_id"),
    )
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    dataset_digest: Mapped[str] = mapped_column(Digest)
    mapping_version_id: Mapped[str] = mapped_column(ForeignKey("mapping_versions.id"))
    mapping_digest: Mapped[str] = mapped_column(Digest)
    job_id: Mapped[str | None] = mapped_column(Id)
    path: Mapped[str] = mapped_column(StorableString(1000))
    digest: Mapped[str] = mapped_column(Digest)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    rows_in: Mapped[int] = mapped_column(BigInteger)
    rows_out: Mapped[int] = mapped_column(BigInteger)
    coverage: Mapped[float] = mapped_column(Double)
    report: Mapped[dict[str, Any]] = mapped_column(Document)
    created_by: Mapped[str] = mapped_column(Name)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
