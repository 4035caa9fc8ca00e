"""Who is looking: the signed-in person and the console that serves them."""

from dataclasses import dataclass

import streamlit as st

from app.actions import people
from app.bootstrap import Console, shared_console
from app.credentials import SESSION_COOKIE
from app.ui.frame import empty_state
from core.tenants.records import Principal


@dataclass(frozen=True, slots=True)
class Visit:
    """The console and who uses it. Looked up anew in every run, so that a lost right is lost at once."""

    console: Console
    principal: Principal


def current_visit() -> Visit:
    """The visit of this run. Without a valid sign-in it says so and ends the script."""
    console = shared_console()
    token = session_token()
    principal = people.principal_of_session(console, token) if token else None
    if principal is None:
        _signed_out()
        st.stop()
    return Visit(console, principal)


def session_token() -> str | None:
    """The token in this browser's cookie."""
    return st.context.cookies.get(SESSION_COOKIE)


def sign_out() -> None:
    """End the session on the server: the cookie is worth nothing from then on."""
    token = session_token()
    if token:
        people.sign_out(shared_console(), token)


def _signed_out() -> None:
    st.title("Please sign in", anchor=False)
    empty_state(
        "You are not signed in, or your session has ended.",
        "Sign in again to go on. Jobs that run keep running.",
        icon=":material/lock:",
    )
    st.markdown("[Go to the sign-in page](/sign-in)")
