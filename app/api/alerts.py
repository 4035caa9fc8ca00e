"""Alerts of a workspace, their rules and webhook; how the system is."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from app.actions import alerts
from app.api.parts import KEY_NEEDED, Caller, TheConsole, errors
from app.api.schemas import Answered, Listed
from core.analytics.alert_records import (
    MOST_COOLDOWN_MINUTES,
    RULE_FORMS,
    AlertKind,
    AlertRule,
    AlertState,
    DeliveryState,
)
from core.jobs.records import JobState

router = APIRouter(tags=["alerts"], dependencies=KEY_NEEDED)
AlertId = Annotated[str, Path(max_length=64, description="Id of an alert.")]
THRESHOLD = "What it means depends on the kind; `unit` and `meaning` of GET /alerts/rules say it."


class AlertOut(Answered):
    """An alert. Names in it are untrusted text."""

    id: str
    kind: AlertKind
    subject: str = Field(description="Id of an adapter or a job, or «machine».")
    label: str
    state: AlertState
    what: str
    why: str
    next_step: str
    figures: dict[str, Any] = Field(description="The numbers behind it, by name.")
    seen: int = Field(description="How often it was found.")
    opened_at: datetime
    last_seen_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    resolved_at: datetime | None
    resolved_by: str | None = Field(description="«watch»: nobody; it was over.")


class RuleIn(BaseModel):
    """A rule. What is left out is as it comes."""

    model_config = ConfigDict(extra="forbid")

    kind: AlertKind
    enabled: bool = True
    threshold: float | None = Field(None, allow_inf_nan=False, description=THRESHOLD)
    cooldown_minutes: int = Field(60, ge=0, le=MOST_COOLDOWN_MINUTES)


class RulesIn(BaseModel):
    """Rules to change. Kinds that are not named stay as they are."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"rules": [{"kind": "latency", "threshold": 1.25, "cooldown_minutes": 120}]}]
        },
    )

    rules: list[RuleIn] = Field(max_length=len(AlertKind))


class RuleOut(Answered):
    """A rule, and what its threshold means."""

    kind: AlertKind
    enabled: bool
    threshold: float = Field(description=THRESHOLD)
    unit: str
    meaning: str
    cooldown_minutes: int = Field(
        description="After an alert was resolved there is no other about the same for so long."
    )
    changed_at: datetime | None = Field(description="Null: as it comes.")
    changed_by: str | None


