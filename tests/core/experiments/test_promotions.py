"""A promotion on its way, on every database: begun once, found again by anybody, and ended."""

from datetime import datetime, timedelta

import pytest

from core.errors import ConflictError, IllegalTransitionError
from core.experiments import promotions, service
from core.experiments.records import State
from core.storage.database import Database
from core.tenants.records import Tenant
from tests.core.experiments.drafted import draft, started

HOUR = timedelta(hours=1)


def test_a_promotion_ends_the_experiment_and_is_found_until_it_has_ended(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        running = started(s, tenant.id, now)
        assert (tenant.id, running.id) not in promotions.promoting_anywhere(s)
        begun = promotions.begin(s, running, "v2", now=now + HOUR)
        assert (begun.state, begun.promoting, begun.stopped_at) == (State.STOPPED, "v2", now + HOUR)
    with database.transaction() as s:
        found = service.get_experiment(s, tenant.id, running.id)
        assert (tenant.id, running.id) in promotions.promoting_anywhere(s)
        promotions.hold(s, found)
        assert promotions.begin(s, found, "v2", now=now) == found  # the same again goes on with it
        with pytest.raises(ConflictError, match="«v2» of «amazon_v1_vs_v2» is being promoted"):
            promotions.begin(s, found, "v1", now=now)
        service.settle(s, tenant.id, running.id, State.PROMOTED, arm_id="v2", reason="", now=now)
        assert (tenant.id, running.id) not in promotions.promoting_anywhere(s)
        assert promotions.give_up(s, tenant.id, running.id, "v2", reason="too late") is None


def test_a_promotion_that_is_given_up_leaves_an_experiment_that_was_stopped_with_the_reason(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    of = sqlite_tenant.id
    with sqlite_database.transaction() as s:
        running = started(s, of, now)
        promotions.begin(s, running, "v2", now=now)
        assert promotions.give_up(s, of, running.id, "v1", reason="of another arm") is None
        given_up = promotions.give_up(s, of, running.id, "v2", reason="its canary failed")
        assert given_up is not None
        assert (given_up.state, given_up.promoting, given_up.reason) == (
            State.STOPPED,
            None,
            "its canary failed",
        )
        assert promotions.promoting_anywhere(s) == []
        assert promotions.begin(s, given_up, "v2", now=now + HOUR).stopped_at == now


def test_what_is_being_promoted_is_neither_rolled_back_nor_put_away(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    of = sqlite_tenant.id
    with sqlite_database.transaction() as s:
        begun = promotions.begin(s, started(s, of, now), "v2", now=now)
        with pytest.raises(ConflictError, match="is being promoted"):
            service.settle(s, of, begun.id, State.ROLLED_BACK, arm_id="v1", reason="", now=now)
        with pytest.raises(ConflictError, match="is being promoted"):
            service.archive_experiment(s, of, begun.id, now=now)


def test_a_draft_is_not_promoted(sqlite_database: Database, sqlite_tenant: Tenant, now: datetime) -> None:
    with sqlite_database.transaction() as s:
        made = service.create_experiment(s, sqlite_tenant.id, draft(), created_by="Ada", now=now)
        with pytest.raises(IllegalTransitionError):
            promotions.begin(s, made, "v2", now=now)
