"""Webhooks: who is told of alerts, what is sent, how it is signed, and when it is tried again.

Each message is signed so that its receiver knows where it comes from and when: HMAC-SHA256 (RFC 2104) with the secret
over «time.body», in the header `x-rmn-signature: t=<seconds since 1970>,v1=<hex>`. The secret is shown once.
"""

import hashlib
import hmac
import json
import secrets
import ssl
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from core.analytics.alert_records import (
    Alert,
    AlertState,
    Delivery,
    DeliveryState,
    NewWebhook,
    Webhook,
)
from core.analytics.destination import TIMEOUT_S, checked_addresses, destination_of, post
from core.analytics.store import webhooks as store
from core.errors import InvalidInputError, RmnError, UnavailableError
from core.storage.ids import new_id

SECRET_PREFIX = "whs_"  # noqa: S105 (the beginning of every secret)
# After the first, second, … attempt that failed; after the last there is no other.
BACKOFF = (timedelta(seconds=30), timedelta(minutes=2), timedelta(minutes=10), timedelta(hours=1))
CLAIMED_FOR = timedelta(minutes=2)  # an attempt whose process died is made again after this
MOST_LISTED = 1000
NAME_LETTERS = 200


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of sending once: an HTTP status, or in words why there is none. `refused`: it will never be taken there."""

    status: int | None
    error: str = ""
    refused: bool = False

    @property
    def taken(self) -> bool:
        """Whether the receiver has it."""
        return self.status is not None and 200 <= self.status < 300


def check_destination(url: str, allowed_hosts: Collection[str]) -> None:
    """Resolve and check a URL before it is kept. Each message is checked anew. Raises InvalidInputError."""
    try:
        checked_addresses(destination_of(url), allowed_hosts)
    except UnavailableError as error:
        raise InvalidInputError(error.what, error.why, error.next_step) from None


def find_webhook(s: Session, tenant_id: str) -> Webhook | None:
    """The webhook of a tenant, without its secret."""
    return store.webhook(s, tenant_id)


def set_webhook(
    s: Session, tenant_id: str, *, url: str, enabled: bool, new_secret: bool, by: str, now: datetime
) -> NewWebhook:
    """Keep where to send. The first time, with another URL, and on demand there is a new secret.

    Another receiver must not get what it could use to speak for us to the former one. Raises InvalidInputError.
    """
    destination_of(url)
    known = store.webhook(s, tenant_id)
    secret = None
    if known is None or known.url != url or new_secret:
        secret = SECRET_PREFIX + secrets.token_urlsafe(32)
    if known is not None and known.url != url:
        store.give_up_waiting(s, tenant_id, "The webhook was changed before it was sent.", now)
    store.put_webhook(s, tenant_id, url=url, secret=secret, enabled=enabled, by=by[:NAME_LETTERS], now=now)
    kept = store.webhook(s, tenant_id)
    if kept is None:  # somebody removed it while we kept the former secret
        return set_webhook(s, tenant_id, url=url, enabled=enabled, new_secret=True, by=by, now=now)
    return NewWebhook(kept, secret)


def remove_webhook(s: Session, tenant_id: str, *, now: datetime) -> bool:
    """Send nothing any more. False: there was none."""
    store.give_up_waiting(s, tenant_id, "The webhook was removed before it was sent.", now)
    return store.delete_webhook(s, tenant_id)


def enqueue(s: Session, alert: Alert, event: AlertState, *, now: datetime) -> None:
    """Have the tenant's webhook told, if there is one. It is sent once this is committed."""
    target = store.address_and_secret(s, alert.tenant_id)
    if target is None:
        return
    delivery = Delivery(
        id=new_id("dlv"),
        tenant_id=alert.tenant_id,
        alert_id=alert.id,
        event=event,
        host=destination_of(target[0]).host[:255],
        state=DeliveryState.WAITING,
        attempts=0,
        status=None,
        error="",
        created_at=now,
        next_at=now,
        finished_at=None,
    )
    store.add_delivery(s, delivery, message_of(alert, event))


