"""The audit log: who changed what, and whether the chain is whole."""

import json

import streamlit as st

from app.actions import audit
from app.ui.frame import Figure, errors_shown, figures
from app.ui.numbers import count, short_digest
from app.ui.tables import Column, show_table
from app.ui.text import escape
from app.ui.visit import Visit

SHOWN = 500
ALL = "All actions"
_COLUMNS = (
    Column("seq", "Number", "number"),
    Column("at", "When, UTC", "time"),
    Column("actor", "Who"),
    Column("action", "What"),
    Column("subject", "On"),
    Column("detail", "Detail"),
    Column("hash", "Hash", help="Each entry's hash covers the one before it: a change breaks the chain."),
)


def show_audit(visit: Visit) -> None:
    """The newest entries, filtered by action, and the check of the whole chain."""
    entries = audit.list_entries(visit.console, visit.principal, limit=SHOWN)
    figures(
        [
            Figure("Newest entry", count(entries[0].seq if entries else 0), "number in the chain"),
            Figure("Head", short_digest(entries[0].hash) if entries else "–", "hash of the newest entry"),
        ]
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        action = st.selectbox(
            "Action",
            [ALL, *sorted({entry.action for entry in entries})],
            key="audit-action",
        )
        if st.button("Verify the chain", icon=":material/verified_user:", key="audit-verify"):
            with errors_shown():
                st.session_state["_verdict"] = audit.verify(visit.console, visit.principal)
    verdict = st.session_state.pop("_verdict", None)
    if verdict is not None and verdict.first_bad_seq is None:
        st.success(f"Whole: {count(verdict.entries)} entries hold, head {short_digest(verdict.head)}.")
    elif verdict is not None:
        st.error(f"Broken at entry {verdict.first_bad_seq}. {escape(verdict.problem or '')}")
    rows = [
        {
            "seq": entry.seq,
            "at": entry.at,
            "actor": entry.actor,
            "action": entry.action,
            "subject": entry.subject,
            "detail": json.dumps(entry.detail, ensure_ascii=False, default=str),
            "hash": short_digest(entry.hash),
        }
        for entry in entries
        if action in (ALL, entry.action)
    ]
    show_table(rows, _COLUMNS, key="audit", alt="Audit log, newest first", file_name="audit.csv")
    st.caption(f"The newest {count(min(len(entries), SHOWN))} entries.")
