"""Saying what an answer was worth: stars and a thumb for one request. For reviewers."""

import streamlit as st

from app.actions import analytics
from app.ui.frame import errors_shown, keep_notice
from app.ui.text import escape
from app.ui.visit import Visit
from core.analytics.records import Thumbs


def show_judging(visit: Visit, request_id: str) -> None:
    """Both are optional; said again by the same person, the newest counts."""
    with st.container(border=True, key="judge"):
        st.markdown(f"**Judge the answer to {escape(request_id, 64)}**")
        with st.container(horizontal=True, vertical_alignment="center", gap="large"):
            stars = st.feedback("stars", key=f"judge-stars-{request_id}")
            thumb = st.feedback("thumbs", key=f"judge-thumb-{request_id}")
            keep = st.button(
                "Keep it",
                key="judge-keep",
                type="primary",
                icon=":material/rate_review:",
                disabled=stars is None and thumb is None,
            )
        st.caption("It counts for each adapter that took part. Said again by you, the newest word counts.")
    if keep:
        with errors_shown():
            analytics.record_feedback(
                visit.console,
                visit.principal,
                request_id=request_id,
                rating=None if stars is None else float(stars + 1),
                thumbs=None if thumb is None else (Thumbs.UP if thumb else Thumbs.DOWN),
            )
            keep_notice("Your judgement is kept.", ":material/rate_review:")
            st.rerun()
