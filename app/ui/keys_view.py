"""API keys: create (the secret is shown once), see, revoke."""

from datetime import datetime, timedelta

import streamlit as st

from app.actions import people
from app.ui.frame import Figure, empty_state, errors_shown, figures, keep_notice
from app.ui.numbers import ago, count, moment
from app.ui.people_view import ROLE_HELP
from app.ui.tables import Column, show_table
from app.ui.text import escape, escape_badge
from app.ui.visit import Visit, current_visit
from core.tenants.records import ApiKey, Role

_LASTING = {"30 days": 30, "90 days": 90, "1 year": 365, "Until revoked": None}
_COLUMNS = (
    Column("name", "Name"),
    Column("prefix", "Starts with"),
    Column("role", "Role"),
    Column("state", "State"),
    Column("used", "Last used, UTC", "time"),
    Column("expires", "Ends, UTC", "time"),
    Column("by", "Made by"),
)


def show_keys(visit: Visit) -> None:
    """Numbers, the form, the new secret, and the keys."""
    keys = people.list_keys(visit.console, visit.principal)
    now = visit.console.clock()
    figures(
        [
            Figure("Keys", count(len(keys)), f"{sum(_state(key, now) == 'active' for key in keys)} active"),
            Figure(
                "Last used", ago(max((k.last_used_at for k in keys if k.last_used_at), default=None), now)
            ),
        ]
    )
    with st.expander("Create a key", icon=":material/add:", expanded=not keys):
        _create_form(visit)
    _show_secret()
    if not keys:
        empty_state(
            "No API key yet.",
            "Programs use a key to ask for answers and to start trainings.",
            icon=":material/key:",
        )
        return
    for key in keys:
        if _state(key, now) == "active":
            _active_key(key, now)
    with st.expander("All keys as a table", icon=":material/table:"):
        rows = [
            {
                "name": key.name,
                "prefix": key.prefix,
                "role": key.role.value,
                "state": _state(key, now),
                "used": key.last_used_at,
                "expires": key.expires_at,
                "by": key.created_by,
            }
            for key in keys
        ]
        show_table(rows, _COLUMNS, key="keys", alt="API keys", file_name="api-keys.csv")


def _state(key: ApiKey, now: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "ended" if key.expires_at is not None and key.expires_at <= now else "active"


def _create_form(visit: Visit) -> None:
    with st.form("create-key", border=False, clear_on_submit=True):
        left, middle, right = st.columns(3)
        name = left.text_input("Name", max_chars=100, placeholder="What uses it", key="key-name")
        role = middle.selectbox(
            "Role",
            [Role.VIEWER, Role.TRAINER, Role.ADMIN],
            format_func=str.capitalize,
            key="key-role",
            help=" ".join(f"{role.capitalize()}: {text}" for role, text in ROLE_HELP.items()),
        )
        lasting = right.selectbox("Good for", list(_LASTING), index=1, key="key-lasting")
        if st.form_submit_button("Create", type="primary"):
            days = _LASTING[lasting]
            expires = None if days is None else visit.console.clock() + timedelta(days=days)
            with errors_shown():
                made = people.create_key(
                    visit.console, visit.principal, name=name.strip(), role=role, expires_at=expires
                )
                st.session_state["_new_secret"] = (made.key.name, made.secret)
                st.rerun()


def _show_secret() -> None:
    made = st.session_state.pop("_new_secret", None)
    if made is None:
        return
    name, secret = made
    with st.container(border=True):
        st.markdown(f"**Secret of {escape(name)}**")
        st.code(secret, language=None, wrap_lines=True)
        st.caption("Shown this once and kept nowhere. Copy it now.")


def _active_key(key: ApiKey, now: datetime) -> None:
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        with st.container(width="stretch", gap=None):
            st.markdown(f"**{escape(key.name)}**")
            ends = f"ends {moment(key.expires_at)}" if key.expires_at else "until revoked"
            st.caption(f"{escape(key.prefix)}… · {ends} · last used {ago(key.last_used_at, now)}")
        with st.container(width="content"):
            st.badge(escape_badge(key.role.capitalize()), color="blue")
        if st.button("Revoke", key=f"revoke-{key.id}", icon=":material/block:"):
            _confirm_revoke(key.id, key.name)


@st.dialog("Revoke this key?", icon=":material/block:")
def _confirm_revoke(key_id: str, name: str) -> None:
    st.markdown(f"Programs that use **{escape(name)}** are refused from now on. This cannot be undone.")
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Keep it", key="revoke-no"):
            st.rerun()
        if st.button("Revoke", key="revoke-yes", type="primary"):
            visit = current_visit()
            with errors_shown():
                people.revoke_key(visit.console, visit.principal, key_id)
                keep_notice(f"{name} was revoked.", ":material/block:")
                st.rerun()
