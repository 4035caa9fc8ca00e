"""What people prefer."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.storage.tables.base import Base, Digest, Document, Id, Name, Prose, UtcDateTime


class PreferencePairRow(Base):
    """Two answers to one prompt, and which was chosen. One user says it once: `digest` covers prompt and answers."""

    __tablename__ = "preference_pairs"
    __table_args__ = (
        UniqueConstraint("tenant_id", "created_by", "digest"),
        Index(None, "tenant_id", "created_at", "id"),
    )
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    digest: Mapped[str] = mapped_column(Digest)
    messages: Mapped[list[dict[str, Any]]] = mapped_column(Document)
    chosen: Mapped[str] = mapped_column(Prose)
    rejected: Mapped[str] = mapped_column(Prose)
    chosen_model: Mapped[str] = mapped_column(Name)
    rejected_model: Mapped[str] = mapped_column(Name)
    chosen_key: Mapped[str] = mapped_column(Digest)
    rejected_key: Mapped[str] = mapped_column(Digest)
    source: Mapped[str] = mapped_column(String(16))
    why: Mapped[str] = mapped_column(Prose)
    created_by: Mapped[str] = mapped_column(Name)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
