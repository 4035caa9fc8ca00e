"""Analytics & monitoring: what was asked, how well and how fast it was answered, what is wrong, how the machine is."""

from functools import partial

import streamlit as st

from app.ui.analytics.adapters import show_adapters
from app.ui.analytics.alerts import show_alert_banner, show_alerts
from app.ui.analytics.drill import follow_note
from app.ui.analytics.filters import (
    ADAPTERS,
    ALERTS,
    FILTERED,
    PART,
    PARTS,
    REQUESTS,
    STILL,
    TRAFFIC,
    TRENDS,
    has_traffic,
    show_filters,
)
from app.ui.analytics.live import EVERY_S, show_live
from app.ui.analytics.requests import show_requests
from app.ui.analytics.rules import show_rules
from app.ui.analytics.system import show_system
from app.ui.analytics.traffic import nothing_yet, show_traffic
from app.ui.analytics.trends import show_trends
from app.ui.analytics.webhook import show_webhook
from app.ui.frame import page_head
from app.ui.screens import ANALYTICS
from app.ui.visit import current_visit
from core.tenants.records import Permission

visit = current_visit()
follow_note()
page_head(ANALYTICS.title, ANALYTICS.purpose)
with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
    part = st.segmented_control(
        "Part",
        list(PARTS),
        default=TRAFFIC,
        required=True,
        key=PART,
        label_visibility="collapsed",
        bind="query-params",
    )
    live = part not in STILL and st.toggle(
        "Live",
        value=True,
        key="analytics-live",
        help=f"Looks again every {EVERY_S:.0f} seconds (a week and more: every minute) and keeps your place. "
        "Pause it to sort in peace.",
    )
if part != ALERTS:
    show_alert_banner(visit, here=True)
if part in FILTERED:
    if not has_traffic(visit):
        nothing_yet(visit)
        st.stop()
    show = {TRAFFIC: show_traffic, ADAPTERS: show_adapters, TRENDS: show_trends, REQUESTS: show_requests}[
        part
    ]
    choice = show_filters(visit)
    show_live(partial(show, choice), live=live, hours=choice.hours)
elif part == ALERTS:
    show_live(show_alerts, live=live)
    with st.expander("Rules", icon=":material/rule_settings:"):
        show_rules(visit)
    if visit.principal.may(Permission.ADMINISTER):
        with st.expander("Webhook", icon=":material/webhook:"):
            show_webhook(visit)
else:
    show_live(show_system, live=live)
