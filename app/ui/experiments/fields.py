"""Widgets of the guided form: each begins with what the form holds, and answers what it is now."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

import streamlit as st

from app.ui.experiments.form import Form


def begin(key: str, value: Any) -> str:
    """The key of a widget that begins with this value, unless somebody has touched it in this step."""
    name = f"exp-{key}"
    if name not in st.session_state:
        st.session_state[name] = value
    return name


def number(
    label: str,
    key: str,
    value: float | None,
    low: float = 0.0,
    high: float = 1e9,
    step: float = 1.0,
    *,
    help: str | None = None,
    placeholder: str | None = None,
) -> float | None:
    """A number of any kind; empty where the form has none."""
    given = st.number_input(
        label,
        low,
        high,
        None,
        step,
        format="%g",
        key=begin(key, None if value is None else min(max(float(value), low), high)),
        help=help,
        placeholder=placeholder,
    )
    return None if given is None else float(given)


def whole(
    label: str,
    key: str,
    value: int | None,
    low: int = 0,
    high: int = 1_000_000_000,
    *,
    help: str | None = None,
) -> int | None:
    """A whole number; empty where the form has none."""
    kept = None if value is None else min(max(int(value), low), high)
    given = st.number_input(label, low, high, None, 1, key=begin(key, kept), help=help)
    return None if given is None else int(given)


def moment(
    label: str, key: str, value: datetime | None, now: datetime, *, offer: timedelta
) -> datetime | None:
    """A day and a time of UTC behind a switch; None while it is off. `offer`: how far from now it begins."""
    on = st.toggle(label, key=begin(f"{key}-on", value is not None))
    if not on:
        return None
    proposed = (value or now + offer).astimezone(UTC)
    with st.container(horizontal=True):
        day = st.date_input("Day, UTC", key=begin(f"{key}-day", proposed.date()), width=160)
        hour = st.time_input(
            "Time, UTC", key=begin(f"{key}-time", time(proposed.hour, proposed.minute)), step=900, width=140
        )
    return datetime.combine(day, hour, tzinfo=UTC)


def changed(form: Form, **fields: Any) -> Form:
    """The form with other fields, checked as a whole."""
    return Form.model_validate({**form.model_dump(), **fields})
