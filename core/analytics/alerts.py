"""The verbs of alerts: open, count, acknowledge, resolve; and their rules. No function commits; time is an argument."""

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from core.analytics import webhooks
from core.analytics.alert_records import (
    MOST_COOLDOWN_MINUTES,
    WATCH,
    Alert,
    AlertEvent,
    AlertKind,
    AlertRule,
    AlertState,
    Finding,
    check_transition,
    default_rule,
)
from core.analytics.store import alerts as store
from core.errors import InvalidInputError, NotFoundError
from core.storage.ids import new_id
from core.storage.text import storable, storable_document

MOST_LISTED = 1000
NAME_LETTERS = 200


def report(s: Session, tenant_id: str, finding: Finding, rule: AlertRule, *, now: datetime) -> Alert | None:
    """Open an alert about a finding; what is unresolved already is only counted. The alert if it is a new one.

    None, too, within the cooldown of the rule, and where the rule is off.
    """
    if not rule.enabled:
        return None
    subject = storable(finding.subject)[:NAME_LETTERS]
    figures = storable_document(finding.figures)
    known = store.unresolved_of(s, tenant_id, finding.kind, subject)
    if known is not None:
        store.see_again(s, known.id, storable(finding.why), figures, now)
        return None
    last = store.last_resolved_at(s, tenant_id, finding.kind, subject)
    # A clock that was set back must not silence alerts for as long as it was ahead.
    if last is not None and abs(now - last) < timedelta(minutes=rule.cooldown_minutes):
        return None
    alert = Alert(
        id=new_id("alr"),
        tenant_id=tenant_id,
        kind=finding.kind,
        subject=subject,
        label=storable(finding.label)[:NAME_LETTERS],
        state=AlertState.OPEN,
        what=storable(finding.what),
        why=storable(finding.why),
        next_step=storable(finding.next_step),
        figures=figures,
        seen=1,
        opened_at=now,
        last_seen_at=now,
    )
    if not store.open_once(s, alert):
        return None
    store.add_event(s, AlertEvent(alert.id, now, AlertState.OPEN, WATCH))
    webhooks.enqueue(s, alert, AlertState.OPEN, now=now)
    return alert


def settle(
    s: Session, tenant_id: str, kind: AlertKind, subject: str, *, note: str, now: datetime
) -> Alert | None:
    """Resolve what the watch saw to be over. None: nothing about it was unresolved."""
    known = store.unresolved_of(s, tenant_id, kind, storable(subject)[:NAME_LETTERS])
    if known is None:
        return None
    return _move(s, known, AlertState.RESOLVED, WATCH, now, note)[0]


def acknowledge(s: Session, tenant_id: str, alert_id: str, *, by: str, now: datetime) -> tuple[Alert, bool]:
    """Somebody looks after it. False: it was acknowledged before, by whom it says.

    Raises NotFoundError, IllegalTransitionError for one that is resolved.
    """
    return _move(s, get(s, tenant_id, alert_id), AlertState.ACKNOWLEDGED, by, now, "")


def resolve(s: Session, tenant_id: str, alert_id: str, *, by: str, now: datetime) -> tuple[Alert, bool]:
    """Somebody says that it is over. False: it was resolved before. Raises NotFoundError."""
    return _move(s, get(s, tenant_id, alert_id), AlertState.RESOLVED, by, now, "")


def get(s: Session, tenant_id: str, alert_id: str) -> Alert:
    """Raises NotFoundError, also for an alert of another tenant."""
    alert = store.alert_by_id(s, tenant_id, alert_id)
    if alert is None:
        raise NotFoundError("There is no such alert in this workspace.")
    return alert


def history(s: Session, tenant_id: str, alert_id: str) -> list[AlertEvent]:
    """Every step of an alert, oldest first. Raises NotFoundError."""
    return store.events_of(s, get(s, tenant_id, alert_id).id)


def list_alerts(
    s: Session,
    tenant_id: str,
    *,
    states: Collection[AlertState] | None = None,
    kinds: Collection[AlertKind] | None = None,
    limit: int = 100,
) -> list[Alert]:
    """Newest first. Raises InvalidInputError for a limit that cannot be."""
    _check_limit(limit)
    return store.alerts(s, tenant_id, states, kinds, limit)


def unresolved(s: Session, tenant_id: str) -> list[Alert]:
    """All that are open or acknowledged."""
    return store.unresolved(s, tenant_id)


def count_unresolved(s: Session, tenant_id: str) -> int:
    """How many are open or acknowledged."""
    return store.count_unresolved(s, tenant_id)


def rules(s: Session, tenant_id: str) -> list[AlertRule]:
    """One of each kind, in their order: as somebody set it, or as it comes."""
    changed = {rule.kind: rule for rule in store.changed_rules(s, tenant_id)}
    return [changed.get(kind) or default_rule(kind) for kind in AlertKind]


def set_rules(
    s: Session, tenant_id: str, given: Sequence[AlertRule], *, by: str, now: datetime
) -> list[AlertRule]:
    """Change the given rules, all or none. Answers all rules. Raises InvalidInputError."""
    if len({rule.kind for rule in given}) != len(given):
        raise InvalidInputError(
            "One kind of alert is given twice.", "It has one rule.", "Send each kind once at most."
        )
    for rule in given:
        _check_rule(rule)
    known = {rule.kind: rule for rule in rules(s, tenant_id)}
    for rule in given:
        changed = replace(rule, threshold=float(rule.threshold), changed_at=now, changed_by=by[:NAME_LETTERS])
        before = known[rule.kind]
        same = replace(changed, changed_at=before.changed_at, changed_by=before.changed_by) == before
        if not same:
            store.put_rule(s, tenant_id, changed)
    return rules(s, tenant_id)


def _move(s: Session, alert: Alert, to: AlertState, by: str, now: datetime, note: str) -> tuple[Alert, bool]:
    if alert.state is to:
        return alert, False
    check_transition(alert.state, to)
    if not store.move(s, alert, to, storable(by)[:NAME_LETTERS], now, note=note):
        # Somebody else moved it between our reading and our writing.
        return _move(s, get(s, alert.tenant_id, alert.id), to, by, now, note)
    moved = get(s, alert.tenant_id, alert.id)
    if to is AlertState.RESOLVED:
        webhooks.enqueue(s, moved, to, now=now)
    return moved, True


def _check_rule(rule: AlertRule) -> None:
    form = rule.form
    if not math.isfinite(rule.threshold) or not form.least <= rule.threshold <= form.most:
        raise InvalidInputError(
            f"The threshold of «{rule.kind}» cannot be that.",
            f"It is a number of {form.unit} from {form.least:g} to {form.most:g}.",
            "Correct it.",
        )
    if not 0 <= rule.cooldown_minutes <= MOST_COOLDOWN_MINUTES:
        raise InvalidInputError(
            f"The cooldown of «{rule.kind}» cannot be that.",
            f"It is a whole number of minutes from 0 to {MOST_COOLDOWN_MINUTES:,}.",
            "Correct it.",
        )


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MOST_LISTED:
        raise InvalidInputError(
            "So many alerts cannot be listed.", f"A list has 1 to {MOST_LISTED:,}.", "Ask for fewer."
        )
