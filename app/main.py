"""Entry of the screens: sign-in gate, navigation by role, the page."""

from collections import defaultdict
from pathlib import Path

import streamlit as st

from app.ui.frame import error_box, show_notice
from app.ui.heap import settle_heap
from app.ui.screens import OVERVIEW, screens_for
from app.ui.text import escape, escape_badge
from app.ui.visit import current_visit, sign_out
from core.errors import RmnError

ASSETS = Path(__file__).parent / "ui" / "assets"

st.set_page_config(page_title="RMN LoRA", page_icon=str(ASSETS / "icon.png"), layout="wide")
st.logo(str(ASSETS / "wordmark.png"), size="large", icon_image=str(ASSETS / "icon.png"))

visit = current_visit()
principal = visit.principal
settle_heap(visit.console.engine.loaded)
sections: dict[str, list[st.Page]] = defaultdict(list)
for screen in screens_for(principal):
    sections[screen.section].append(
        st.Page(
            f"../{screen.path}",
            title=screen.title,
            icon=screen.icon,
            url_path=screen.name,
            default=screen is OVERVIEW,
            help=screen.purpose,
        )
    )
page = st.navigation(sections, expanded=True)

with st.sidebar:
    st.space("stretch")
    with st.container(border=True, gap="xsmall"):
        st.markdown(f"**{escape(principal.tenant_name)}**")
        st.caption(escape(principal.actor))
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.badge(escape_badge(principal.role.capitalize()), color="blue", icon=":material/badge:")
            st.button(
                "Sign out", key="sign-out", type="tertiary", icon=":material/logout:", on_click=sign_out
            )

show_notice()
try:
    page.run()
except RmnError as error:
    error_box(error)
