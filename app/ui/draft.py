"""The draft of a training run. It lives in the address: a reload, a bookmark or a sent link keeps it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import streamlit as st

from core.storage.ids import new_id

STEPS = ("Dataset", "Configuration", "Review", "Monitor")
DEFAULT_PRESET = "balanced"


@dataclass(frozen=True, slots=True)
class Draft:
    """What has been chosen so far. `changes` holds only what differs from the preset, as text by field name.

    `key` tells this draft from all others, so that it becomes one job however often it is submitted.
    """

    step: int = 1
    dataset_id: str | None = None
    adapter_type: str | None = None
    name: str = ""
    preset: str = DEFAULT_PRESET
    job_id: str | None = None
    key: str = field(default_factory=lambda: new_id("draft"))
    changes: Mapping[str, str] = field(default_factory=dict)


def read_draft(fields: frozenset[str]) -> Draft:
    """The draft in the address; what is not a known field is left out. Values are checked where they are used."""
    query = st.query_params
    step = query.get("step", "")
    draft = Draft(
        step=int(step) if step in ("1", "2", "3") else 1,
        dataset_id=query.get("dataset") or None,
        adapter_type=query.get("type") or None,
        name=query.get("name", ""),
        preset=query.get("preset", DEFAULT_PRESET),
        job_id=query.get("job") or None,
        key=query.get("draft") or new_id("draft"),
        changes={name: query[name] for name in fields if name in query},
    )
    if draft.job_id is not None:
        return replace(draft, step=4)
    if draft.dataset_id is None:
        return replace(draft, step=1)
    return replace(draft, step=2) if step == "" else draft


def keep_draft(draft: Draft) -> None:
    """Write the draft into the address, where it differs from what stands there."""
    own: dict[str, Any] = {
        "step": str(draft.step) if draft.step > 1 and draft.job_id is None else None,
        "dataset": draft.dataset_id,
        "type": draft.adapter_type,
        "name": draft.name or None,
        "preset": draft.preset if draft.preset != DEFAULT_PRESET else None,
        "job": draft.job_id,
        "draft": draft.key if draft.dataset_id is not None else None,
    }
    wanted = {name: value for name, value in {**own, **draft.changes}.items() if value is not None}
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)


def step_bar(current: int) -> None:
    """The four steps, the current one marked."""
    with st.container(horizontal=True, gap="small"):
        for number, title in enumerate(STEPS, start=1):
            if number < current:
                st.badge(title, color="green", icon=":material/check:")
            elif number == current:
                st.badge(f"{number} · {title}", color="blue")
            else:
                st.badge(f"{number} · {title}", color="gray")
