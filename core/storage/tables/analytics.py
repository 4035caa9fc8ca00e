"""What requests did: single ones for a while, and what they add up to for good."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Double, ForeignKey, Index, Integer, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.storage.tables.base import Base, Digest, Document, Id, Name, StorableString, UtcDateTime

Task = StorableString(80)
Code = StorableString(40)


class RequestRow(Base):
    """One request without its text. `id` begins with its time in microseconds, so that it sorts by time."""

    __tablename__ = "request_records"
    __table_args__ = (Index(None, "tenant_id", "error", "id"), Index(None, "tenant_id", "request_id"))
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    request_id: Mapped[str] = mapped_column(StorableString(64))
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    model: Mapped[str] = mapped_column(Name)
    composition: Mapped[str] = mapped_column(Digest)
    adapters: Mapped[list[str]] = mapped_column(Document)
    task: Mapped[str] = mapped_column(Task)
    error: Mapped[str] = mapped_column(Code)
    latency_ms: Mapped[float] = mapped_column(Double)
    queued_ms: Mapped[float | None] = mapped_column(Double)
    composing_ms: Mapped[float | None] = mapped_column(Double)
    first_token_ms: Mapped[float | None] = mapped_column(Double)
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
    cost_nano: Mapped[int] = mapped_column(BigInteger)
    source: Mapped[str] = mapped_column(String(16))


class RequestSubjectRow(Base):
    """Which requests an adapter or a composition took part in, to be found by it."""

    __tablename__ = "request_subjects"
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    subject: Mapped[str] = mapped_column(Name, primary_key=True)
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)


class RequestFeedbackRow(Base):
    """What one person said of one answer (once: `request_id` and `created_by`), or of an adapter (`request_id` null)."""

    __tablename__ = "request_feedback"
    __table_args__ = (
        UniqueConstraint("tenant_id", "request_id", "created_by"),
        Index(None, "tenant_id", "created_at"),
    )
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    request_id: Mapped[str | None] = mapped_column(StorableString(64))
    composition: Mapped[str] = mapped_column(Digest)
    adapters: Mapped[list[str]] = mapped_column(Document)
    task: Mapped[str] = mapped_column(Task)
    rating: Mapped[float | None] = mapped_column(Double)
    thumbs: Mapped[str | None] = mapped_column(String(8))
    accuracy: Mapped[float | None] = mapped_column(Double)
    counted_at: Mapped[datetime] = mapped_column(UtcDateTime)
    created_by: Mapped[str] = mapped_column(Name)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class AnalyticsCellRow(Base):
    """What the requests of one subject and task in one minute, hour or day add up to.

    Minutes have a row for each process that writes (`writer`); a roll-up moves them into hours and days, whose writer
    is "". So what a minute row counts is in no hour yet, and what an hour counts is in its day, too.
    """

    __tablename__ = "analytics_cells"
    __table_args__ = (Index(None, "grain", "start"),)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    grain: Mapped[str] = mapped_column(String(8), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    start: Mapped[datetime] = mapped_column(UtcDateTime, primary_key=True)
    subject: Mapped[str] = mapped_column(Name, primary_key=True)
    task: Mapped[str] = mapped_column(Task, primary_key=True)
    writer: Mapped[str] = mapped_column(Id, primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger)
    successes: Mapped[int] = mapped_column(BigInteger)
    cancelled: Mapped[int] = mapped_column(BigInteger)
    simulated: Mapped[int] = mapped_column(BigInteger)
    reported: Mapped[int] = mapped_column(BigInteger)
    errors: Mapped[dict[str, Any]] = mapped_column(Document)
    latency: Mapped[bytes | None] = mapped_column(LargeBinary)
    queued: Mapped[bytes | None] = mapped_column(LargeBinary)
    composing: Mapped[bytes | None] = mapped_column(LargeBinary)
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
    cost_nano: Mapped[int] = mapped_column(BigInteger)
    memory_bytes: Mapped[int] = mapped_column(BigInteger)
    ratings: Mapped[int] = mapped_column(BigInteger)
    rating_sum: Mapped[int] = mapped_column(BigInteger)
    rating_squares: Mapped[int] = mapped_column(BigInteger)
    thumbs_up: Mapped[int] = mapped_column(BigInteger)
    thumbs_down: Mapped[int] = mapped_column(BigInteger)
    accuracies: Mapped[int] = mapped_column(BigInteger)
    accuracy_sum: Mapped[int] = mapped_column(BigInteger)
    accuracy_squares: Mapped[int] = mapped_column(BigInteger)


class AnalyticsSubjectRow(Base):
    """Adapters, compositions and tasks that ever had a record, with what they were called then."""

    __tablename__ = "analytics_subjects"
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    subject: Mapped[str] = mapped_column(Name, primary_key=True)
    label: Mapped[str] = mapped_column(StorableString(400))
    type: Mapped[str] = mapped_column(Code)
    first_at: Mapped[datetime] = mapped_column(UtcDateTime)


class AnalyticsWriterRow(Base):
    """The last batch of each process that records: one that was written and whose answer got lost is not written again.

    The writer «roll-up» is a lock: who rolls up holds its row.
    """

    __tablename__ = "analytics_writers"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    batch: Mapped[int] = mapped_column(Integer)
    written_at: Mapped[datetime] = mapped_column(UtcDateTime)
