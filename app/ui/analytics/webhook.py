"""The webhook: where alerts are sent, its secret, a test, and the log of what was sent. For administrators."""

import streamlit as st

from app.actions import alerts, webhook_trial
from app.ui import numbers
from app.ui.analytics import words
from app.ui.frame import errors_shown, fact_list, keep_notice
from app.ui.tables import Column, show_table
from app.ui.text import escape
from app.ui.visit import Visit, current_visit
from core.analytics.alert_records import Delivery, Webhook

SECRET = "_webhook_secret"  # noqa: S105 (the name of a place in the session)
URL = "webhook-url"
COLUMNS = (
    Column("created", "Made, UTC", "time"),
    Column("event", "Event"),
    Column("state", "State"),
    Column("attempts", "Attempts", "number"),
    Column("status", "Last answer, HTTP", "number"),
    Column("error", "Why not"),
    Column("next", "Next attempt, UTC", "time"),
    Column("finished", "Over, UTC", "time"),
    Column("host", "Host"),
    Column("alert", "Alert"),
)


def show_webhook(visit: Visit) -> None:
    """What is set, the form, the test, the log."""
    webhook = alerts.read_webhook(visit.console, visit.principal)
    st.caption(
        "Each alert that opens or is resolved is sent as signed JSON (HMAC-SHA256) to one address, with four more attempts "
        "within about 73 minutes. Only public addresses are reached, or hosts that the settings name (RMN_WEBHOOK_HOSTS)."
    )
    _show_secret()
    if webhook is not None:
        _show_facts(webhook)
    _form(visit, webhook)
    if webhook is not None:
        _actions(visit, webhook)
    found = alerts.list_deliveries(visit.console, visit.principal)
    if found:
        st.markdown("**What was sent**")
        show_table(
            [delivery_row(each) for each in found],
            COLUMNS,
            key="deliveries",
            alt="Messages to the webhook",
            file_name="deliveries.csv",
        )
    elif webhook is not None:
        st.caption("No alert has been sent yet.")


def delivery_row(each: Delivery) -> dict[str, object]:
    """A message as a row of the table."""
    return {
        "created": each.created_at,
        "event": words.STATES[each.event][0].lower(),
        "state": words.DELIVERIES[each.state],
        "attempts": each.attempts,
        "status": each.status,
        "error": each.error or None,
        "next": each.next_at,
        "finished": each.finished_at,
        "host": each.host,
        "alert": each.alert_id,
    }


def _show_facts(webhook: Webhook) -> None:
    facts = {
        "Address": webhook.url,
        "State": "on" if webhook.enabled else "off: nothing is sent",
        "Secret ends in": webhook.secret_hint,
        "Set": f"{numbers.moment(webhook.changed_at)} by {webhook.changed_by}",
    }
    fact_list(facts, alt="The webhook of this workspace")


def _show_secret() -> None:
    secret = st.session_state.get(SECRET)
    if secret is None:
        return
    st.warning(
        "This is the secret that signs messages. It is shown this once: give it to the receiver now.",
        icon=":material/key:",
    )
    st.code(secret, language=None)
    if st.button("I have kept it", key="webhook-secret-kept"):
        st.session_state.pop(SECRET)
        st.rerun()


def _form(visit: Visit, webhook: Webhook | None) -> None:
    with st.form("webhook", border=True):
        url = st.text_input(
            "Address",
            value=webhook.url if webhook else "",
            placeholder="https://hooks.example.com/rmn",
            key=URL,
            max_chars=2000,
        )
        enabled = st.toggle("On", webhook.enabled if webhook else True, key="webhook-on")
        new_secret = False
        if webhook is not None:
            new_secret = st.toggle(
                "Make a new secret",
                False,
                key="webhook-new-secret",
                help="The receiver has to be told at once. Another address gets a new one anyway.",
            )
        if st.form_submit_button(
            "Set the webhook", type="primary", icon=":material/webhook:", key="webhook-set"
        ):
            with errors_shown(), st.spinner("Looking the address up"):
                made = alerts.set_webhook(
                    visit.console, visit.principal, url=url.strip(), enabled=enabled, new_secret=new_secret
                )
                if made.secret is not None:
                    st.session_state[SECRET] = made.secret
                keep_notice("The webhook is set.")
                st.rerun()


def _actions(visit: Visit, webhook: Webhook) -> None:
    with st.container(horizontal=True):
        tried = st.button(
            "Send a test",
            key="webhook-test",
            icon=":material/send:",
            disabled=not webhook.enabled,
            help="One signed message with the event «webhook.test», sent now.",
        )
        if st.button("Remove", key="webhook-remove", icon=":material/delete:"):
            confirm_remove()
    if tried:
        with errors_shown(), st.spinner("Sending"):
            came = webhook_trial.try_webhook(visit.console, visit.principal)
            if came.taken:
                st.success(f"It was taken: HTTP {came.status}.", icon=":material/check_circle:")
            else:
                st.error(f"It was not taken. {escape(came.error, 300)}", icon=":material/error:")


@st.dialog("Remove the webhook?", icon=":material/delete:")
def confirm_remove() -> None:
    """Ask first: its secret is gone with it."""
    ask_remove()


def ask_remove() -> None:
    """The question, and after a yes the removal."""
    st.markdown("Nobody is told of alerts any more, what still waits is not sent, and the secret is gone.")
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Leave it", key="webhook-remove-no"):
            st.rerun()
        if st.button("Remove it", key="webhook-remove-yes", type="primary"):
            visit = current_visit()
            with errors_shown():
                alerts.remove_webhook(visit.console, visit.principal)
                keep_notice("The webhook was removed.")
                st.rerun()