def message_of(alert: Alert, event: AlertState) -> str:
    """What is sent: JSON."""
    told = {
        "event": f"alert.{event.value}",
        "alert_id": alert.id,
        "workspace_id": alert.tenant_id,
        "kind": alert.kind.value,
        "subject": alert.subject,
        "label": alert.label,
        "what": alert.what,
        "why": alert.why,
        "next_step": alert.next_step,
        "figures": dict(alert.figures),
        "opened_at": alert.opened_at.isoformat(),
        "resolved_at": alert.resolved_at.isoformat() if alert.resolved_at else None,
        "resolved_by": alert.resolved_by,
    }
    return json.dumps(told, ensure_ascii=True, allow_nan=False)


def due(s: Session, *, now: datetime, limit: int = 50) -> list[tuple[Delivery, str]]:
    """Messages of all tenants whose time has come, with their bodies. For the watch alone."""
    return store.due(s, now, limit)


def claim(s: Session, delivery: Delivery, *, now: datetime) -> tuple[str, str] | None:
    """Take a message to send it: URL and secret. None where it is not to be sent, or by somebody else."""
    if not store.claim(s, delivery, now + CLAIMED_FOR):
        return None
    target = store.address_and_secret(s, delivery.tenant_id)
    if target is None:
        store.give_up_waiting(s, delivery.tenant_id, "The webhook was switched off before it was sent.", now)
    return target


def attempt(
    delivery: Delivery,
    body: str,
    *,
    url: str,
    secret: str,
    allowed_hosts: Collection[str],
    now: datetime,
    timeout_s: float = TIMEOUT_S,
    tls: ssl.SSLContext | None = None,
) -> Attempt:
    """Send it once. Raises nothing for what a receiver may do."""
    content = body.encode("ascii")
    headers = {
        "content-type": "application/json",
        "user-agent": "rmn-lora",
        "x-rmn-event": f"alert.{delivery.event.value}",
        "x-rmn-delivery": delivery.id,
        "x-rmn-signature": signature(secret, content, now),
    }
    try:
        status = post(destination_of(url), content, headers, allowed_hosts, timeout_s=timeout_s, tls=tls)
    except InvalidInputError as error:
        return Attempt(None, error.why, refused=True)
    except RmnError as error:
        return Attempt(None, error.why)
    if 300 <= status < 400:
        return Attempt(status, "It answered with a redirect, which is not followed.")
    return Attempt(status, "" if 200 <= status < 300 else f"It answered {status}.")


def note_attempt(s: Session, delivery: Delivery, came: Attempt, *, now: datetime) -> DeliveryState:
    """Keep what came of the attempt after `delivery` was claimed, and say when the next one is."""
    made = delivery.attempts + 1
    if came.taken:
        state, wait = DeliveryState.DELIVERED, None
    elif came.refused or made > len(BACKOFF):
        state, wait = DeliveryState.FAILED, None
    else:
        state, wait = DeliveryState.WAITING, BACKOFF[made - 1]
    store.note(
        s,
        delivery.id,
        state=state,
        status=came.status,
        error=came.error,
        next_at=None if wait is None else now + wait,
        finished_at=now if wait is None else None,
    )
    return state


def deliveries(s: Session, tenant_id: str, *, limit: int = 100) -> list[Delivery]:
    """The log, newest first. Raises InvalidInputError."""
    if not 1 <= limit <= MOST_LISTED:
        raise InvalidInputError(
            "So many messages cannot be listed.", f"A list has 1 to {MOST_LISTED:,}.", "Ask for fewer."
        )
    return store.deliveries(s, tenant_id, limit)


def signature(secret: str, body: bytes, at: datetime) -> str:
    """The header that signs a body sent at a moment."""
    seconds = int(at.timestamp())
    signed = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256)
    return f"t={seconds},v1={signed.hexdigest()}"
