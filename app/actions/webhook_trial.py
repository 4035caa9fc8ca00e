"""Sending a test message to the webhook of one's own workspace."""

from app.bootstrap import Console
from core.analytics import webhook_trial
from core.analytics.webhooks import Attempt
from core.tenants import audit
from core.tenants.records import Permission, Principal


def try_webhook(c: Console, p: Principal) -> Attempt:
    """Send one message that says it is a test, now, and tell what came of it. Audited. Raises ConflictError where no
    webhook is set and on."""
    p.require(Permission.ADMINISTER)
    with c.database.reading() as s:
        target = webhook_trial.target_of(s, p.tenant_id)
    came = webhook_trial.try_out(
        target, p.tenant_id, allowed_hosts=c.settings.webhook_host_names, now=c.clock()
    )
    with c.database.transaction() as s:
        audit.append(
            s,
            tenant_id=p.tenant_id,
            actor=p.actor,
            action="webhook.tried",
            subject=target.host,
            detail={"status": came.status, "taken": came.taken},
            now=c.clock(),
        )
    return came