class WebhookIn(BaseModel):
    """Where alerts are sent."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"url": "https://hooks.example.com/rmn"}]}
    )

    url: str = Field(
        min_length=1,
        max_length=2000,
        description="https or http, without a name and password in it; a public host.",
    )
    enabled: bool = True
    new_secret: bool = Field(False, description="Make another secret; the former one is worth nothing then.")


class WebhookOut(Answered):
    """Where alerts are sent."""

    url: str
    enabled: bool
    secret_hint: str = Field(description="The end of the secret.")
    changed_at: datetime
    changed_by: str
    secret: str | None = Field(description="A new one, shown this once; null: the former one is kept.")


class DeliveryOut(Answered):
    """A message to the webhook and what became of it."""

    id: str
    alert_id: str
    event: AlertState
    host: str
    state: DeliveryState
    attempts: int
    status: int | None = Field(description="HTTP status of the last answer; null: none came.")
    error: str
    created_at: datetime
    next_at: datetime | None
    finished_at: datetime | None


class GpuOut(Answered):
    """A GPU, as NVML tells. Null: it does not tell."""

    index: int
    name: str
    used_bytes: int
    total_bytes: int
    utilisation: float | None = Field(description="0 to 1.")
    temperature_c: int | None
    power_w: float | None


class MachineOut(Answered):
    """The machine that this process runs on."""

    cores: int
    cpu_share: float | None = Field(description="Of all cores since the last look; null at the first.")
    load: float | None
    memory_used_bytes: int
    memory_total_bytes: int
    process_bytes: int
    disk_used_bytes: int
    disk_total_bytes: int
    gpus: list[GpuOut]
    gpu_note: str = Field(description="Why there are no GPUs in the list; empty where there are.")


class EngineOut(Answered):
    """The engine of this process. Rates are those since the last look."""

    ready: bool
    note: str
    device: str
    base_name: str
    running: int
    waiting: int
    answered: int
    adapters_in_memory: int
    memory_bytes: int
    answers_per_s: float | None
    tokens_per_s: float | None
    window_s: float | None


class ActiveJobOut(Answered):
    """A job of your workspace that is queued or runs."""

    id: str
    name: str
    kind: str
    state: JobState
    progress: float
    eta_s: float | None
    silent_s: float | None = Field(
        description="Seconds since its last sign of life; null while it is queued."
    )


class SystemOut(Answered):
    """How everything is. Machine and engine are null for whoever may not see them."""

    at: datetime
    machine: MachineOut | None
    engine: EngineOut | None
    jobs: list[ActiveJobOut]
    hidden: str = Field(description="Why something is null; empty where nothing is.")


@router.get("/alerts", summary="Alerts", responses=errors())
def read_alerts(
    console: TheConsole,
    caller: Caller,
    state: Annotated[list[AlertState] | None, Query(description="Only these; may be repeated.")] = None,
    kind: Annotated[list[AlertKind] | None, Query(description="Only these; may be repeated.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Listed[AlertOut]:
    """Of your workspace, newest first, resolved ones too."""
    found = alerts.list_alerts(console, caller, states=state, kinds=kind, limit=limit)
    return Listed(items=[AlertOut.model_validate(alert) for alert in found])


@router.post("/alerts/{alert_id}/acknowledge", summary="Acknowledge an alert", responses=errors(404, 409))
def acknowledge(console: TheConsole, caller: Caller, alert_id: AlertId) -> AlertOut:
    """Say that you look after it. Who and when is kept, in the audit log too. Twice changes nothing."""
    return AlertOut.model_validate(alerts.acknowledge(console, caller, alert_id))


@router.post("/alerts/{alert_id}/resolve", summary="Resolve an alert", responses=errors(404, 409))
def resolve(console: TheConsole, caller: Caller, alert_id: AlertId) -> AlertOut:
    """Say that it is over. Written into the audit log. Twice changes nothing."""
    return AlertOut.model_validate(alerts.resolve(console, caller, alert_id))


@router.get("/alerts/rules", summary="What raises alerts", responses=errors())
def read_rules(console: TheConsole, caller: Caller) -> Listed[RuleOut]:
    """One rule of each kind, as somebody set it or as it comes: on."""
    return Listed(items=[_rule(rule) for rule in alerts.list_rules(console, caller)])


@router.put("/alerts/rules", summary="Change what raises alerts", responses=errors())
def change_rules(console: TheConsole, caller: Caller, body: RulesIn) -> Listed[RuleOut]:
    """Answers all rules. Written into the audit log."""
    given = [
        AlertRule(
            rule.kind,
            rule.enabled,
            RULE_FORMS[rule.kind].threshold if rule.threshold is None else rule.threshold,
            rule.cooldown_minutes,
        )
        for rule in body.rules
    ]
    return Listed(items=[_rule(rule) for rule in alerts.set_rules(console, caller, given)])


@router.put("/alerts/webhook", summary="Send alerts to a webhook", responses=errors())
def change_webhook(console: TheConsole, caller: Caller, body: WebhookIn) -> WebhookOut:
    """Each alert that is opened or resolved is sent there, signed. A first webhook, another URL and `new_secret` make a
    secret, shown this once. Written into the audit log."""
    made = alerts.set_webhook(console, caller, url=body.url, enabled=body.enabled, new_secret=body.new_secret)
    kept = made.webhook
    return WebhookOut(
        url=kept.url,
        enabled=kept.enabled,
        secret_hint=kept.secret_hint,
        changed_at=kept.changed_at,
        changed_by=kept.changed_by,
        secret=made.secret,
    )


@router.get("/alerts/deliveries", summary="What was sent to the webhook", responses=errors())
def read_deliveries(
    console: TheConsole, caller: Caller, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> Listed[DeliveryOut]:
    """Newest first, with the last answer's status or why there was none."""
    found = alerts.list_deliveries(console, caller, limit=limit)
    return Listed(items=[DeliveryOut.model_validate(each) for each in found])


@router.get("/health/system", summary="How the system is", responses=errors())
def read_system(console: TheConsole, caller: Caller) -> SystemOut:
    """Jobs of your workspace. Processor, memory, disk, GPU and engine for administrators of the workspace that runs the
    installation (RMN_OPERATOR_WORKSPACE; where none is named, for administrators of any)."""
    return SystemOut.model_validate(alerts.system_health(console, caller))


def _rule(rule: AlertRule) -> RuleOut:
    return RuleOut(
        kind=rule.kind,
        enabled=rule.enabled,
        threshold=rule.threshold,
        unit=rule.form.unit,
        meaning=rule.form.meaning,
        cooldown_minutes=rule.cooldown_minutes,
        changed_at=rule.changed_at,
        changed_by=rule.changed_by,
    )
