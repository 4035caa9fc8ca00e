"""The rules of alerts: what raises one, and for how long it is silent after one was resolved."""

from collections.abc import Sequence

import streamlit as st

from app.actions import alerts
from app.ui.analytics import words
from app.ui.frame import errors_shown, keep_notice
from app.ui.tables import Column, show_table
from app.ui.visit import Visit
from core.analytics.alert_records import MOST_COOLDOWN_MINUTES, AlertRule
from core.tenants.records import Permission

UNITS = {"share": "%", "times": "times", "points": "points", "minutes": "minutes"}
COLUMNS = (
    Column("kind", "Kind"),
    Column("on", "On"),
    Column("threshold", "Threshold", "number"),
    Column("unit", "Unit"),
    Column("cooldown", "Cooldown, minutes", "number"),
    Column("meaning", "What it means"),
    Column("changed_by", "Changed by"),
    Column("changed", "Changed, UTC", "time"),
)


def show_rules(visit: Visit) -> None:
    """For administrators a form, for others a table."""
    rules = alerts.list_rules(visit.console, visit.principal)
    if not visit.principal.may(Permission.ADMINISTER):
        st.caption("Administrators change these rules.")
        show_table(
            [rule_row(rule) for rule in rules],
            COLUMNS,
            key="rules",
            alt="Rules of alerts",
            file_name="alert-rules.csv",
        )
        return
    st.caption(
        "Success, latency and rating: an alert is raised when the change is larger than the threshold and clear (over "
        "10,000 requests where nothing changes, a false alarm comes in fewer than 1 of 100 cases). After one was resolved "
        "there is no other about the same for the cooldown."
    )
    with st.form("alert-rules", border=False):
        with st.grid(3, min_column_width=270, gap="small"):
            wanted = [_control(rule) for rule in rules]
        saved = st.form_submit_button(
            "Keep the rules", type="primary", icon=":material/save:", key="rules-keep"
        )
    if saved:
        _save(visit, rules, wanted)


def rule_row(rule: AlertRule) -> dict[str, object]:
    """A rule as a row of the table."""
    return {
        "kind": words.KINDS[rule.kind][0],
        "on": "yes" if rule.enabled else "no",
        "threshold": shown_threshold(rule),
        "unit": UNITS.get(rule.form.unit, rule.form.unit),
        "cooldown": rule.cooldown_minutes,
        "meaning": rule.form.meaning,
        "changed_by": rule.changed_by,
        "changed": rule.changed_at,
    }


def shown_threshold(rule: AlertRule) -> float:
    """Shares as per cent."""
    return round(rule.threshold * _scale(rule), 6)


def _scale(rule: AlertRule) -> float:
    return 100.0 if rule.form.unit == "share" else 1.0


def _control(rule: AlertRule) -> AlertRule:
    name, icon = words.KINDS[rule.kind]
    scale, form = _scale(rule), rule.form
    with st.container(border=True, height="stretch", gap="small"):
        on = st.toggle(f"{icon} **{name}**", rule.enabled, key=f"rule-on-{rule.kind}")
        st.caption(form.meaning)
        st.space("stretch")
        with st.container(horizontal=True):
            threshold = st.number_input(
                f"Threshold, {UNITS.get(form.unit, form.unit)}",
                min_value=form.least * scale,
                max_value=form.most * scale,
                value=shown_threshold(rule),
                format="%g",
                step=0.1 if form.most * scale <= 100 else 1.0,
                key=f"rule-threshold-{rule.kind}",
                width=130,
            )
            cooldown = st.number_input(
                "Cooldown, min",
                min_value=0,
                max_value=MOST_COOLDOWN_MINUTES,
                value=rule.cooldown_minutes,
                step=5,
                key=f"rule-cooldown-{rule.kind}",
                width=130,
            )
    return AlertRule(rule.kind, on, round(threshold / scale, 8), int(cooldown))


def _save(visit: Visit, before: Sequence[AlertRule], wanted: Sequence[AlertRule]) -> None:
    changed = [
        new
        for old, new in zip(before, wanted, strict=True)
        if (old.enabled, round(old.threshold, 8), old.cooldown_minutes)
        != (new.enabled, new.threshold, new.cooldown_minutes)
    ]
    if not changed:
        st.info("Nothing was changed.", icon=":material/info:")
        return
    with errors_shown():
        alerts.set_rules(visit.console, visit.principal, changed)
        names = ", ".join(words.KINDS[rule.kind][0].lower() for rule in changed)
        keep_notice(f"Rules changed: {names}.")
        st.rerun()
