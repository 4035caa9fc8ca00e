"""States and kinds as small coloured labels: the colour repeats what the word says."""

from typing import Literal

import streamlit as st

from app.ui.text import escape_badge
from core.datasets.records import DatasetKind
from core.jobs.records import Job, JobState
from core.registry.records import AdapterSource, AdapterState

Color = Literal["red", "orange", "yellow", "blue", "green", "violet", "gray", "primary"]

TYPE_COLORS: dict[str, Color] = {"retailer": "blue", "task": "violet", "brand": "orange", "domain": "green"}
TYPE_ICONS = {
    "retailer": ":material/storefront:",
    "task": ":material/task_alt:",
    "brand": ":material/brush:",
    "domain": ":material/category:",
}
_JOB: dict[JobState, tuple[str, Color, str]] = {
    JobState.QUEUED: ("Queued", "gray", ":material/schedule:"),
    JobState.RUNNING: ("Running", "blue", ":material/play_circle:"),
    JobState.SUCCEEDED: ("Succeeded", "green", ":material/check_circle:"),
    JobState.FAILED: ("Failed", "red", ":material/error:"),
    JobState.CANCELLED: ("Cancelled", "gray", ":material/cancel:"),
}
_ADAPTER: dict[AdapterState, tuple[str, Color, str]] = {
    AdapterState.ACTIVE: ("Active", "green", ":material/check_circle:"),
    AdapterState.QUARANTINED: ("Quarantined", "red", ":material/gpp_bad:"),
    AdapterState.ARCHIVED: ("Archived", "gray", ":material/archive:"),
}
_SOURCE: dict[AdapterSource, str] = {
    AdapterSource.TRAINED: "Trained here",
    AdapterSource.IMPORTED: "Imported",
    AdapterSource.SHIPPED: "Shipped",
}
KIND_WORDS: dict[DatasetKind, str] = {
    DatasetKind.SFT: "Training set",
    DatasetKind.DPO: "Preference pairs",
    DatasetKind.KTO: "Liked and disliked answers",
    DatasetKind.EVENTS: "Raw events",
    DatasetKind.REFERENCE: "Reference data",
}
_KIND: dict[DatasetKind, tuple[Color, str]] = {
    DatasetKind.SFT: ("blue", ":material/school:"),
    DatasetKind.DPO: ("violet", ":material/compare:"),
    DatasetKind.KTO: ("violet", ":material/thumbs_up_down:"),
    DatasetKind.EVENTS: ("gray", ":material/receipt_long:"),
    DatasetKind.REFERENCE: ("gray", ":material/library_books:"),
}


def job_state(job: Job) -> None:
    """Where a job stands; a requested cancel shows until it has taken effect."""
    if job.cancel_requested and not job.state.final:
        st.badge("Stopping", color="orange", icon=":material/hourglass_top:")
        return
    word, color, icon = _JOB[job.state]
    st.badge(word, color=color, icon=icon)


def job_state_word(job: Job) -> str:
    """The same as a word, for tables."""
    return "Stopping" if job.cancel_requested and not job.state.final else _JOB[job.state][0]


def adapter_state(state: AdapterState) -> None:
    """Whether an adapter may be used."""
    word, color, icon = _ADAPTER[state]
    st.badge(word, color=color, icon=icon)


def adapter_type(name: str | None) -> None:
    """Retailer, task, brand or domain."""
    if name:
        st.badge(
            escape_badge(name.capitalize()), color=TYPE_COLORS.get(name, "gray"), icon=TYPE_ICONS.get(name)
        )


def adapter_source(source: AdapterSource) -> None:
    """Where an adapter came from."""
    st.badge(_SOURCE[source], color="gray")


def source_word(source: AdapterSource) -> str:
    """The same as a word, for tables."""
    return _SOURCE[source]


def dataset_kind(kind: DatasetKind) -> None:
    """What a dataset is for."""
    color, icon = _KIND[kind]
    st.badge(KIND_WORDS[kind], color=color, icon=icon)


def simulated(flag: bool) -> None:
    """Says that data, or what was learned from it, is simulated."""
    if flag:
        st.badge(
            "Simulated data",
            color="yellow",
            icon=":material/science:",
            help="Made by this project's generators. Fictitious retailers, no real shoppers.",
        )
