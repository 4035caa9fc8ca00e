"""A test message: signed like an alert, taken for none, told at once, bound by the same rules for addresses."""

import hashlib
import hmac
import json
from datetime import datetime

import pytest

from core.analytics import webhook_trial, webhooks
from core.errors import ConflictError
from core.storage.database import Database
from core.tenants.records import Tenant
from tests.core.analytics.hook_server import receiver


def set_up(database: Database, tenant: Tenant, url: str, now: datetime, *, enabled: bool = True) -> str:
    with database.transaction() as s:
        made = webhooks.set_webhook(
            s, tenant.id, url=url, enabled=enabled, new_secret=False, by="ann", now=now
        )
    assert made.secret is not None
    return made.secret


def test_a_test_is_signed_and_says_that_it_is_one(database: Database, tenant: Tenant, now: datetime) -> None:
    with receiver() as hook:
        secret = set_up(database, tenant, hook.url, now)
        with database.reading() as s:
            target = webhook_trial.target_of(s, tenant.id)
        assert secret not in repr(target)
        assert target.host == "localhost"
        came = webhook_trial.try_out(target, tenant.id, allowed_hosts=hook.allowed, now=now)
    assert came.taken
    ((_, headers, body),) = hook.got
    told = json.loads(body)
    assert (told["event"], told["workspace_id"]) == ("webhook.test", tenant.id)
    assert headers["x-rmn-event"] == "webhook.test"
    stamp, _, given = headers["x-rmn-signature"].partition(",v1=")
    signed = hmac.new(secret.encode(), f"{stamp.removeprefix('t=')}.".encode() + body, hashlib.sha256)
    assert given == signed.hexdigest()
    with database.reading() as s:
        assert webhooks.deliveries(s, tenant.id) == []


@pytest.mark.parametrize(("status", "words"), [(500, "answered 500"), (302, "redirect")])
def test_what_the_receiver_answers_is_told(
    database: Database, tenant: Tenant, now: datetime, status: int, words: str
) -> None:
    with receiver(answers=[status], location="/elsewhere") as hook:
        set_up(database, tenant, hook.url, now)
        with database.reading() as s:
            target = webhook_trial.target_of(s, tenant.id)
        came = webhook_trial.try_out(target, tenant.id, allowed_hosts=hook.allowed, now=now)
    assert not came.taken
    assert came.status == status
    assert words in came.error


def test_an_address_that_alerts_may_not_reach_is_not_reached_by_a_test(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    with receiver() as hook:
        set_up(database, tenant, hook.url, now)
        with database.reading() as s:
            target = webhook_trial.target_of(s, tenant.id)
        came = webhook_trial.try_out(target, tenant.id, allowed_hosts=(), now=now)
        assert came.refused
        assert hook.got == []


def test_without_a_webhook_or_with_one_that_is_off_there_is_nothing_to_try(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    with database.reading() as s, pytest.raises(ConflictError):
        webhook_trial.target_of(s, tenant.id)
    set_up(database, tenant, "https://hooks.example.com/x", now, enabled=False)
    with database.reading() as s, pytest.raises(ConflictError):
        webhook_trial.target_of(s, tenant.id)
