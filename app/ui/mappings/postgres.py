"""«Write to PostgreSQL»: a dialog on the result of a harmonize run. The password is asked for each time."""

import streamlit as st

from app.actions.run_rows import write_postgres_table
from app.ui import numbers
from app.ui.frame import errors_shown
from app.ui.text import escape
from app.ui.visit import Visit
from core.harmonize.saved import HarmonizedRun

OPEN, ASKED, TAKEN, DONE = "postgres-dialog", "_postgres_asked", "_postgres_taken", "_postgres_done"


def postgres_button(visit: Visit, run: HarmonizedRun) -> None:
    """The button, and the dialog while it is open."""
    st.button(
        "Write to PostgreSQL",
        icon=":material/database_upload:",
        key="run-postgres",
        on_click=_open,
        args=(run.id,),
    )
    if st.session_state.get(OPEN) == run.id:
        _dialog(visit, run)


def _open(run_id: str | None) -> None:
    st.session_state[OPEN] = run_id
    st.session_state.pop(DONE, None)


def _field(number: int) -> str:
    return f"postgres-password-{number}"


def _take() -> None:
    """Take the password out of its field. A new number makes a new, empty one; the old is dropped with its content."""
    number = st.session_state[ASKED]
    st.session_state[TAKEN] = st.session_state.pop(_field(number), "") or ""
    st.session_state[ASKED] = number + 1
    st.session_state.pop(DONE, None)


@st.dialog("Write the rows to PostgreSQL", on_dismiss=lambda: _open(None))
def _dialog(visit: Visit, run: HarmonizedRun) -> None:
    st.caption(
        f"The new table gets {numbers.rows(run.rows_out)}, or it is not made at all. "
        "The console's machine must reach the server."
    )
    number = st.session_state.setdefault(ASKED, 0)
    with st.form("postgres", border=False):
        address = st.text_input(
            "Address",
            max_chars=500,
            placeholder="postgresql://user@host:5432/name",
            help="Without the password. It may end with ?sslmode=require.",
            key="postgres-address",
        )
        st.text_input(
            "Password",
            type="password",
            max_chars=500,
            autocomplete="off",
            help="Used once and kept nowhere.",
            key=_field(number),
        )
        left, right = st.columns(2)
        schema = left.text_input("Schema", "public", max_chars=63, key="postgres-schema")
        table = right.text_input("Table", "rmis_rows", max_chars=63, key="postgres-table")
        replace = st.checkbox("Replace the table if it is there", key="postgres-replace")
        st.form_submit_button("Write", type="primary", icon=":material/database_upload:", on_click=_take)
    password = st.session_state.pop(TAKEN, None)
    if password is not None:
        with errors_shown(), st.spinner("Writing the rows"):
            rows = write_postgres_table(
                visit.console,
                visit.principal,
                run,
                address=address,
                password=password,
                schema=schema.strip(),
                table=table.strip(),
                replace=replace,
            )
            st.session_state[DONE] = f"{numbers.rows(rows)} written to {schema.strip()}.{table.strip()}."
    if DONE in st.session_state:
        st.success(escape(st.session_state[DONE], 200), icon=":material/check_circle:")
