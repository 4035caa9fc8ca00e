"""Alerts on the three databases: one for each thing, its states, its cooldown, its rules."""

import threading
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from core.analytics import alerts
from core.analytics.alert_records import (
    MACHINE,
    RULE_FORMS,
    WATCH,
    AlertKind,
    AlertRule,
    AlertState,
    Finding,
    check_transition,
    default_rule,
)
from core.errors import IllegalTransitionError, InvalidInputError, NotFoundError
from core.storage.database import Database
from core.tenants.records import Tenant

MINUTE = timedelta(minutes=1)


def finding(subject: str = "adp_1", kind: AlertKind = AlertKind.LATENCY, why: str = "It was 1.") -> Finding:
    return Finding(kind, subject, "retailer_alpha", "Answers take longer.", why, "Look.", {"before": 1.0})


def test_a_new_workspace_has_every_rule_and_all_are_on(database: Database, tenant: Tenant) -> None:
    with database.reading() as s:
        rules = alerts.rules(s, tenant.id)
    assert [rule.kind for rule in rules] == list(AlertKind)
    assert all(rule.enabled and rule.threshold == rule.form.threshold for rule in rules)
    assert all(form.least <= form.threshold <= form.most for form in RULE_FORMS.values())


def test_what_is_found_again_is_counted_on_the_alert_that_is_there(
    database: Database, tenant: Tenant, other_tenant: Tenant, now: datetime
) -> None:
    rule = default_rule(AlertKind.LATENCY)
    with database.transaction() as s:
        first = alerts.report(s, tenant.id, finding(), rule, now=now)
        assert first is not None
        assert alerts.report(s, tenant.id, finding(why="It was 2."), rule, now=now + MINUTE) is None
        assert alerts.report(s, tenant.id, finding("adp_2"), rule, now=now) is not None
        assert alerts.report(s, other_tenant.id, finding(), rule, now=now) is not None
        kept = alerts.get(s, tenant.id, first.id)
    assert (kept.seen, kept.why, kept.opened_at, kept.last_seen_at) == (2, "It was 2.", now, now + MINUTE)
    with database.reading() as s:
        assert alerts.count_unresolved(s, tenant.id) == 2
        assert alerts.count_unresolved(s, other_tenant.id) == 1
        with pytest.raises(NotFoundError):
            alerts.get(s, other_tenant.id, first.id)
        with pytest.raises(NotFoundError):
            alerts.history(s, other_tenant.id, first.id)


