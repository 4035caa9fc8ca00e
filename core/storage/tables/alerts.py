"""Alerts, their history and rules, webhooks with what was sent, and what the watch remembers."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Double, ForeignKey, Index, Integer, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.storage.tables.base import Base, Document, Id, Name, Prose, StorableString, UtcDateTime


class AlertRow(Base):
    """`unresolved` is kind and subject until the alert is resolved, then null: so one at most is unresolved for each."""

    __tablename__ = "alerts"
    __table_args__ = (
        UniqueConstraint("tenant_id", "unresolved"),
        Index(None, "tenant_id", "opened_at", "id"),
        Index(None, "tenant_id", "kind", "subject", "resolved_at"),
    )
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    kind: Mapped[str] = mapped_column(String(16))
    subject: Mapped[str] = mapped_column(Name)
    unresolved: Mapped[str | None] = mapped_column(StorableString(220))
    label: Mapped[str] = mapped_column(Name)
    state: Mapped[str] = mapped_column(String(16))
    what: Mapped[str] = mapped_column(Prose)
    why: Mapped[str] = mapped_column(Prose)
    next_step: Mapped[str] = mapped_column(Prose)
    figures: Mapped[dict[str, Any]] = mapped_column(Document)
    seen: Mapped[int] = mapped_column(Integer)
    opened_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    acknowledged_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    acknowledged_by: Mapped[str | None] = mapped_column(Name)
    resolved_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    resolved_by: Mapped[str | None] = mapped_column(Name)


class AlertEventRow(Base):
    """One step of an alert. An alert takes each state once."""

    __tablename__ = "alert_events"
    alert_id: Mapped[str] = mapped_column(ForeignKey("alerts.id"), primary_key=True)
    state: Mapped[str] = mapped_column(String(16), primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    actor: Mapped[str] = mapped_column(Name)
    note: Mapped[str] = mapped_column(Prose)


class AlertRuleRow(Base):
    """A rule that somebody changed; the others are as they come."""

    __tablename__ = "alert_rules"
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    enabled: Mapped[bool] = mapped_column()
    threshold: Mapped[float] = mapped_column(Double)
    cooldown_minutes: Mapped[int] = mapped_column(Integer)
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_by: Mapped[str] = mapped_column(Name)


class WebhookRow(Base):
    """Where alerts of a workspace go, and the secret that signs them."""

    __tablename__ = "alert_webhooks"
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    url: Mapped[str] = mapped_column(Prose)
    secret: Mapped[str] = mapped_column(String(80))
    enabled: Mapped[bool] = mapped_column()
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_by: Mapped[str] = mapped_column(Name)


class AlertDeliveryRow(Base):
    """A message to a webhook: what is sent, how often it was tried, and when it is tried next."""

    __tablename__ = "alert_deliveries"
    __table_args__ = (
        UniqueConstraint("alert_id", "event"),
        Index(None, "state", "next_at"),
        Index(None, "tenant_id", "created_at", "id"),
    )
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    alert_id: Mapped[str] = mapped_column(ForeignKey("alerts.id"))
    event: Mapped[str] = mapped_column(String(16))
    body: Mapped[str] = mapped_column(Prose)
    host: Mapped[str] = mapped_column(StorableString(255))
    state: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(Integer)
    status: Mapped[int | None] = mapped_column(Integer)
    error: Mapped[str] = mapped_column(Prose)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    next_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class WatchedRow(Base):
    """How far the watch has read one series, and what its alarm holds."""

    __tablename__ = "alert_watched"
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    subject: Mapped[str] = mapped_column(Name, primary_key=True)
    seen_until: Mapped[datetime] = mapped_column(UtcDateTime)
    state: Mapped[bytes] = mapped_column(LargeBinary)


class LeaseRow(Base):
    """Which process does a thing that one alone may do. `beat` counts up while it lives."""

    __tablename__ = "leases"
    name: Mapped[str] = mapped_column(StorableString(64), primary_key=True)
    holder: Mapped[str] = mapped_column(Id)
    beat: Mapped[int] = mapped_column(BigInteger)
