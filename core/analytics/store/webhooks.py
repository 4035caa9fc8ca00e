"""All SQL of webhooks and of what was sent to them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, insert, select, update
from sqlalchemy.exc import IntegrityError as DuplicateRowError
from sqlalchemy.orm import Session

from core.analytics.alert_records import AlertState, Delivery, DeliveryState, Webhook
from core.storage.tables import AlertDeliveryRow, WebhookRow

HINT_LETTERS = 4


def webhook(s: Session, tenant_id: str) -> Webhook | None:
    """The webhook of a tenant, without its secret."""
    row = _row(s, tenant_id)
    if row is None:
        return None
    hint = f"…{row.secret[-HINT_LETTERS:]}"
    return Webhook(row.url, row.enabled, hint, row.changed_at, row.changed_by)


def address_and_secret(s: Session, tenant_id: str) -> tuple[str, str] | None:
    """Where to send to and what to sign with; None where nothing is to be sent. For the sender alone."""
    row = _row(s, tenant_id)
    return None if row is None or not row.enabled else (row.url, row.secret)


def put_webhook(
    s: Session, tenant_id: str, *, url: str, secret: str | None, enabled: bool, by: str, now: datetime
) -> None:
    """Set it; `secret` None keeps the former one."""
    columns: dict[str, Any] = {"url": url, "enabled": enabled, "changed_at": now, "changed_by": by}
    if secret is not None:
        columns["secret"] = secret
    change = update(WebhookRow).where(WebhookRow.tenant_id == tenant_id).values(**columns)
    if _changed(s, change) or secret is None:
        return
    try:
        with s.begin_nested():
            s.execute(insert(WebhookRow).values(tenant_id=tenant_id, **columns))
    except DuplicateRowError:  # another transaction was first
        _changed(s, change)


def delete_webhook(s: Session, tenant_id: str) -> bool:
    return bool(_changed(s, delete(WebhookRow).where(WebhookRow.tenant_id == tenant_id)))


def add_delivery(s: Session, delivery: Delivery, body: str) -> None:
    """A message that waits."""
    s.execute(
        insert(AlertDeliveryRow).values(
            id=delivery.id,
            tenant_id=delivery.tenant_id,
            alert_id=delivery.alert_id,
            event=delivery.event.value,
            body=body,
            host=delivery.host,
            state=delivery.state.value,
            attempts=delivery.attempts,
            error=delivery.error,
            created_at=delivery.created_at,
            next_at=delivery.next_at,
        )
    )


def due(s: Session, now: datetime, limit: int) -> list[tuple[Delivery, str]]:
    """Messages of all tenants whose time has come, with their bodies, oldest first."""
    row = AlertDeliveryRow
    statement = (
        select(row)
        .where(row.state == DeliveryState.WAITING.value, row.next_at <= now)
        .order_by(row.next_at, row.id)
        .limit(limit)
    )
    return [(_delivery(found), found.body) for found in _fresh(s, statement)]


def claim(s: Session, delivery: Delivery, next_at: datetime) -> bool:
    """Count an attempt before it is made, and say when the next would be; False when somebody else was first."""
    row = AlertDeliveryRow
    statement = (
        update(row)
        .where(
            row.id == delivery.id,
            row.state == DeliveryState.WAITING.value,
            row.attempts == delivery.attempts,
        )
        .values(attempts=delivery.attempts + 1, next_at=next_at)
    )
    return bool(_changed(s, statement))


def note(
    s: Session,
    delivery_id: str,
    *,
    state: DeliveryState,
    status: int | None,
    error: str,
    next_at: datetime | None,
    finished_at: datetime | None,
) -> None:
    """What an attempt came to. One that was given up meanwhile stays so."""
    row = AlertDeliveryRow
    _changed(
        s,
        update(row)
        .where(row.id == delivery_id, row.state == DeliveryState.WAITING.value)
        .values(state=state.value, status=status, error=error, next_at=next_at, finished_at=finished_at),
    )


def give_up_waiting(s: Session, tenant_id: str, why: str, now: datetime) -> None:
    """Send nothing of what still waits."""
    row = AlertDeliveryRow
    _changed(
        s,
        update(row)
        .where(row.tenant_id == tenant_id, row.state == DeliveryState.WAITING.value)
        .values(state=DeliveryState.FAILED.value, error=why, next_at=None, finished_at=now),
    )


def deliveries(s: Session, tenant_id: str, limit: int) -> list[Delivery]:
    """Newest first."""
    row = AlertDeliveryRow
    statement = (
        select(row)
        .where(row.tenant_id == tenant_id)
        .order_by(row.created_at.desc(), row.id.desc())
        .limit(limit)
    )
    return [_delivery(found) for found in _fresh(s, statement)]


def _row(s: Session, tenant_id: str) -> WebhookRow | None:
    return next(iter(_fresh(s, select(WebhookRow).where(WebhookRow.tenant_id == tenant_id))), None)


def _changed(s: Session, statement: Any) -> int:
    return int(s.execute(statement.execution_options(synchronize_session=False)).rowcount)  # type: ignore[attr-defined]


def _fresh(s: Session, statement: Select[Any]) -> Sequence[Any]:
    return s.scalars(statement.execution_options(populate_existing=True)).all()


def _delivery(row: AlertDeliveryRow) -> Delivery:
    return Delivery(
        id=row.id,
        tenant_id=row.tenant_id,
        alert_id=row.alert_id,
        event=AlertState(row.event),
        host=row.host,
        state=DeliveryState(row.state),
        attempts=row.attempts,
        status=row.status,
        error=row.error,
        created_at=row.created_at,
        next_at=row.next_at,
        finished_at=row.finished_at,
    )
