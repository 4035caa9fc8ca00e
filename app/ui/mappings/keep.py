"""Where a draft of a mapping is kept: in the visit, and in a file of its own that survives a reload and a restart."""

import hashlib
from pathlib import Path

import streamlit as st

from app.ui.mappings.draft import MappingDraft, from_text, to_text
from app.ui.visit import Visit
from core.datasets.records import Dataset
from core.storage.files import write_atomically

DRAFTS = "drafts"
UNDO_STEPS = 50
LONGEST_DRAFT = 8 << 20


def kept_draft(visit: Visit, dataset: Dataset) -> MappingDraft | None:
    """The draft of this person for this file, if there is one and the file is still the same."""
    draft = st.session_state.get(_name(dataset.id))
    if draft is None:
        draft = _read(_place(visit, dataset.id))
        if draft is not None:
            st.session_state[_name(dataset.id)] = draft
    if draft is None or draft.dataset_id != dataset.id or draft.digest != dataset.digest:
        return None
    return draft if isinstance(draft, MappingDraft) else None


def keep(visit: Visit, draft: MappingDraft) -> None:
    """Keep it; what it replaces can be brought back with `undo`."""
    before = st.session_state.get(_name(draft.dataset_id))
    if before == draft:
        return
    if before is not None:
        steps = st.session_state.get(_undo(draft.dataset_id), ())
        st.session_state[_undo(draft.dataset_id)] = (*steps[-UNDO_STEPS + 1 :], before)
    _write(visit, draft)


def can_undo(dataset_id: str) -> bool:
    """Whether something was changed in this visit."""
    return bool(st.session_state.get(_undo(dataset_id)))


def undo(visit: Visit, dataset_id: str) -> None:
    """Bring back the draft as it was before the last change."""
    steps = st.session_state.get(_undo(dataset_id), ())
    if steps:
        st.session_state[_undo(dataset_id)] = steps[:-1]
        _write(visit, steps[-1])


def forget(visit: Visit, dataset_id: str) -> None:
    """Throw the draft away."""
    for name in (_name(dataset_id), _undo(dataset_id)):
        st.session_state.pop(name, None)
    _place(visit, dataset_id).unlink(missing_ok=True)


def _write(visit: Visit, draft: MappingDraft) -> None:
    st.session_state[_name(draft.dataset_id)] = draft
    try:
        write_atomically(_place(visit, draft.dataset_id), to_text(draft).encode())
    except OSError:
        st.warning(
            "This draft could not be kept on the disk: it lives until you close the page. Free some disk space.",
            icon=":material/warning:",
        )


def _read(path: Path) -> MappingDraft | None:
    try:
        if path.stat().st_size > LONGEST_DRAFT:
            return None
        return from_text(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None


def _place(visit: Visit, dataset_id: str) -> Path:
    who = hashlib.sha256(visit.principal.actor.encode()).hexdigest()[:16]
    return visit.console.settings.home / DRAFTS / visit.principal.tenant_id / who / f"{dataset_id}.json"


def _name(dataset_id: str) -> str:
    return f"_mapping_draft_{dataset_id}"


def _undo(dataset_id: str) -> str:
    return f"_mapping_undo_{dataset_id}"
