"""The people of a workspace: add, change role, deactivate, one-time sign-in link."""

import streamlit as st

from app.actions import people
from app.ui.frame import Figure, errors_shown, figures, keep_notice
from app.ui.numbers import count, moment
from app.ui.tables import Column, show_table
from app.ui.text import escape, escape_badge
from app.ui.visit import Visit, current_visit
from core.tenants.records import Role, User

ROLE_HELP = {
    Role.VIEWER: "Looks at everything and asks for answers.",
    Role.REVIEWER: "As viewer, and judges answers.",
    Role.TRAINER: "As reviewer, and trains, imports, saves.",
    Role.ADMIN: "Everything, people and keys included.",
}
_COLUMNS = (
    Column("email", "Email"),
    Column("name", "Name"),
    Column("role", "Role"),
    Column("active", "Active"),
    Column("password", "Password set"),
    Column("since", "Since"),
)


def show_people(visit: Visit) -> None:
    """Numbers, the form to add someone, and a row per person."""
    users = people.list_users(visit.console, visit.principal)
    figures(
        [
            Figure("People", count(len(users)), f"{sum(u.active for u in users)} active"),
            Figure("Administrators", count(sum(u.role is Role.ADMIN and u.active for u in users)), "active"),
        ]
    )
    with st.expander("Add a person", icon=":material/person_add:", expanded=len(users) < 2):
        _add_form(visit)
    _show_link()
    for user in users:
        _person(visit, user)
    with st.expander("As a table", icon=":material/table:"):
        rows = [
            {
                "email": user.email,
                "name": user.name,
                "role": user.role.value,
                "active": "yes" if user.active else "no",
                "password": "yes" if user.has_password else "no",
                "since": moment(user.created_at),
            }
            for user in users
        ]
        show_table(rows, _COLUMNS, key="people", alt="People of this workspace", file_name="people.csv")


def _add_form(visit: Visit) -> None:
    with st.form("add-person", border=False, clear_on_submit=True):
        left, middle, right = st.columns(3)
        email = left.text_input("Email", type="email", key="person-email")
        name = middle.text_input("Name", max_chars=100, key="person-name")
        role = right.selectbox(
            "Role",
            list(Role),
            format_func=str.capitalize,
            key="person-role",
            help=" ".join(f"{role.capitalize()}: {text}" for role, text in ROLE_HELP.items()),
        )
        if st.form_submit_button("Add and make a sign-in link", type="primary"):
            with errors_shown():
                user = people.add_user(
                    visit.console,
                    visit.principal,
                    email=email.strip(),
                    name=name.strip() or email,
                    role=role or Role.VIEWER,
                )
                _make_link(user.id, user.email)
                st.rerun()


def _person(visit: Visit, user: User) -> None:
    is_self = user.id == visit.principal.user_id
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        with st.container(width="stretch", gap=None):
            st.markdown(f"**{escape(user.name)}**{' (you)' if is_self else ''}")
            st.caption(escape(user.email))
        with st.container(width="content"):
            if user.active:
                st.badge(escape_badge(user.role.capitalize()), color="blue")
            else:
                st.badge("Deactivated", color="gray")
        with st.popover("Change", icon=":material/edit:", key=f"change-{user.id}"):
            _changes(visit, user)


def _changes(visit: Visit, user: User) -> None:
    roles = list(Role)
    role = st.selectbox(
        "Role", roles, index=roles.index(user.role), format_func=str.capitalize, key=f"role-{user.id}"
    )
    st.caption(ROLE_HELP[role])
    if st.button("Save role", key=f"save-role-{user.id}", disabled=role is user.role):
        with errors_shown():
            people.change_role(visit.console, visit.principal, user.id, role)
            keep_notice(f"{user.email} is now {role}.")
            st.rerun()
    if user.active:
        if st.button("Make a sign-in link", key=f"link-{user.id}", icon=":material/link:"):
            with errors_shown():
                _make_link(user.id, user.email)
                st.rerun()
        if st.button("Deactivate", key=f"off-{user.id}", icon=":material/person_off:"):
            _confirm_deactivate(user.id, user.email)
    elif st.button("Reactivate", key=f"on-{user.id}", icon=":material/person:"):
        with errors_shown():
            people.reactivate_user(visit.console, visit.principal, user.id)
            keep_notice(f"{user.email} may sign in again.")
            st.rerun()


def _make_link(user_id: str, email: str) -> None:
    visit = current_visit()
    st.session_state["_sign_in_link"] = (
        email,
        people.make_sign_in_link(visit.console, visit.principal, user_id),
    )


def _show_link() -> None:
    """The link just made, shown this once: it is gone with the next change of this screen."""
    made = st.session_state.pop("_sign_in_link", None)
    if made is None:
        return
    email, url = made
    with st.container(border=True):
        st.markdown(f"**One-time sign-in link for {escape(email)}**")
        st.code(url, language=None, wrap_lines=True)
        st.caption("Shown this once. It works once and ends by itself; send it over a channel you trust.")


@st.dialog("Deactivate this person?", icon=":material/person_off:")
def _confirm_deactivate(user_id: str, email: str) -> None:
    st.markdown(
        f"**{escape(email)}** is signed out everywhere at once and cannot sign in. You can undo this."
    )
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Leave as is", key="off-no"):
            st.rerun()
        if st.button("Deactivate", key="off-yes", type="primary"):
            visit = current_visit()
            with errors_shown():
                people.deactivate_user(visit.console, visit.principal, user_id)
                keep_notice(f"{email} was deactivated.", ":material/person_off:")
                st.rerun()
