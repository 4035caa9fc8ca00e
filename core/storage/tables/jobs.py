"""Jobs and the points of their curves."""

from datetime import datetime
from typing import Any

from sqlalchemy import Double, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from core.storage.tables.base import Base, Digest, Document, Id, Name, Prose, UtcDateTime


class JobRow(Base):
    """`deaths` counts attempts that ended without a word and got no further than `died_at_step`.

    `submission` names what was submitted, where somebody could submit it twice: it is there once at most.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index(None, "tenant_id", "created_at", "id"),
        Index(None, "tenant_id", "submission", unique=True),
    )
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    kind: Mapped[str] = mapped_column(String(32))
    name: Mapped[str] = mapped_column(Name)
    state: Mapped[str] = mapped_column(String(16), index=True)
    spec: Mapped[dict[str, Any]] = mapped_column(Document)
    stage: Mapped[str] = mapped_column(String(64))
    step: Mapped[int] = mapped_column(Integer)
    total_steps: Mapped[int] = mapped_column(Integer)
    eta_s: Mapped[float | None] = mapped_column(Double)
    attempt: Mapped[int] = mapped_column(Integer)
    deaths: Mapped[int] = mapped_column(Integer)
    died_at_step: Mapped[int] = mapped_column(Integer)
    fence: Mapped[str] = mapped_column(Id)
    cancel_requested: Mapped[bool] = mapped_column()
    submitted_by: Mapped[str] = mapped_column(Name)
    submission: Mapped[str | None] = mapped_column(Digest)
    result: Mapped[dict[str, Any] | None] = mapped_column(Document)
    error_what: Mapped[str | None] = mapped_column(Prose)
    error_why: Mapped[str | None] = mapped_column(Prose)
    error_next: Mapped[str | None] = mapped_column(Prose)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    heartbeat_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class JobPointRow(Base):
    """One reading of a training curve. (job, step) is unique: a resumed run overwrites what it repeats."""

    __tablename__ = "job_points"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    step: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    loss: Mapped[float | None] = mapped_column(Double)
    validation_loss: Mapped[float | None] = mapped_column(Double)
    learning_rate: Mapped[float | None] = mapped_column(Double)
    grad_norm: Mapped[float | None] = mapped_column(Double)
    tokens_per_s: Mapped[float | None] = mapped_column(Double)
