"""Experiments: what was asked, what came of each request, and the sums of it by unit and by arm."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Date,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    SmallInteger,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from core.storage.tables.base import Base, Digest, Document, Id, Name, Prose, UtcDateTime


class ExperimentRow(Base):
    """One experiment. `definition` is everything that is fixed when it starts; `revision` counts every change."""

    __tablename__ = "experiments"
    __table_args__ = (Index(None, "tenant_id", "state"), Index(None, "state"))
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(Name)
    state: Mapped[str] = mapped_column(String(16))
    namespace: Mapped[str] = mapped_column(Name)
    definition: Mapped[dict[str, Any]] = mapped_column(Document)
    allocation: Mapped[dict[str, Any] | None] = mapped_column(Document)
    reached: Mapped[dict[str, Any] | None] = mapped_column(Document)
    reason: Mapped[str] = mapped_column(Prose)
    settled_arm: Mapped[str | None] = mapped_column(Name)
    revision: Mapped[int] = mapped_column(Integer)
    created_by: Mapped[str] = mapped_column(Name)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    stopped_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    begun_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class ExperimentImpressionRow(Base):
    """What came of one request, or that a unit was exposed. An event is there once; `folded` is 0 until it is counted,
    and 2 while what a client said waits for what the answer itself tells. `counted` names the values that were counted
    before others of the same event came."""

    __tablename__ = "experiment_impressions"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "experiment_id"], ["experiments.tenant_id", "experiments.id"]),
        UniqueConstraint("tenant_id", "experiment_id", "event_id"),
        Index(None, "tenant_id", "experiment_id", "folded", "id"),
        Index(None, "tenant_id", "experiment_id", "unit"),
    )
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Id)
    experiment_id: Mapped[str] = mapped_column(Id)
    event_id: Mapped[str] = mapped_column(Name)
    variant: Mapped[str] = mapped_column(Id)
    unit: Mapped[str] = mapped_column(Digest)
    success: Mapped[int | None] = mapped_column(SmallInteger)
    latency_ms: Mapped[float | None] = mapped_column(Double)
    feedback_score: Mapped[float | None] = mapped_column(Double)
    propensity: Mapped[float] = mapped_column(Double)
    independent: Mapped[int] = mapped_column(SmallInteger)
    exposure: Mapped[int] = mapped_column(SmallInteger)
    metrics: Mapped[dict[str, Any] | None] = mapped_column(Document)
    segment: Mapped[dict[str, Any] | None] = mapped_column(Document)
    folded: Mapped[int] = mapped_column(SmallInteger)
    counted: Mapped[list[str] | None] = mapped_column(Document)
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class ExperimentUnitRow(Base):
    """One unit: the arm that it keeps and its totals by metric. `place` is its number among the units of its arm that
    have shown something; units of two arms with the same place are a pair. A unit that was seen in two is `crossed`."""

    __tablename__ = "experiment_units"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "experiment_id"], ["experiments.tenant_id", "experiments.id"]),
        Index(None, "tenant_id", "experiment_id", "variant", "place"),
    )
    tenant_id: Mapped[str] = mapped_column(Id, primary_key=True)
    experiment_id: Mapped[str] = mapped_column(Id, primary_key=True)
    unit: Mapped[str] = mapped_column(Digest, primary_key=True)
    variant: Mapped[str] = mapped_column(Id)
    place: Mapped[int | None] = mapped_column(BigInteger)
    first: Mapped[int | None] = mapped_column(SmallInteger)
    crossed: Mapped[int] = mapped_column(SmallInteger)
    independent: Mapped[int] = mapped_column(SmallInteger)
    propensity: Mapped[float] = mapped_column(Double)
    totals: Mapped[dict[str, Any]] = mapped_column(Document)
    ages: Mapped[dict[str, Any]] = mapped_column(Document)
    segment: Mapped[dict[str, Any] | None] = mapped_column(Document)
    exposed_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ExperimentEvidenceRow(Base):
    """The sums of an experiment over all its units. Whoever folds holds this row, so that one does at a time."""

    __tablename__ = "experiment_evidence"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "experiment_id"], ["experiments.tenant_id", "experiments.id"]),
    )
    tenant_id: Mapped[str] = mapped_column(Id, primary_key=True)
    experiment_id: Mapped[str] = mapped_column(Id, primary_key=True)
    tally: Mapped[dict[str, Any]] = mapped_column(Document)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ExperimentSnapshotRow(Base):
    """How the primary metric stood last on a day (UTC)."""

    __tablename__ = "experiment_snapshots"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "experiment_id"], ["experiments.tenant_id", "experiments.id"]),
    )
    tenant_id: Mapped[str] = mapped_column(Id, primary_key=True)
    experiment_id: Mapped[str] = mapped_column(Id, primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    content: Mapped[dict[str, Any]] = mapped_column(Document)
