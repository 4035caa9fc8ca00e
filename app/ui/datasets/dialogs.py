"""Which dialog of the dataset screen is open: at most one."""

import streamlit as st

from core.datasets.records import Dataset

_OPEN = "dataset-dialog"
#: What a dialog made before it was closed.
MADE = "dataset-dialog-made"


def dialog_button(label: str, name: str, dataset: Dataset, *, icon: str) -> bool:
    """The button that opens the dialog of that name; whether it is open for this set."""
    st.button(label, key=f"dataset-{name}", icon=icon, on_click=_open, args=((name, dataset.id),))
    return bool(st.session_state.get(_OPEN) == (name, dataset.id))


def close_dialog() -> None:
    """No dialog is open any more."""
    _open(None)


def _open(which: tuple[str, str] | None) -> None:
    st.session_state[_OPEN] = which
    st.session_state.pop(MADE, None)
