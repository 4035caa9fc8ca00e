"""What this workspace may use and what it used; for who runs the installation, the limits of every workspace."""

from dataclasses import asdict

import streamlit as st

from app.actions import limits
from app.actions.limits import LimitsView
from app.ui.frame import Figure, empty_state, errors_shown, figures, keep_notice
from app.ui.numbers import count
from app.ui.tables import Column, show_table
from app.ui.visit import Visit
from core.tenants.limits import MOST, MOST_PRIORITY, MOST_WEIGHT, day_of
from core.tenants.records import LIMIT_NAMES, TenantLimits

_LABELS = {
    "requests_per_minute": "Requests a minute",
    "tokens_per_minute": "Tokens a minute",
    "tokens_per_day": "Tokens a day (UTC)",
    "concurrent_requests": "Answers at once",
}
_COLUMNS = (
    Column("day", "Day, UTC"),
    Column("requests", "Answers", "number"),
    Column("prompt_tokens", "Tokens read", "number"),
    Column("completion_tokens", "Tokens generated", "number"),
)
_DAYS = 30


def show_limits(visit: Visit) -> None:
    """The limits that hold, usage by day, and where it is allowed the form."""
    view = limits.own_limits(visit.console, visit.principal)
    figures([_figure(view, name) for name in LIMIT_NAMES])
    st.caption(
        f"Part of the engine beside other workspaces: {view.counting.weight}. "
        f"Priority when all threads are busy: {view.counting.priority}."
    )
    _show_usage(visit, view)
    if limits.is_operator(visit.console, visit.principal):
        with st.expander("Set limits", icon=":material/tune:"):
            _choose_and_set(visit, view)
    else:
        st.caption("Limits are set by whoever runs this installation.")


def _figure(view: LimitsView, name: str) -> Figure:
    value = getattr(view.counting, name)
    own = getattr(view.given, name) is not None
    return Figure(
        _LABELS[name],
        "No limit" if value is None else count(value),
        "set for this workspace" if own else "from the settings",
    )


def _show_usage(visit: Visit, view: LimitsView) -> None:
    found = limits.own_usage(visit.console, visit.principal, days=_DAYS)
    if not found:
        empty_state(
            f"Nothing was used in the last {_DAYS} days.",
            "Answers and their tokens are counted here by day.",
            icon=":material/data_usage:",
        )
        return
    most = view.counting.tokens_per_day
    today = sum(day.tokens for day in found if day.day == day_of(visit.console.clock()))
    if most is not None:
        share = min(1.0, today / most)
        st.progress(share, f"{count(today)} of {count(most)} tokens of today, a second late")
    rows = [{**asdict(day), "day": day.day.isoformat()} for day in found]
    show_table(rows, _COLUMNS, key="usage", alt=f"Usage of the last {_DAYS} days", file_name="usage.csv")


def _choose_and_set(visit: Visit, own: LimitsView) -> None:
    slug = st.text_input("Workspace (its slug)", own.tenant_slug, max_chars=64, key="limits-slug")
    with errors_shown():
        tenant = limits.find_workspace(visit.console, visit.principal, slug.strip())
        view = limits.limits_of(visit.console, visit.principal, tenant.id)
        with st.form(f"limits-{tenant.id}", border=False):
            given = _fields(view.given, tenant.id)
            if st.form_submit_button("Save limits", type="primary"):
                limits.set_limits(visit.console, visit.principal, tenant.id, given)
                keep_notice(f"The limits of {tenant.name} are saved.")
                st.rerun()


def _fields(now: TenantLimits, tenant_id: str) -> TenantLimits:
    values: dict[str, int | None] = {}
    for name, column in zip(LIMIT_NAMES, st.columns(len(LIMIT_NAMES)), strict=True):
        values[name] = column.number_input(
            _LABELS[name],
            min_value=1,
            max_value=MOST[name],
            value=getattr(now, name),
            step=1,
            placeholder="as the settings say",
            key=f"{name}-{tenant_id}",
        )
    left, right = st.columns(2)
    weight = left.number_input(
        "Part of the engine",
        1,
        MOST_WEIGHT,
        now.weight,
        help="Beside other workspaces.",
        key=f"weight-{tenant_id}",
    )
    priority = right.number_input(
        "Priority",
        -MOST_PRIORITY,
        MOST_PRIORITY,
        now.priority,
        help="Whose request gets a thread first when all of them wait for answers.",
        key=f"priority-{tenant_id}",
    )
    return TenantLimits(**values, weight=int(weight), priority=int(priority))
