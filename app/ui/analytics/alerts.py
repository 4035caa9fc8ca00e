"""Alerts: what is open, who looks after it, what is over; acknowledging and resolving them."""

from datetime import datetime

import streamlit as st

from app.actions import alerts
from app.ui import numbers
from app.ui.analytics import words
from app.ui.analytics.drill import ALL_OUTCOMES, FAILED, Drill, drill, show_part
from app.ui.analytics.filters import ALERTS, PART, named_subjects
from app.ui.frame import empty_state, errors_shown, keep_notice
from app.ui.screens import ANALYTICS, JOBS, go_to
from app.ui.tables import Column, show_table
from app.ui.text import escape
from app.ui.visit import Visit, current_visit
from core.analytics.alert_records import WATCH, Alert, AlertKind, AlertState
from core.analytics.records import SubjectKind
from core.tenants.records import Permission

STATE, VIEW = "alerts-state", "alerts-view"
MOST = 200
OF_ADAPTERS = (AlertKind.SUCCESS, AlertKind.LATENCY, AlertKind.RATING)
COLUMNS = (
    Column("opened", "Opened, UTC", "time"),
    Column("state", "State"),
    Column("kind", "Kind"),
    Column("about", "About"),
    Column("what", "What"),
    Column("why", "Why"),
    Column("seen", "Seen", "number", "How often the watch found it."),
    Column("acknowledged", "Acknowledged, UTC", "time"),
    Column("acknowledged_by", "by"),
    Column("resolved", "Resolved, UTC", "time"),
    Column("resolved_by", "by "),
)


def show_alerts() -> None:
    """The alerts of one state, as cards or as a table."""
    visit = current_visit()
    found = alerts.list_alerts(visit.console, visit.principal, limit=MOST)
    counts = {state: sum(alert.state is state for alert in found) for state in AlertState}
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        state = st.segmented_control(
            "State",
            list(AlertState),
            default=AlertState.OPEN,
            required=True,
            format_func=lambda each: f"{words.STATES[each][0]} ({counts[each]})",
            key=STATE,
        )
        view = st.segmented_control(
            "View", ["Cards", "Table"], default="Cards", required=True, key=VIEW, label_visibility="collapsed"
        )
    shown = [alert for alert in found if alert.state is state]
    if view == "Table":
        show_table(
            [alert_row(alert) for alert in found], COLUMNS, key="alerts", alt="Alerts", file_name="alerts.csv"
        )
        return
    if not shown:
        _nothing(state or AlertState.OPEN)
        return
    for alert in shown:
        _card(visit, alert)


def show_alert_banner(visit: Visit, *, here: bool = False) -> bool:
    """One line where an alert is open: how many, and what the newest says. True: there is one. `here`: on the screen
    that has the alerts."""
    waiting = alerts.list_alerts(visit.console, visit.principal, states=(AlertState.OPEN,), limit=MOST)
    if not waiting:
        return False
    with st.container(border=True, horizontal=True, vertical_alignment="center", key="alert-banner"):
        st.badge(f"{len(waiting):,} open", color="red", icon=":material/notifications_active:")
        st.markdown(f"**{escape(waiting[0].label)}**: {escape(waiting[0].what)}", width="content")
        if st.button("See alerts", key="to-alerts", type="tertiary", icon=":material/arrow_forward:"):
            if here:
                show_part(ALERTS)
            go_to(ANALYTICS, **{PART: ALERTS})
    return True


def alert_row(alert: Alert) -> dict[str, object]:
    """An alert as a row of the table."""
    return {
        "opened": alert.opened_at,
        "state": words.STATES[alert.state][0],
        "kind": words.KINDS[alert.kind][0],
        "about": alert.label,
        "what": alert.what,
        "why": alert.why,
        "seen": alert.seen,
        "acknowledged": alert.acknowledged_at,
        "acknowledged_by": alert.acknowledged_by,
        "resolved": alert.resolved_at,
        "resolved_by": _who(alert.resolved_by) if alert.resolved_by else None,
    }


def _nothing(state: AlertState) -> None:
    told = {
        AlertState.OPEN: (
            "Nothing is wrong that the watch knows of.",
            "It looks every 15 seconds, by the rules below.",
        ),
        AlertState.ACKNOWLEDGED: ("Nobody is looking after an alert.", "Open ones are under «Open»."),
        AlertState.RESOLVED: ("No alert has been resolved yet.", "Those that are over are kept here."),
    }
    empty_state(*told[state], icon=":material/notifications_off:")


