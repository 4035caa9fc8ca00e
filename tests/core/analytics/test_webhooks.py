"""Webhooks: what is sent and signed, tried again, and kept; and that the secret is never shown again."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from core.analytics import alerts, webhooks
from core.analytics.alert_records import AlertKind, AlertState, DeliveryState, Finding, default_rule
from core.analytics.webhooks import BACKOFF, Attempt
from core.errors import InvalidInputError
from core.storage.database import Database
from core.tenants.records import Tenant
from tests.core.analytics.hook_server import Receiver, receiver

FOUND = Finding(AlertKind.LATENCY, "adp_1", "näme", "Answers take longer.", "Why.", "Look.", {"after": 2.0})


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def set_up(database: Database, tenant: Tenant, url: str, now: datetime) -> str:
    with database.transaction() as s:
        made = webhooks.set_webhook(s, tenant.id, url=url, enabled=True, new_secret=False, by="ann", now=now)
    assert made.secret is not None
    return made.secret


def open_alert(database: Database, tenant: Tenant, now: datetime) -> str:
    with database.transaction() as s:
        alert = alerts.report(s, tenant.id, FOUND, default_rule(AlertKind.LATENCY), now=now)
    assert alert is not None
    return alert.id


def send(database: Database, hook: Receiver, now: datetime) -> list[DeliveryState]:
    """As the watch does."""
    with database.reading() as s:
        waiting = webhooks.due(s, now=now)
    states = []
    for delivery, body in waiting:
        with database.transaction() as s:
            target = webhooks.claim(s, delivery, now=now)
        if target is None:
            continue
        came = webhooks.attempt(
            delivery, body, url=target[0], secret=target[1], allowed_hosts=hook.allowed, now=now
        )
        with database.transaction() as s:
            states.append(webhooks.note_attempt(s, delivery, came, now=now))
    return states


def test_an_opened_and_a_resolved_alert_are_sent_signed(
    database: Database, tenant: Tenant, now: datetime, hook: Receiver
) -> None:
    secret = set_up(database, tenant, hook.url, now)
    alert_id = open_alert(database, tenant, now)
    assert send(database, hook, now) == [DeliveryState.DELIVERED]
    with database.transaction() as s:
        alerts.resolve(s, tenant.id, alert_id, by="ann", now=now)
    assert send(database, hook, now) == [DeliveryState.DELIVERED]
    assert send(database, hook, now + timedelta(days=1)) == []
    (_, headers, body), (_, _, second) = hook.got
    told = json.loads(body)
    assert (told["event"], told["alert_id"], told["label"]) == ("alert.open", alert_id, "näme")
    assert json.loads(second)["event"] == "alert.resolved"
    stamp, _, given = headers["x-rmn-signature"].partition(",v1=")
    seconds = stamp.removeprefix("t=")
    assert int(seconds) == int(now.timestamp())
    wanted = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    assert given == wanted
    with database.reading() as s:
        log = webhooks.deliveries(s, tenant.id)
    assert {(d.event, d.state, d.status, d.attempts) for d in log} == {
        (AlertState.OPEN, DeliveryState.DELIVERED, 204, 1),
        (AlertState.RESOLVED, DeliveryState.DELIVERED, 204, 1),
    }


def test_the_secret_is_shown_once_and_no_record_has_it(
    database: Database, tenant: Tenant, other_tenant: Tenant, now: datetime, hook: Receiver
) -> None:
    secret = set_up(database, tenant, hook.url, now)
    assert len(secret) > 40
    with database.transaction() as s:
        again = webhooks.set_webhook(
            s, tenant.id, url=hook.url, enabled=False, new_secret=False, by="bob", now=now
        )
        assert again.secret is None
        kept = webhooks.find_webhook(s, tenant.id)
        assert kept == again.webhook
        assert secret not in repr(kept)
        assert secret.endswith(kept.secret_hint[1:])
        other_url = webhooks.set_webhook(
            s, tenant.id, url=hook.url + "2", enabled=True, new_secret=False, by="bob", now=now
        )
        another = webhooks.set_webhook(
            s, tenant.id, url=hook.url + "2", enabled=True, new_secret=True, by="bob", now=now
        )
        assert len({secret, other_url.secret, another.secret}) == 3
        assert webhooks.find_webhook(s, other_tenant.id) is None


def test_what_fails_is_tried_again_later_and_later_and_then_given_up(
    database: Database, tenant: Tenant, now: datetime, hook: Receiver
) -> None:
    hook.answers = [500]
    set_up(database, tenant, hook.url, now)
    open_alert(database, tenant, now)
    for wait in BACKOFF:
        assert send(database, hook, now) == [DeliveryState.WAITING]
        assert send(database, hook, now + wait - timedelta(seconds=1)) == []
        now = now + wait
    assert send(database, hook, now) == [DeliveryState.FAILED]
    assert send(database, hook, now + timedelta(days=9)) == []
    assert len(hook.got) == len(BACKOFF) + 1
    assert len({headers["x-rmn-delivery"] for _, headers, _ in hook.got}) == 1
    with database.reading() as s:
        (log,) = webhooks.deliveries(s, tenant.id)
    assert (log.attempts, log.status, log.error) == (5, 500, "It answered 500.")


def test_a_message_is_claimed_once_and_again_only_when_its_sender_died(
    database: Database, tenant: Tenant, now: datetime, hook: Receiver
) -> None:
    set_up(database, tenant, hook.url, now)
    open_alert(database, tenant, now)
    with database.transaction() as s:
        ((delivery, _),) = webhooks.due(s, now=now)
        assert webhooks.claim(s, delivery, now=now) is not None
        assert webhooks.claim(s, delivery, now=now) is None
        assert webhooks.due(s, now=now) == []
    assert send(database, hook, now + timedelta(minutes=3)) == [DeliveryState.DELIVERED]


def test_a_webhook_that_is_removed_switched_off_or_moved_is_sent_nothing_that_waited(
    database: Database, tenant: Tenant, now: datetime, hook: Receiver
) -> None:
    set_up(database, tenant, hook.url, now)
    open_alert(database, tenant, now)
    with database.transaction() as s:
        ((delivery, _),) = webhooks.due(s, now=now)
        webhooks.set_webhook(s, tenant.id, url=hook.url, enabled=False, new_secret=False, by="ann", now=now)
        assert webhooks.claim(s, delivery, now=now) is None
        webhooks.set_webhook(s, tenant.id, url=hook.url, enabled=True, new_secret=False, by="ann", now=now)
        assert webhooks.due(s, now=now + timedelta(days=1)) == []
        assert webhooks.remove_webhook(s, tenant.id, now=now)
        assert not webhooks.remove_webhook(s, tenant.id, now=now)
        assert [d.state for d in webhooks.deliveries(s, tenant.id)] == [DeliveryState.FAILED]
    assert hook.got == []


def test_without_a_webhook_nothing_is_written_to_be_sent(
    database: Database, tenant: Tenant, other_tenant: Tenant, now: datetime, hook: Receiver
) -> None:
    set_up(database, other_tenant, hook.url, now)
    open_alert(database, tenant, now)
    with database.reading() as s:
        assert webhooks.due(s, now=now) == []
        for limit in (0, 1001):
            with pytest.raises(InvalidInputError):
                webhooks.deliveries(s, tenant.id, limit=limit)


def test_an_address_that_moved_inside_is_refused_at_sending_and_not_tried_again(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime, hook: Receiver
) -> None:
    set_up(sqlite_database, sqlite_tenant, hook.url, now)
    open_alert(sqlite_database, sqlite_tenant, now)
    with sqlite_database.transaction() as s:
        ((delivery, body),) = webhooks.due(s, now=now)
        target = webhooks.claim(s, delivery, now=now)
        assert target is not None
        came = webhooks.attempt(delivery, body, url=target[0], secret=target[1], allowed_hosts=(), now=now)
        assert came.refused
        assert webhooks.note_attempt(s, delivery, came, now=now) is DeliveryState.FAILED
    assert hook.got == []


def test_an_address_is_checked_before_it_is_kept() -> None:
    for url in ("http://127.0.0.1/", "http://no-such-host.invalid/", "ftp://example.com/"):
        with pytest.raises(InvalidInputError):
            webhooks.check_destination(url, ())
    webhooks.check_destination("http://127.0.0.1:8080/", {"127.0.0.1"})


@pytest.mark.parametrize(
    ("status", "taken"), [(200, True), (204, True), (301, False), (404, False), (None, False)]
)
def test_only_an_answer_of_200_to_299_means_that_it_was_taken(status: int | None, taken: bool) -> None:
    assert Attempt(status).taken is taken


def test_a_redirect_is_told_as_one(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime, hook: Receiver
) -> None:
    hook.answers, hook.location = [307], "http://169.254.169.254/"
    set_up(sqlite_database, sqlite_tenant, hook.url, now)
    open_alert(sqlite_database, sqlite_tenant, now)
    assert send(sqlite_database, hook, now) == [DeliveryState.WAITING]
    with sqlite_database.reading() as s:
        assert "redirect" in webhooks.deliveries(s, sqlite_tenant.id)[0].error