def test_two_that_find_the_same_at_once_open_one_alert(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    opened, ready = [], threading.Barrier(4)

    def find() -> None:
        ready.wait()
        with database.transaction() as s:
            opened.append(alerts.report(s, tenant.id, finding(), default_rule(AlertKind.LATENCY), now=now))

    threads = [threading.Thread(target=find) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 4
    assert sum(alert is not None for alert in opened) == 1
    with database.reading() as s:
        assert len(alerts.list_alerts(s, tenant.id)) == 1


def test_an_alert_goes_from_open_to_acknowledged_to_resolved_and_its_history_says_by_whom(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        opened = alerts.report(s, tenant.id, finding(), default_rule(AlertKind.LATENCY), now=now)
        assert opened is not None
        seen, changed = alerts.acknowledge(s, tenant.id, opened.id, by="ann", now=now + MINUTE)
        again, changed_again = alerts.acknowledge(s, tenant.id, opened.id, by="bob", now=now + 2 * MINUTE)
        over, ended = alerts.resolve(s, tenant.id, opened.id, by="bob", now=now + 3 * MINUTE)
        assert alerts.resolve(s, tenant.id, opened.id, by="ann", now=now + 9 * MINUTE) == (over, False)
        with pytest.raises(IllegalTransitionError):
            alerts.acknowledge(s, tenant.id, opened.id, by="ann", now=now)
        history = alerts.history(s, tenant.id, opened.id)
    assert (changed, changed_again, ended) == (True, False, True)
    assert seen == again
    assert (seen.state, seen.acknowledged_by, seen.acknowledged_at) == (
        AlertState.ACKNOWLEDGED,
        "ann",
        now + MINUTE,
    )
    assert (over.state, over.resolved_by, over.resolved_at) == (AlertState.RESOLVED, "bob", now + 3 * MINUTE)
    assert [(event.state, event.actor, event.at) for event in history] == [
        (AlertState.OPEN, WATCH, now),
        (AlertState.ACKNOWLEDGED, "ann", now + MINUTE),
        (AlertState.RESOLVED, "bob", now + 3 * MINUTE),
    ]


def test_two_that_acknowledge_at_once_make_one_acknowledgement(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        opened = alerts.report(s, tenant.id, finding(), default_rule(AlertKind.LATENCY), now=now)
        assert opened is not None
    done, ready = [], threading.Barrier(2)

    def acknowledge(who: str) -> None:
        ready.wait()
        with database.transaction() as s:
            done.append(alerts.acknowledge(s, tenant.id, opened.id, by=who, now=now))

    threads = [threading.Thread(target=acknowledge, args=(who,)) for who in ("ann", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(changed for _, changed in done) == [False, True]
    assert len({alert.acknowledged_by for alert, _ in done}) == 1


def test_within_the_cooldown_nothing_new_is_opened_and_after_it_is(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    rule = replace(default_rule(AlertKind.LATENCY), cooldown_minutes=30)
    with database.transaction() as s:
        first = alerts.report(s, tenant.id, finding(), rule, now=now)
        assert first is not None
        over = alerts.settle(
            s, tenant.id, AlertKind.LATENCY, "adp_1", note="As before.", now=now + 5 * MINUTE
        )
        assert over is not None
        assert over.resolved_by == WATCH
        assert alerts.history(s, tenant.id, first.id)[-1].note == "As before."
        assert alerts.settle(s, tenant.id, AlertKind.LATENCY, "adp_1", note="", now=now) is None
        assert alerts.report(s, tenant.id, finding(), rule, now=now + 34 * MINUTE) is None
        assert alerts.report(s, tenant.id, finding("adp_2"), rule, now=now + 34 * MINUTE) is not None
        second = alerts.report(s, tenant.id, finding(), rule, now=now + 36 * MINUTE)
        assert second is not None
        assert second.id != first.id
        assert [alert.id for alert in alerts.list_alerts(s, tenant.id)][:1] == [second.id]


def test_a_clock_that_was_ahead_does_not_silence_alerts_until_it_is_there_again(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    rule = default_rule(AlertKind.MEMORY)
    memory = finding(MACHINE, AlertKind.MEMORY)
    with database.transaction() as s:
        assert alerts.report(s, tenant.id, memory, rule, now=now + timedelta(days=300)) is not None
        alerts.settle(s, tenant.id, AlertKind.MEMORY, MACHINE, note="", now=now + timedelta(days=300))
        assert alerts.report(s, tenant.id, memory, rule, now=now) is not None


def test_a_rule_that_is_off_opens_nothing(database: Database, tenant: Tenant, now: datetime) -> None:
    with database.transaction() as s:
        rule = replace(default_rule(AlertKind.LATENCY), enabled=False)
        assert alerts.report(s, tenant.id, finding(), rule, now=now) is None
        assert alerts.list_alerts(s, tenant.id) == []


def test_changed_rules_are_kept_with_who_and_when_and_the_others_stay(
    database: Database, tenant: Tenant, other_tenant: Tenant, now: datetime
) -> None:
    given = [AlertRule(AlertKind.LATENCY, True, 1.5, 10), AlertRule(AlertKind.GPU, False, 0.9, 0)]
    with database.transaction() as s:
        alerts.set_rules(s, tenant.id, given, by="ann", now=now)
        after = alerts.set_rules(s, tenant.id, given, by="bob", now=now + MINUTE)
        found = {rule.kind: rule for rule in alerts.rules(s, tenant.id)}
        assert list(found.values()) == after
        assert found[AlertKind.LATENCY] == AlertRule(AlertKind.LATENCY, True, 1.5, 10, now, "ann")
        assert found[AlertKind.GPU].enabled is False
        assert found[AlertKind.MEMORY] == default_rule(AlertKind.MEMORY)
        assert alerts.rules(s, other_tenant.id) == [default_rule(kind) for kind in AlertKind]


@pytest.mark.parametrize(
    "wrong",
    [
        [AlertRule(AlertKind.LATENCY, True, 0.5)],
        [AlertRule(AlertKind.LATENCY, True, float("nan"))],
        [AlertRule(AlertKind.MEMORY, True, 1.01)],
        [AlertRule(AlertKind.LATENCY, True, 1.2, -1)],
        [AlertRule(AlertKind.LATENCY, True, 1.2, 10_081)],
        [AlertRule(AlertKind.GPU, True, 0.9), AlertRule(AlertKind.GPU, False, 0.9)],
        [AlertRule(AlertKind.GPU, False, 0.9), AlertRule(AlertKind.LATENCY, True, 0.5)],
    ],
)
def test_rules_that_cannot_be_are_refused_and_none_of_them_is_kept(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime, wrong: list[AlertRule]
) -> None:
    with sqlite_database.transaction() as s:
        with pytest.raises(InvalidInputError):
            alerts.set_rules(s, sqlite_tenant.id, wrong, by="ann", now=now)
        assert alerts.rules(s, sqlite_tenant.id) == [default_rule(kind) for kind in AlertKind]


def test_lists_are_by_state_and_kind_and_of_a_sensible_length(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    tenant_id = sqlite_tenant.id
    with sqlite_database.transaction() as s:
        for number, kind in enumerate(AlertKind):
            alerts.report(s, tenant_id, finding("x", kind), default_rule(kind), now=now + number * MINUTE)
        alerts.settle(s, tenant_id, AlertKind.GPU, "x", note="", now=now)
        assert [a.kind for a in alerts.list_alerts(s, tenant_id)] == list(reversed(AlertKind))
        assert [a.kind for a in alerts.list_alerts(s, tenant_id, states=[AlertState.RESOLVED])] == [
            AlertKind.GPU
        ]
        assert len(alerts.list_alerts(s, tenant_id, kinds=[AlertKind.GPU, AlertKind.MEMORY])) == 2
        assert alerts.list_alerts(s, tenant_id, kinds=[]) == []
        for limit in (0, 1001):
            with pytest.raises(InvalidInputError):
                alerts.list_alerts(s, tenant_id, limit=limit)


def test_text_that_no_database_can_hold_is_kept_as_well_as_can_be(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    strange = Finding(
        AlertKind.STUCK_JOB, "job\0" + "x" * 300, "<b>\ud800", "What", "why\0", "next", {"a": float("nan")}
    )
    with database.transaction() as s:
        rule = default_rule(AlertKind.STUCK_JOB)
        alert = alerts.report(s, tenant.id, strange, rule, now=now)
        assert alert is not None
        assert alerts.get(s, tenant.id, alert.id).figures == {"a": None}
        assert alerts.report(s, tenant.id, strange, rule, now=now) is None


def test_no_state_leads_back() -> None:
    order = list(AlertState)
    for current in order:
        for following in order:
            if order.index(following) > order.index(current):
                check_transition(current, following)
            else:
                with pytest.raises(IllegalTransitionError):
                    check_transition(current, following)
