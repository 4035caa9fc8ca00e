"""Trying a webhook out: one signed message that says it is a test, sent at once, kept in no list."""

import json
import ssl
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from core.analytics.destination import TIMEOUT_S, destination_of, post
from core.analytics.store import webhooks as store
from core.analytics.webhooks import Attempt, signature
from core.errors import ConflictError, InvalidInputError, RmnError
from core.storage.ids import new_id

EVENT = "webhook.test"


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send, and what signs it. The secret is never printed."""

    url: str
    secret: str = field(repr=False)

    @property
    def host(self) -> str:
        """For logs."""
        return destination_of(self.url).host[:255]


def target_of(s: Session, tenant_id: str) -> Target:
    """The webhook of a tenant. Raises ConflictError where there is none, or it is switched off."""
    found = store.address_and_secret(s, tenant_id)
    if found is None:
        raise ConflictError(
            "There is nothing to try out.",
            "No webhook is set, or it is switched off.",
            "Set an address and switch it on, then try again.",
        )
    return Target(*found)


def message(tenant_id: str, now: datetime) -> str:
    """What is sent: JSON with the event «webhook.test», so that no receiver takes it for an alert."""
    told = {
        "event": EVENT,
        "workspace_id": tenant_id,
        "what": "This is a test of your webhook. Nothing is wrong.",
        "sent_at": now.isoformat(),
    }
    return json.dumps(told, ensure_ascii=True)


def try_out(
    target: Target,
    tenant_id: str,
    *,
    allowed_hosts: Collection[str],
    now: datetime,
    timeout_s: float = TIMEOUT_S,
    tls: ssl.SSLContext | None = None,
) -> Attempt:
    """Send it once, signed as alerts are and under the same rules for addresses. Raises nothing for what comes of it."""
    body = message(tenant_id, now).encode("ascii")
    headers = {
        "content-type": "application/json",
        "user-agent": "rmn-lora",
        "x-rmn-event": EVENT,
        "x-rmn-delivery": new_id("dlv"),
        "x-rmn-signature": signature(target.secret, body, now),
    }
    try:
        status = post(destination_of(target.url), body, headers, allowed_hosts, timeout_s=timeout_s, tls=tls)
    except InvalidInputError as error:
        return Attempt(None, error.why, refused=True)
    except RmnError as error:
        return Attempt(None, error.why)
    if 200 <= status < 300:
        return Attempt(status)
    told = (
        "It answered with a redirect, which is not followed."
        if 300 <= status < 400
        else f"It answered {status}."
    )
    return Attempt(status, told)
