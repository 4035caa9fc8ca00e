"""An alert, its states, the rules that open alerts, and the address that is told of them.

    OPEN ──▶ ACKNOWLEDGED ──▶ RESOLVED
      └─────────────────────────▲

Somebody acknowledges and resolves; the watch resolves by itself what is over. One alert at most is open or acknowledged
for a kind and a subject; what is seen again meanwhile is counted on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from core.errors import IllegalTransitionError

MACHINE = "machine"  # the subject of alerts about memory and GPU
WATCH = "watch"  # who acts when nobody does


class AlertKind(StrEnum):
    """What is looked at."""

    SUCCESS = "success"  # fewer requests of an adapter succeed
    LATENCY = "latency"  # the answers of an adapter take longer
    RATING = "rating"  # the answers of an adapter are rated lower
    MEMORY = "memory"  # of this machine
    GPU = "gpu"  # memory of the fullest GPU of this machine
    STUCK_JOB = "stuck_job"  # a job that gives no sign of life, or that nobody takes
    LOSS_PLATEAU = "loss_plateau"  # a training that does not get better any more

    @property
    def of_machine(self) -> bool:
        """Whether it is about the machine and not about what a workspace does."""
        return self in (AlertKind.MEMORY, AlertKind.GPU)


class AlertState(StrEnum):
    """Where an alert stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


_NEXT = {
    AlertState.OPEN: {AlertState.ACKNOWLEDGED, AlertState.RESOLVED},
    AlertState.ACKNOWLEDGED: {AlertState.RESOLVED},
}


def check_transition(current: AlertState, following: AlertState) -> None:
    """Raise IllegalTransitionError unless `following` may come after `current`."""
    if following not in _NEXT.get(current, set()):
        raise IllegalTransitionError(
            f"This alert is {current}; it cannot become {following}.",
            "What is resolved stays so: if it happens again, a new alert is opened."
            if current is AlertState.RESOLVED
            else "",
            "Reload to see how it stands.",
        )


@dataclass(frozen=True, slots=True)
class RuleForm:
    """What the threshold of a kind means: its unit, the range that it may have, what it is unless somebody sets it."""

    threshold: float
    least: float
    most: float
    unit: str
    meaning: str


RULE_FORMS: Mapping[AlertKind, RuleForm] = MappingProxyType(
    {
        AlertKind.SUCCESS: RuleForm(
            0.02, 0.001, 1.0, "share", "A fall of the success rate smaller than this raises no alert."
        ),
        AlertKind.LATENCY: RuleForm(
            1.1, 1.0, 100.0, "times", "A latency that rises by a smaller factor raises no alert."
        ),
        AlertKind.RATING: RuleForm(
            0.2, 0.01, 100.0, "points", "A fall of the mean rating smaller than this raises no alert."
        ),
        AlertKind.MEMORY: RuleForm(0.92, 0.05, 1.0, "share", "Memory of the machine in use, for a minute."),
        AlertKind.GPU: RuleForm(0.95, 0.05, 1.0, "share", "Memory in use on the fullest GPU, for a minute."),
        AlertKind.STUCK_JOB: RuleForm(
            10.0,
            1.0,
            10_080.0,
            "minutes",
            "A job without a sign of life, or not taken by any worker, for so long.",
        ),
        AlertKind.LOSS_PLATEAU: RuleForm(
            0.01, 0.0, 0.5, "share", "A training whose loss fell by less than this over its last 60 readings."
        ),
    }
)
MOST_COOLDOWN_MINUTES = 10_080
COOLDOWN_MINUTES = 60


@dataclass(frozen=True, slots=True)
class AlertRule:
    """What raises an alert of one kind. After one was resolved there is no other for the same subject within the
    cooldown. `changed_at` and `changed_by` are None while the rule is as it comes."""

    kind: AlertKind
    enabled: bool = True
    threshold: float = 0.0
    cooldown_minutes: int = COOLDOWN_MINUTES
    changed_at: datetime | None = None
    changed_by: str | None = None

    @property
    def form(self) -> RuleForm:
        """What its threshold means."""
        return RULE_FORMS[self.kind]


def default_rule(kind: AlertKind) -> AlertRule:
    """The rule that a workspace has until somebody changes it: on."""
    return AlertRule(kind, True, RULE_FORMS[kind].threshold)


@dataclass(frozen=True, slots=True)
class Finding:
    """What the watch saw, before it is known whether an alert about it is open. `label` names the subject for people."""

    kind: AlertKind
    subject: str
    label: str
    what: str
    why: str
    next_step: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alert:
    """`subject` is an adapter's name, a job's id or «machine». `seen` counts how often it was found. `figures` are the
    numbers behind `why`, by name. `label` and `why` may hold names that somebody chose: show them literally."""

    id: str
    tenant_id: str
    kind: AlertKind
    subject: str
    label: str
    state: AlertState
    what: str
    why: str
    next_step: str
    figures: Mapping[str, Any]
    seen: int
    opened_at: datetime
    last_seen_at: datetime
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    resolved_at: datetime | None = None
    resolved_by: str | None = None


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """One step in the history of an alert, and who took it; `watch`: nobody."""

    alert_id: str
    at: datetime
    state: AlertState
    actor: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where alerts of a workspace are sent. The secret that signs them is not part of it: it was shown once."""

    url: str
    enabled: bool
    secret_hint: str
    changed_at: datetime
    changed_by: str


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A webhook just set, with the secret that is shown this once; None where the former one was kept."""

    webhook: Webhook
    secret: str | None


class DeliveryState(StrEnum):
    """What became of a message to a webhook."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message to a webhook. `status` is the last answer's HTTP status, None where none came; `error` says why it
    was not taken. What the receiver answered is not kept."""

    id: str
    tenant_id: str
    alert_id: str
    event: AlertState
    host: str
    state: DeliveryState
    attempts: int
    status: int | None
    error: str
    created_at: datetime
    next_at: datetime | None
    finished_at: datetime | None
