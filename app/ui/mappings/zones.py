"""Time zones to choose from."""

from zoneinfo import available_timezones

import streamlit as st


@st.cache_data(show_spinner=False)
def time_zones() -> list[str]:
    """Names of places, as Europe/Warsaw; no fixed offsets and no copies."""
    return sorted(
        zone for zone in available_timezones() if "/" in zone and not zone.startswith(("Etc/", "posix"))
    )
