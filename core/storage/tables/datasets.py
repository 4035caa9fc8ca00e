"""Datasets of a tenant."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.storage.tables.base import Base, Digest, Document, Id, Name, Prose, StorableString, UtcDateTime


class DatasetRow(Base):
    __tablename__ = "datasets"
    __table_args__ = (UniqueConstraint("tenant_id", "name", "digest"),)
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), index=True)
    name: Mapped[str] = mapped_column(Name)
    title: Mapped[str] = mapped_column(Name)
    kind: Mapped[str] = mapped_column(String(16))
    adapter_type: Mapped[str | None] = mapped_column(String(16))
    description: Mapped[str] = mapped_column(Prose)
    simulated: Mapped[bool] = mapped_column()
    path: Mapped[str] = mapped_column(StorableString(1000))
    digest: Mapped[str] = mapped_column(Digest)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    rows: Mapped[int] = mapped_column(BigInteger)
    card: Mapped[dict[str, Any]] = mapped_column(Document)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
