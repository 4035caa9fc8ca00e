"""Which requests: period, adapter or composition, task. All of it is in the address, so that a link shows the same."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import streamlit as st

from app.actions import analytics
from app.ui.analytics.words import NO_TASK
from app.ui.screens import show_item, shown_item
from app.ui.text import plain
from app.ui.visit import Visit
from core.analytics.records import Scope, Step, Subject, SubjectKind

PERIODS = {"Last hour": 1.0, "24 hours": 24.0, "7 days": 168.0, "30 days": 720.0, "90 days": 2160.0}
USUAL_PERIOD = "24 hours"
PART, PERIOD, SUBJECT, TASK = "analytics-part", "analytics-period", "analytics-of", "analytics-task"
TRAFFIC, ADAPTERS, TRENDS, REQUESTS = "Traffic", "Adapters", "Trends", "Requests"
ALERTS, SYSTEM = "Alerts", "System"
PARTS = (TRAFFIC, ADAPTERS, TRENDS, REQUESTS, ALERTS, SYSTEM)
FILTERED = (TRAFFIC, ADAPTERS, TRENDS, REQUESTS)
STILL = (TRENDS, REQUESTS)  # they do not move under the reader
EVERYTHING, EVERY_TASK = "All requests", "All tasks"
SINCE, UNTIL = "from", "to"  # of one step of a chart, in the address


@dataclass(frozen=True, slots=True)
class Choice:
    """What is chosen. `subject` is what it is of, None for all."""

    period: str
    subject: Subject | None
    task: str | None

    @property
    def hours(self) -> float:
        """Length of the period."""
        return PERIODS[self.period]

    @property
    def step(self) -> Step:
        """How far apart points are drawn."""
        if self.hours <= 1:
            return Step.MINUTE
        return Step.HOUR if self.hours <= 168 else Step.DAY

    @property
    def words(self) -> str:
        """Of what, for titles: «retailer_alpha v1, task harmonize»."""
        of = plain(self.subject.label, 40) if self.subject else "all requests"
        return of if self.task is None else f"{of}, task {plain(self.task, 30) or NO_TASK}"

    def scope(self, visit: Visit) -> Scope:
        """As the actions ask for it, until now."""
        composition = (
            self.subject.id if self.subject and self.subject.kind is SubjectKind.COMPOSITION else None
        )
        adapter = self.subject.id if self.subject and composition is None else None
        return analytics.scope_of(
            visit.console, hours=self.hours, adapter=adapter, composition=composition, task=self.task
        )


def show_filters(visit: Visit) -> Choice:
    """Draw the three filters in one row."""
    subjects = named_subjects(visit)
    tasks = {plain(name, 80): name for name in analytics.task_names(visit.console, visit.principal)}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        period = st.segmented_control(
            "Period",
            list(PERIODS),
            default=USUAL_PERIOD,
            required=True,
            key=PERIOD,
            bind="query-params",
            help="Until now. It is compared with as much time before it.",
        )
        of = st.selectbox(
            "Requests of",
            [EVERYTHING, *subjects],
            key=SUBJECT,
            bind="query-params",
            width=210,
            help="Adapters, then compositions by their digest.",
        )
        task = st.selectbox("Task", [EVERY_TASK, *tasks], key=TASK, bind="query-params", width=130)
    return Choice(period or USUAL_PERIOD, subjects.get(of or EVERYTHING), tasks.get(task or EVERY_TASK))


def named_subjects(visit: Visit) -> dict[str, Subject]:
    """Adapters and compositions with records, by a name that each has alone."""
    found: dict[str, Subject] = {}
    for kind in (SubjectKind.ADAPTER, SubjectKind.COMPOSITION):
        for subject in analytics.subjects(visit.console, visit.principal, kind):
            name = subject_name(subject)
            found[name if name not in found else f"{name} ({plain(subject.id, 40)})"] = subject
    return found


def subject_name(subject: Subject) -> str:
    """As the filter and tables call it."""
    if subject.kind is SubjectKind.COMPOSITION:
        return f"{plain(subject.label, 40)} · composition {plain(subject.id, 8)}"
    return plain(subject.label or subject.id, 80)


def wanted_window() -> tuple[datetime, datetime] | None:
    """One step of a chart that somebody pressed, from the address; None for what is no such thing."""
    try:
        since, until = (datetime.fromtimestamp(int(shown_item(name) or ""), UTC) for name in (SINCE, UNTIL))
    except (ValueError, OverflowError, OSError):
        return None
    return (since, until) if timedelta() < until - since <= timedelta(days=3660) else None


def set_window(since: datetime | None, until: datetime | None) -> None:
    """Keep it in the address, or take it out."""
    show_item(SINCE, None if since is None else str(int(since.timestamp())))
    show_item(UNTIL, None if until is None else str(int(until.timestamp())))


def has_traffic(visit: Visit) -> bool:
    """Whether anything was ever recorded in this workspace."""
    kinds = (SubjectKind.ADAPTER, SubjectKind.COMPOSITION)
    if any(analytics.subjects(visit.console, visit.principal, kind) for kind in kinds):
        return True
    longest = analytics.scope_of(visit.console, hours=PERIODS["90 days"])
    return analytics.summary(visit.console, visit.principal, longest).requests > 0
