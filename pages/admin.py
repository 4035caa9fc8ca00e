"""Administration: people, API keys, limits and usage, the audit log."""

import streamlit as st

from app.ui.audit_view import show_audit
from app.ui.frame import page_head
from app.ui.keys_view import show_keys
from app.ui.limits_view import show_limits
from app.ui.people_view import show_people
from app.ui.screens import ADMIN
from app.ui.visit import current_visit

visit = current_visit()
page_head(ADMIN.title, ADMIN.purpose)
people, keys, usage, audit = st.tabs(
    [
        ":material/group: People",
        ":material/key: API keys",
        ":material/speed: Limits and usage",
        ":material/history: Audit log",
    ],
    on_change="rerun",
    key="admin-tab",
)
if people.open:
    with people:
        show_people(visit)
if keys.open:
    with keys:
        show_keys(visit)
if usage.open:
    with usage:
        show_limits(visit)
if audit.open:
    with audit:
        show_audit(visit)
