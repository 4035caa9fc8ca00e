"""Alerts over the API: each workspace its own, by role, audited; and how the system is."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from app.bootstrap import Console
from core.analytics import alerts
from core.analytics.alert_records import AlertKind, Finding, default_rule
from core.jobs import service as jobs
from core.tenants import audit
from core.tenants.records import Role
from tests.app.other_settings import another
from tests.core.analytics.hook_server import receiver


def open_alert(console: Console, who: Any, subject: str = "adp_1") -> str:
    found = Finding(
        AlertKind.LATENCY, subject, "<b>alpha</b>", "Answers take longer.", "Why.", "Look.", {"after": 2}
    )
    with console.database.transaction() as s:
        rule = default_rule(AlertKind.LATENCY)
        alert = alerts.report(s, who.tenant.id, found, rule, now=console.clock())
    assert alert is not None
    return alert.id


def audited(console: Console, who: Any, action: str) -> list[Any]:
    with console.database.reading() as s:
        assert audit.verify(s, who.tenant.id).problem is None
        return audit.list_entries(s, who.tenant.id, action=action)


def test_an_alert_is_acknowledged_and_resolved_by_reviewers_and_that_is_audited(
    api: TestClient, console: Console, workspace: Any
) -> None:
    alert_id = open_alert(console, workspace)
    (seen,) = api.get("/alerts", headers=workspace.headers(Role.VIEWER)).json()["items"]
    assert (seen["id"], seen["state"], seen["label"]) == (alert_id, "open", "<b>alpha</b>")
    place = f"/alerts/{alert_id}/acknowledge"
    assert api.post(place, headers=workspace.headers(Role.VIEWER)).status_code == 403
    done = api.post(place, headers=workspace.headers(Role.REVIEWER))
    assert (done.status_code, done.json()["state"]) == (200, "acknowledged")
    assert done.json()["acknowledged_by"].startswith("reviewer")
    assert api.post(place, headers=workspace.headers(Role.TRAINER)).json() == done.json()
    over = api.post(f"/alerts/{alert_id}/resolve", headers=workspace.headers(Role.REVIEWER))
    assert over.json()["state"] == "resolved"
    assert api.post(place, headers=workspace.headers()).status_code == 409
    (entry,) = audited(console, workspace, "alert.acknowledged")
    assert (entry.subject, entry.detail) == (alert_id, {"kind": "latency", "subject": "adp_1"})
    assert entry.actor == done.json()["acknowledged_by"]
    assert len(audited(console, workspace, "alert.resolved")) == 1


def test_another_workspace_sees_and_moves_nothing(
    api: TestClient, console: Console, workspace: Any, other_workspace: Any
) -> None:
    alert_id = open_alert(console, workspace)
    assert api.get("/alerts", headers=other_workspace.headers()).json() == {"items": []}
    for step in ("acknowledge", "resolve"):
        theirs = api.post(f"/alerts/{alert_id}/{step}", headers=other_workspace.headers())
        nobodys = api.post(f"/alerts/nobody/{step}", headers=other_workspace.headers())
        assert theirs.status_code == nobodys.status_code == 404
        assert theirs.json()["error"]["what"] == nobodys.json()["error"]["what"]
    (mine,) = api.get("/alerts", headers=workspace.headers()).json()["items"]
    assert mine["state"] == "open"


def test_lists_are_filtered_by_state_and_kind(api: TestClient, console: Console, workspace: Any) -> None:
    first = open_alert(console, workspace, "one")
    open_alert(console, workspace, "two")
    api.post(f"/alerts/{first}/resolve", headers=workspace.headers())

    def subjects(**filters: Any) -> list[str]:
        answer = api.get("/alerts", headers=workspace.headers(), params=filters)
        assert answer.status_code == 200, answer.text
        return [alert["subject"] for alert in answer.json()["items"]]

    assert subjects() == ["two", "one"]
    assert subjects(state=["open", "acknowledged"]) == ["two"]
    assert subjects(kind="memory") == []
    assert subjects(limit=1) == ["two"]
    for wrong in ({"state": "asleep"}, {"limit": 0}, {"kind": "weather"}):
        assert api.get("/alerts", headers=workspace.headers(), params=wrong).status_code == 422


def test_rules_say_what_they_mean_and_are_changed_by_administrators_alone(
    api: TestClient, console: Console, workspace: Any, other_workspace: Any
) -> None:
    told = api.get("/alerts/rules", headers=workspace.headers(Role.VIEWER)).json()["items"]
    assert [rule["kind"] for rule in told] == [kind.value for kind in AlertKind]
    assert all(rule["enabled"] and rule["meaning"] and rule["unit"] for rule in told)
    sent = {
        "rules": [
            {"kind": "latency", "threshold": 1.4, "cooldown_minutes": 5},
            {"kind": "gpu", "enabled": False},
        ]
    }
    assert api.put("/alerts/rules", json=sent, headers=workspace.headers(Role.TRAINER)).status_code == 403
    for _ in range(2):
        changed = api.put("/alerts/rules", json=sent, headers=workspace.headers())
        assert changed.status_code == 200
    rules = {rule["kind"]: rule for rule in changed.json()["items"]}
    assert (rules["latency"]["threshold"], rules["latency"]["cooldown_minutes"]) == (1.4, 5)
    assert rules["gpu"]["enabled"] is False
    assert rules["gpu"]["threshold"] == default_rule(AlertKind.GPU).threshold
    entries = audited(console, workspace, "alert_rule.changed")
    assert {entry.subject for entry in entries} == {"latency", "gpu"}
    assert len(entries) == 2
    theirs = api.get("/alerts/rules", headers=other_workspace.headers()).json()["items"]
    assert theirs == told


@pytest.mark.parametrize(
    "wrong",
    [
        {"rules": [{"kind": "latency", "threshold": 0.1}]},
        {"rules": [{"kind": "latency"}, {"kind": "latency"}]},
        {"rules": [{"kind": "weather"}]},
        {"rules": [{"kind": "gpu", "cooldown_minutes": -1}]},
        {"rules": [{"kind": "gpu", "colour": "red"}]},
        {},
    ],
)
def test_rules_that_cannot_be_are_refused(api: TestClient, workspace: Any, wrong: dict[str, Any]) -> None:
    assert api.put("/alerts/rules", json=wrong, headers=workspace.headers()).status_code == 422


def test_a_webhook_is_set_with_a_secret_that_is_shown_once(console: Console, workspace: Any) -> None:
    with receiver() as hook, another(console, webhook_hosts=f"localhost:{hook.port}") as (api, sharing):
        made = api.put("/alerts/webhook", json={"url": hook.url}, headers=workspace.headers())
        assert made.status_code == 200, made.text
        secret = made.json()["secret"]
        assert secret.startswith("whs_")
        again = api.put("/alerts/webhook", json={"url": hook.url}, headers=workspace.headers())
        assert again.json()["secret"] is None
        assert secret not in again.text
        open_alert(sharing, workspace)
        assert sharing.watch.send() == 1
        (sent,) = api.get("/alerts/deliveries", headers=workspace.headers()).json()["items"]
        assert (sent["state"], sent["status"], sent["host"]) == ("delivered", 204, "localhost")
        assert api.get("/alerts/deliveries", headers=workspace.headers(Role.TRAINER)).status_code == 403
        entries = audited(sharing, workspace, "webhook.changed")
        assert secret not in repr(entries)
        assert [entry.detail["new_secret"] for entry in reversed(entries)] == [True, False]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost:8501/api/tenants/register",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:10.0.0.1]/",
        "http://2130706433/",
        "https://user:pw@example.com/",
        "file:///etc/passwd",
        "x",
    ],
)
def test_a_webhook_into_this_house_is_refused(api: TestClient, workspace: Any, url: str) -> None:
    refused = api.put("/alerts/webhook", json={"url": url}, headers=workspace.headers())
    assert refused.status_code == 422
    assert refused.json()["error"]["what"] == "This address cannot be a webhook."
    assert api.get("/alerts/deliveries", headers=workspace.headers()).json() == {"items": []}


def test_the_system_is_told_to_administrators_and_to_others_only_their_jobs(
    api: TestClient, console: Console, workspace: Any, other_workspace: Any
) -> None:
    with console.database.transaction() as s:
        for who, name in ((workspace, "mine"), (other_workspace, "theirs")):
            jobs.submit(
                s, who.tenant.id, kind="training", name=name, spec={}, submitted_by="a", now=console.clock()
            )
    whole = api.get("/health/system", headers=workspace.headers()).json()
    assert whole["machine"]["memory_total_bytes"] > 0
    assert bool(whole["machine"]["gpus"]) is not bool(whole["machine"]["gpu_note"])
    assert whole["engine"]["note"] or whole["engine"]["ready"]
    assert [job["name"] for job in whole["jobs"]] == ["mine"]
    part = api.get("/health/system", headers=workspace.headers(Role.TRAINER)).json()
    assert (part["machine"], part["engine"]) == (None, None)
    assert part["hidden"]
    assert part["jobs"] == whole["jobs"]
    with another(console, operator_workspace=other_workspace.tenant.slug) as (named, _):
        hidden = named.get("/health/system", headers=workspace.headers()).json()
        assert hidden["machine"] is None
        shown = named.get("/health/system", headers=other_workspace.headers()).json()
        assert shown["machine"] is not None
        assert [job["name"] for job in shown["jobs"]] == ["theirs"]
