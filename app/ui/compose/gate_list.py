"""The gates of a workspace as a table with a way to each report, and a training that runs."""

from collections.abc import Sequence

import streamlit as st

from app.actions import training
from app.ui import numbers
from app.ui.compose.gate_report import STATES, state_badge
from app.ui.compose.methods import WORDS, Way
from app.ui.job_view import show_job
from app.ui.screens import show_item
from app.ui.tables import Column, show_table
from app.ui.text import escape
from app.ui.visit import Visit
from core.compose.gate_records import Gate

COLUMNS = (
    Column("name", "Name"),
    Column("version", "Version", "number"),
    Column("kind", "Kind"),
    Column("state", "State"),
    Column("exact", "Exact match", "percent"),
    Column("n", "n", "number"),
    Column("routed", "Routed right", "percent"),
    Column("reason", "Decision"),
    Column("adapters", "Adapters"),
    Column("created", "Trained, UTC", "time"),
)


def gate_row(gate: Gate) -> dict[str, object]:
    """A gate as a row of the table."""
    comparison = gate.report.get("comparison") or {}
    own = (comparison.get("policies") or [{}])[0].get("exact_match") or {}
    routing = gate.report.get("routing") or {}
    return {
        "name": gate.name,
        "version": gate.version,
        "kind": WORDS[Way(gate.kind.value)].title,
        "state": STATES[gate.state][0],
        "exact": own.get("value"),
        "n": own.get("n"),
        "routed": (routing.get("accuracy") or {}).get("value"),
        "reason": str((gate.report.get("decision") or {}).get("reason", "")),
        "adapters": ", ".join(adapter.label for adapter in gate.adapters),
        "created": gate.created_at,
    }


def show_gates(gates: Sequence[Gate], visit: Visit, *, as_table: bool) -> None:
    """All of them, the newest first."""
    if as_table:
        show_table(
            [gate_row(gate) for gate in gates], COLUMNS, key="gates", alt="Gates", file_name="gates.csv"
        )
        return
    with st.grid(3, min_column_width=280):
        for gate in gates:
            _card(gate, visit)


def show_training(visit: Visit, job_id: str) -> None:
    """A gate's job, live, and the way to the gate once it is there. Raises NotFoundError."""
    st.button(
        "All gates", type="tertiary", icon=":material/arrow_back:", on_click=show_item, args=("job", None)
    )
    job = training.get_job(visit.console, visit.principal, job_id)
    st.title(escape(job.name), anchor=False)
    gate_id = (job.result or {}).get("gate_id")
    if gate_id:
        st.markdown(escape(str((job.result or {}).get("reason", "")), None))
        st.button(
            "Open the report",
            key="gate-open",
            type="primary",
            icon=":material/alt_route:",
            on_click=_open,
            args=(str(gate_id),),
        )
    show_job(job_id, named=False)


def _card(gate: Gate, visit: Visit) -> None:
    with st.container(border=True, height="stretch"):
        st.markdown(f"**{escape(gate.label)}**")
        with st.container(horizontal=True, gap="xsmall"):
            state_badge(gate)
            st.badge(WORDS[Way(gate.kind.value)].title, color="violet", icon=WORDS[Way(gate.kind.value)].icon)
        row = gate_row(gate)
        st.caption(escape(str(row["reason"]), 300))
        st.caption(
            f"{escape(str(row['adapters']), 200)} · {numbers.ago(gate.created_at, visit.console.clock())}"
        )
        st.space("stretch")
        st.button("Report", key=f"gate-{gate.id}", on_click=show_item, args=("gate", gate.id))


def _open(gate_id: str) -> None:
    show_item("job", None)
    show_item("gate", gate_id)