def _card(visit: Visit, alert: Alert) -> None:
    now = visit.console.clock()
    kind, icon = words.KINDS[alert.kind]
    word, color, state_icon = words.STATES[alert.state]
    with st.container(border=True, key=f"alert-{alert.id}"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.badge(word, color=color, icon=state_icon)
            st.badge(kind, color="gray", icon=icon)
            st.markdown(f"**{escape(alert.label)}**")
        st.markdown(f"{escape(alert.what)} {escape(alert.why, 400)}")
        if alert.state is not AlertState.RESOLVED and alert.next_step:
            st.markdown(f":material/arrow_forward: {escape(alert.next_step, 400)}")
        st.caption(" · ".join(_dates(alert, now)))
        _buttons(visit, alert)


def _dates(alert: Alert, now: datetime) -> list[str]:
    told = [f"opened {numbers.ago(alert.opened_at, now)}"]
    if alert.seen > 1:
        told.append(f"seen {alert.seen:,} times, last {numbers.ago(alert.last_seen_at, now)}")
    if alert.acknowledged_at:
        told.append(
            f"{escape(alert.acknowledged_by or '', 60)} acknowledged it {numbers.ago(alert.acknowledged_at, now)}"
        )
    if alert.resolved_at:
        told.append(
            f"resolved by {escape(_who(alert.resolved_by), 60)} {numbers.ago(alert.resolved_at, now)}"
        )
    return told


def _who(actor: str | None) -> str:
    return "the watch" if actor == WATCH else actor or ""


def _buttons(visit: Visit, alert: Alert) -> None:
    may_judge = visit.principal.may(Permission.REVIEW)
    with st.container(horizontal=True, gap="small"):
        if may_judge and alert.state is AlertState.OPEN:
            st.button(
                "Acknowledge",
                key=f"acknowledge-{alert.id}",
                type="primary",
                icon=":material/visibility:",
                help="Says that you look after it. Your name and the time are kept.",
                on_click=_acknowledge,
                args=(visit, alert.id),
            )
        if (
            may_judge
            and alert.state is not AlertState.RESOLVED
            and st.button("Resolve", key=f"resolve-{alert.id}", icon=":material/check:")
        ):
            confirm_resolve(alert.id, alert.label)
        _ways_on(visit, alert)
        with st.popover("History", icon=":material/history:", type="tertiary"):
            for event in alerts.alert_history(visit.console, visit.principal, alert.id):
                note = f": {escape(event.note, 200)}" if event.note else ""
                step = words.STATES[event.state][0]
                st.markdown(
                    f"{numbers.moment(event.at)} · **{step}** · {escape(_who(event.actor), 60)}{note}"
                )
    if not may_judge and alert.state is AlertState.OPEN:
        st.caption("Reviewers acknowledge and resolve alerts.")


def _ways_on(visit: Visit, alert: Alert) -> None:
    """To what the alert is about."""
    if alert.kind in OF_ADAPTERS:
        if st.button("See its requests", key=f"requests-of-{alert.id}", icon=":material/list:"):
            names = {
                each.id: name
                for name, each in named_subjects(visit).items()
                if each.kind is SubjectKind.ADAPTER
            }
            outcome = FAILED if alert.kind is AlertKind.SUCCESS else ALL_OUTCOMES
            drill(Drill(subject=names.get(alert.subject), outcome=outcome))
    elif alert.kind in (AlertKind.STUCK_JOB, AlertKind.LOSS_PLATEAU) and st.button(
        "Open the job", key=f"job-of-{alert.id}", icon=":material/timeline:"
    ):
        go_to(JOBS, job=alert.subject)


def _acknowledge(visit: Visit, alert_id: str) -> None:
    with errors_shown():
        alerts.acknowledge(visit.console, visit.principal, alert_id)


@st.dialog("Resolve this alert?", icon=":material/check_circle:")
def confirm_resolve(alert_id: str, label: str) -> None:
    """Ask first: what is resolved stays so, and is silent for the cooldown."""
    ask_resolve(alert_id, label)


def ask_resolve(alert_id: str, label: str) -> None:
    """The question, and after a yes the resolving."""
    st.markdown(
        f"The alert about **{escape(label)}** counts as over and cannot be opened again. If it happens again after the "
        "cooldown of its rule, there is a new alert; within the cooldown nobody is told."
    )
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Leave it", key="resolve-no"):
            st.rerun()
        if st.button("Resolve it", key="resolve-yes", type="primary"):
            visit = current_visit()
            with errors_shown():
                alerts.resolve(visit.console, visit.principal, alert_id)
                keep_notice(f"The alert about {label} is resolved.")
                st.rerun()
