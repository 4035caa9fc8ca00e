"""Alerts of a workspace: see, acknowledge and resolve them, set their rules and who is told; how the system is."""

from collections.abc import Collection, Sequence
from typing import Any

from app.actions.audit import note
from app.actions.limits import is_operator
from app.bootstrap import Console
from core.analytics import alerts, webhooks
from core.analytics.alert_records import (
    Alert,
    AlertEvent,
    AlertKind,
    AlertRule,
    AlertState,
    Delivery,
    NewWebhook,
    Webhook,
)
from core.analytics.destination import destination_of
from core.analytics.health import active_jobs
from core.analytics.health_records import SystemHealth
from core.tenants.records import Permission, Principal

HIDDEN = (
    "Memory, disk, GPU and engine are shown to administrators of the workspace that runs this installation."
)


def list_alerts(
    c: Console,
    p: Principal,
    *,
    states: Collection[AlertState] | None = None,
    kinds: Collection[AlertKind] | None = None,
    limit: int = 100,
) -> list[Alert]:
    """Newest first. `states`, `kinds`: only these; left out: all, resolved ones too. Raises InvalidInputError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return alerts.list_alerts(s, p.tenant_id, states=states, kinds=kinds, limit=limit)


def alert_history(c: Console, p: Principal, alert_id: str) -> list[AlertEvent]:
    """What happened to an alert, oldest first. Raises NotFoundError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return alerts.history(s, p.tenant_id, alert_id)


def count_unresolved(c: Console, p: Principal) -> int:
    """Alerts that are open or acknowledged."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return alerts.count_unresolved(s, p.tenant_id)


def acknowledge(c: Console, p: Principal, alert_id: str) -> Alert:
    """Say that somebody looks after it; who and when is kept, in the audit log too. Twice changes nothing.

    Raises NotFoundError, IllegalTransitionError for one that is resolved.
    """
    p.require(Permission.REVIEW)
    with c.database.transaction() as s:
        alert, changed = alerts.acknowledge(s, p.tenant_id, alert_id, by=p.actor, now=c.clock())
        if changed:
            note(c, s, p, "alert.acknowledged", alert.id, kind=alert.kind.value, subject=alert.subject)
    return alert


def resolve(c: Console, p: Principal, alert_id: str) -> Alert:
    """Say that it is over; audited, too. Twice changes nothing. Raises NotFoundError."""
    p.require(Permission.REVIEW)
    with c.database.transaction() as s:
        alert, changed = alerts.resolve(s, p.tenant_id, alert_id, by=p.actor, now=c.clock())
        if changed:
            note(c, s, p, "alert.resolved", alert.id, kind=alert.kind.value, subject=alert.subject)
    return alert


def list_rules(c: Console, p: Principal) -> list[AlertRule]:
    """One of each kind, changed or as it comes."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return alerts.rules(s, p.tenant_id)


def set_rules(c: Console, p: Principal, given: Sequence[AlertRule]) -> list[AlertRule]:
    """Change some rules; kinds that are not given stay as they are. Audited. Raises InvalidInputError."""
    p.require(Permission.ADMINISTER)
    with c.database.transaction() as s:
        before = {rule.kind: rule for rule in alerts.rules(s, p.tenant_id)}
        after = alerts.set_rules(s, p.tenant_id, given, by=p.actor, now=c.clock())
        for rule in after:
            old = before[rule.kind]
            if (old.enabled, old.threshold, old.cooldown_minutes) != (
                rule.enabled,
                rule.threshold,
                rule.cooldown_minutes,
            ):
                detail = {"before": _told(old), "after": _told(rule)}
                note(c, s, p, "alert_rule.changed", rule.kind.value, **detail)
    return after


def read_webhook(c: Console, p: Principal) -> Webhook | None:
    """Where alerts are sent; None: nowhere. Never with its secret."""
    p.require(Permission.ADMINISTER)
    with c.database.reading() as s:
        return webhooks.find_webhook(s, p.tenant_id)


def set_webhook(
    c: Console, p: Principal, *, url: str, enabled: bool = True, new_secret: bool = False
) -> NewWebhook:
    """Send alerts to `url`. A first webhook, another URL or `new_secret` makes a secret, which is answered this once.

    Audited. Raises InvalidInputError for an address that is not public or cannot be resolved.
    """
    p.require(Permission.ADMINISTER)
    webhooks.check_destination(url, c.settings.webhook_host_names)
    with c.database.transaction() as s:
        made = webhooks.set_webhook(
            s, p.tenant_id, url=url, enabled=enabled, new_secret=new_secret, by=p.actor, now=c.clock()
        )
        host = destination_of(url).host
        note(c, s, p, "webhook.changed", host, enabled=enabled, new_secret=made.secret is not None)
    return made


def remove_webhook(c: Console, p: Principal) -> None:
    """Send alerts nowhere from now on; what still waits is not sent. Audited. Without one, changes nothing."""
    p.require(Permission.ADMINISTER)
    with c.database.transaction() as s:
        if webhooks.remove_webhook(s, p.tenant_id, now=c.clock()):
            note(c, s, p, "webhook.removed", "webhook")


def list_deliveries(c: Console, p: Principal, *, limit: int = 100) -> list[Delivery]:
    """Messages to the webhook and what became of them, newest first."""
    p.require(Permission.ADMINISTER)
    with c.database.reading() as s:
        return webhooks.deliveries(s, p.tenant_id, limit=limit)


def may_see_machine(c: Console, p: Principal) -> bool:
    """Whoever runs the installation; where the settings name no such workspace, administrators of any."""
    if is_operator(c, p):
        return True
    return not c.settings.operator_workspace and p.may(Permission.ADMINISTER)


def system_health(c: Console, p: Principal) -> SystemHealth:
    """How machine, engine and the workspace's own jobs are now. Opens no engine that is not open."""
    p.require(Permission.VIEW)
    now = c.clock()
    with c.database.reading() as s:
        jobs = active_jobs(s, p.tenant_id, now=now)
    if not may_see_machine(c, p):
        return SystemHealth(now, None, None, jobs, HIDDEN)
    return SystemHealth(now, c.watch.machine(), c.watch.engine(), jobs)


def _told(rule: AlertRule) -> dict[str, Any]:
    return {
        "enabled": rule.enabled,
        "threshold": rule.threshold,
        "cooldown_minutes": rule.cooldown_minutes,
    }
