"""Parts of the screen that look again by themselves, without the rest, so that nobody loses their place."""

from collections.abc import Callable

import streamlit as st

EVERY_S = 10.0
LONG_EVERY_S = 60.0  # of a week and more, where ten seconds change nothing that can be seen
LONG_HOURS = 48.0


def show_live(show: Callable[[], None], *, live: bool, hours: float = 0.0) -> None:
    """Draw it in a fragment of its own; `live`: again and again, the less often the more `hours` it is about."""
    every = EVERY_S if hours <= LONG_HOURS else LONG_EVERY_S
    st.fragment(show, run_every=every if live else None)()
