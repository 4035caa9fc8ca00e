"""Adapters of a tenant."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.storage.tables.base import Base, Digest, Document, Id, Name, StorableString, UtcDateTime


class AdapterRow(Base):
    __tablename__ = "adapters"
    __table_args__ = (UniqueConstraint("tenant_id", "name", "version"),)
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), index=True)
    name: Mapped[str] = mapped_column(Name)
    version: Mapped[int] = mapped_column(Integer)
    type: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    source: Mapped[str] = mapped_column(String(16))
    digest: Mapped[str] = mapped_column(Digest, index=True)
    base_name: Mapped[str] = mapped_column(Name)
    base_digest: Mapped[str] = mapped_column(Digest)
    path: Mapped[str] = mapped_column(StorableString(1000))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    parameters: Mapped[int] = mapped_column(BigInteger)
    rank: Mapped[int] = mapped_column(Integer)
    simulated: Mapped[bool] = mapped_column()
    job_id: Mapped[str | None] = mapped_column(Id, unique=True)
    dataset_digest: Mapped[str | None] = mapped_column(Digest)
    manifest: Mapped[dict[str, Any]] = mapped_column(Document)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
