"""What was done with an experiment, by whom, and why: from the audit log."""

import json

import streamlit as st

from app.actions import experiment_history
from app.ui.frame import errors_shown
from app.ui.tables import Column, show_table
from app.ui.visit import Visit
from core.tenants.records import AuditEntry

WORDS = {
    "experiment.created": "Created",
    "experiment.changed": "Changed as a draft",
    "experiment.started": "Started",
    "experiment.paused": "Paused",
    "experiment.resumed": "Resumed",
    "experiment.stopped": "Stopped",
    "experiment.ramped": "Share raised",
    "experiment.promoting": "Promotion begun",
    "experiment.promoted": "Promoted",
    "experiment.promotion_failed": "Promotion failed",
    "experiment.rolled_back": "Rolled back",
    "experiment.not_settled": "Could not act by itself",
    "experiment.archived": "Archived",
}
COLUMNS = (
    Column("at", "When, UTC", "time"),
    Column("what", "What"),
    Column("who", "Who"),
    Column("why", "Why"),
    Column("detail", "Detail"),
    Column("seq", "Audit entry", "number", "Its number in the chain of the audit log."),
)


def show_history(visit: Visit, experiment_id: str) -> None:
    """Newest first."""
    with st.expander("History of decisions", icon=":material/history:", key="exp-history"), errors_shown():
        entries = experiment_history.list_decisions(visit.console, visit.principal, experiment_id)
        show_table(
            [entry_row(entry) for entry in entries],
            COLUMNS,
            key="exp-history-all",
            alt="History of this experiment, newest first",
            file_name="experiment-history.csv",
        )
        st.caption("From the audit log, whose entries are chained by hashes: none can be changed unseen.")


def entry_row(entry: AuditEntry) -> dict[str, object]:
    """One entry; what is said elsewhere in the row is left out of its detail."""
    rest = {
        name: value for name, value in entry.detail.items() if name not in ("name", "reason") and value != ""
    }
    return {
        "at": entry.at,
        "what": WORDS.get(entry.action, entry.action),
        "who": entry.actor,
        "why": str(entry.detail.get("reason", "") or ""),
        "detail": json.dumps(rest, ensure_ascii=False, default=str) if rest else "",
        "seq": entry.seq,
    }
