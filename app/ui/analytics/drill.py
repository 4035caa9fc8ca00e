"""From a bar, a point or a row to the requests behind it.

A fragment cannot set filters that were drawn before it. So it leaves a note and has the whole screen run again, which
reads the note before it draws.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn, cast

import streamlit as st
from streamlit.errors import StreamlitAPIException

from app.ui.analytics.filters import (
    EVERYTHING,
    PART,
    REQUESTS,
    SINCE,
    SUBJECT,
    TRAFFIC,
    UNTIL,
    USUAL_PERIOD,
    set_window,
)
from app.ui.screens import show_item

OUTCOME, ERROR, SLOWER, BEFORE = "requests-outcome", "requests-error", "requests-slower", "before"
ALL_OUTCOMES, ANSWERED, FAILED, LEFT = "All", "Answered", "Failed", "Left"
OUTCOMES = (ALL_OUTCOMES, ANSWERED, FAILED, LEFT)
ANY_ERROR = "Any error"
USUAL = (TRAFFIC, USUAL_PERIOD, EVERYTHING, ALL_OUTCOMES, ANY_ERROR, 0.0)  # what stands in no address
_NOTE, _TIMES = "_filters_wanted", "_drills"


@dataclass(frozen=True, slots=True)
class Drill:
    """Which requests to show. `subject`: the filter's name of it, None to leave the filter as it is."""

    since: datetime | None = None
    until: datetime | None = None
    outcome: str = ALL_OUTCOMES
    error: str = ANY_ERROR
    slower_ms: float = 0.0
    subject: str | None = None


def drill(to: Drill) -> NoReturn:
    """Show these requests."""
    wanted: dict[str, object] = {
        PART: REQUESTS,
        OUTCOME: to.outcome,
        ERROR: to.error,
        SLOWER: to.slower_ms,
        SINCE: to.since,
        UNTIL: to.until,
    }
    if to.subject is not None:
        wanted[SUBJECT] = to.subject
    set_later(wanted)


def show_part(part: str) -> NoReturn:
    """Another part of this screen."""
    set_later({PART: part})


def set_later(wanted: Mapping[str, object]) -> NoReturn:
    """Have the screen run again with these filters."""
    st.session_state[_NOTE] = dict(wanted)
    st.session_state[_TIMES] = times() + 1
    st.rerun()


def times() -> int:
    """How often it was done in this visit: part of the keys of charts, so that none comes back with its old press."""
    count: int = st.session_state.get(_TIMES, 0)
    return count


def follow_note() -> None:
    """Set the filters as the note says. Before any of them is drawn."""
    note: dict[str, object] | None = st.session_state.pop(_NOTE, None)
    if note is None:
        return
    if SINCE in note:
        since, until = note.pop(SINCE), note.pop(UNTIL)
        set_window(cast(datetime | None, since), cast(datetime | None, until))
    show_item(BEFORE, None)
    for key, value in note.items():
        st.session_state[key] = value
        if value not in USUAL:
            _write_address(key, str(value))


def _write_address(key: str, value: str) -> None:
    """Streamlit writes the value of a filter that was drawn before; of one that appears in this run we have to."""
    with suppress(StreamlitAPIException):
        st.query_params[key] = value
