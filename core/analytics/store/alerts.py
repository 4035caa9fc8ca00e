"""All SQL of alerts, their history and their rules."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, insert, select, update
from sqlalchemy.exc import IntegrityError as DuplicateRowError
from sqlalchemy.orm import Session

from core.analytics.alert_records import Alert, AlertEvent, AlertKind, AlertRule, AlertState
from core.storage.tables import AlertEventRow, AlertRow, AlertRuleRow


def open_once(s: Session, alert: Alert) -> bool:
    """Insert a new alert; False when one about the same is unresolved, perhaps since a moment ago."""
    values = {
        "id": alert.id,
        "tenant_id": alert.tenant_id,
        "kind": alert.kind.value,
        "subject": alert.subject,
        "unresolved": _unresolved(alert.kind, alert.subject),
        "label": alert.label,
        "state": alert.state.value,
        "what": alert.what,
        "why": alert.why,
        "next_step": alert.next_step,
        "figures": dict(alert.figures),
        "seen": alert.seen,
        "opened_at": alert.opened_at,
        "last_seen_at": alert.last_seen_at,
    }
    try:
        with s.begin_nested():
            s.execute(insert(AlertRow).values(**values))
    except DuplicateRowError:
        if unresolved_of(s, alert.tenant_id, alert.kind, alert.subject) is None:
            raise
        return False
    return True


def see_again(s: Session, alert_id: str, why: str, figures: dict[str, Any], now: datetime) -> None:
    """Count a finding on an alert that is unresolved."""
    _changed(
        s,
        update(AlertRow)
        .where(AlertRow.id == alert_id, AlertRow.unresolved.is_not(None))
        .values(seen=AlertRow.seen + 1, last_seen_at=now, why=why, figures=figures),
    )


def move(s: Session, alert: Alert, to: AlertState, by: str, now: datetime, *, note: str = "") -> bool:
    """Take a step and note it; False when the alert is not (any longer) in the state that `alert` has."""
    changes: dict[str, Any] = {"state": to.value}
    if to is AlertState.ACKNOWLEDGED:
        changes |= {"acknowledged_at": now, "acknowledged_by": by}
    else:
        changes |= {"resolved_at": now, "resolved_by": by, "unresolved": None}
    statement = (
        update(AlertRow)
        .where(
            AlertRow.tenant_id == alert.tenant_id,
            AlertRow.id == alert.id,
            AlertRow.state == alert.state.value,
        )
        .values(**changes)
    )
    if not _changed(s, statement):
        return False
    add_event(s, AlertEvent(alert.id, now, to, by, note))
    return True


def add_event(s: Session, event: AlertEvent) -> None:
    """Note a step."""
    s.execute(
        insert(AlertEventRow).values(
            alert_id=event.alert_id, state=event.state.value, at=event.at, actor=event.actor, note=event.note
        )
    )


def events_of(s: Session, alert_id: str) -> list[AlertEvent]:
    """Oldest first."""
    rows = _fresh(s, select(AlertEventRow).where(AlertEventRow.alert_id == alert_id))
    order = list(AlertState)
    found = [AlertEvent(row.alert_id, row.at, AlertState(row.state), row.actor, row.note) for row in rows]
    return sorted(found, key=lambda event: order.index(event.state))


def alert_by_id(s: Session, tenant_id: str, alert_id: str) -> Alert | None:
    return _first(s, select(AlertRow).where(AlertRow.tenant_id == tenant_id, AlertRow.id == alert_id))


def unresolved_of(s: Session, tenant_id: str, kind: AlertKind, subject: str) -> Alert | None:
    """The alert about this that is open or acknowledged."""
    return _first(
        s,
        select(AlertRow).where(
            AlertRow.tenant_id == tenant_id, AlertRow.unresolved == _unresolved(kind, subject)
        ),
    )


def unresolved(s: Session, tenant_id: str) -> list[Alert]:
    """All that are open or acknowledged."""
    statement = select(AlertRow).where(AlertRow.tenant_id == tenant_id, AlertRow.unresolved.is_not(None))
    return [_alert(row) for row in _fresh(s, statement)]


def last_resolved_at(s: Session, tenant_id: str, kind: AlertKind, subject: str) -> datetime | None:
    """When the last alert about this was resolved."""
    return s.scalar(
        select(AlertRow.resolved_at)
        .where(
            AlertRow.tenant_id == tenant_id,
            AlertRow.kind == kind.value,
            AlertRow.subject == subject,
            AlertRow.resolved_at.is_not(None),
        )
        .order_by(AlertRow.resolved_at.desc())
        .limit(1)
    )


def alerts(
    s: Session,
    tenant_id: str,
    states: Collection[AlertState] | None,
    kinds: Collection[AlertKind] | None,
    limit: int,
) -> list[Alert]:
    """Newest first."""
    statement = select(AlertRow).where(AlertRow.tenant_id == tenant_id)
    if states is not None:
        statement = statement.where(AlertRow.state.in_([state.value for state in states]))
    if kinds is not None:
        statement = statement.where(AlertRow.kind.in_([kind.value for kind in kinds]))
    ordered = statement.order_by(AlertRow.opened_at.desc(), AlertRow.id.desc()).limit(limit)
    return [_alert(row) for row in _fresh(s, ordered)]


def count_unresolved(s: Session, tenant_id: str) -> int:
    query = select(func.count()).where(AlertRow.tenant_id == tenant_id, AlertRow.unresolved.is_not(None))
    return s.scalar(query) or 0


def changed_rules(s: Session, tenant_id: str) -> list[AlertRule]:
    """Those that somebody changed."""
    rows = _fresh(s, select(AlertRuleRow).where(AlertRuleRow.tenant_id == tenant_id))
    return [
        AlertRule(
            AlertKind(row.kind),
            row.enabled,
            row.threshold,
            row.cooldown_minutes,
            row.changed_at,
            row.changed_by,
        )
        for row in rows
    ]


def put_rule(s: Session, tenant_id: str, rule: AlertRule) -> None:
    """Set one rule."""
    columns = {
        "enabled": rule.enabled,
        "threshold": rule.threshold,
        "cooldown_minutes": rule.cooldown_minutes,
        "changed_at": rule.changed_at,
        "changed_by": rule.changed_by,
    }
    here = (AlertRuleRow.tenant_id == tenant_id, AlertRuleRow.kind == rule.kind.value)
    if _changed(s, update(AlertRuleRow).where(*here).values(**columns)):
        return
    try:
        with s.begin_nested():
            s.execute(insert(AlertRuleRow).values(tenant_id=tenant_id, kind=rule.kind.value, **columns))
    except DuplicateRowError:  # another transaction was first
        _changed(s, update(AlertRuleRow).where(*here).values(**columns))


def _unresolved(kind: AlertKind, subject: str) -> str:
    return f"{kind.value}:{subject}"


def _changed(s: Session, statement: Any) -> int:
    return int(s.execute(statement.execution_options(synchronize_session=False)).rowcount)  # type: ignore[attr-defined]


def _fresh(s: Session, statement: Select[Any]) -> Sequence[Any]:
    # A row that this session read before may have been changed by an UPDATE since.
    return s.scalars(statement.execution_options(populate_existing=True)).all()


def _first(s: Session, statement: Select[Any]) -> Alert | None:
    return next((_alert(row) for row in _fresh(s, statement)), None)


def _alert(row: AlertRow) -> Alert:
    return Alert(
        id=row.id,
        tenant_id=row.tenant_id,
        kind=AlertKind(row.kind),
        subject=row.subject,
        label=row.label,
        state=AlertState(row.state),
        what=row.what,
        why=row.why,
        next_step=row.next_step,
        figures=row.figures,
        seen=row.seen,
        opened_at=row.opened_at,
        last_seen_at=row.last_seen_at,
        acknowledged_at=row.acknowledged_at,
        acknowledged_by=row.acknowledged_by,
        resolved_at=row.resolved_at,
        resolved_by=row.resolved_by,
    )
