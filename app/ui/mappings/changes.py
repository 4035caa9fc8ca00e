"""What the buttons of the editor do to a draft, and which of its entries is open."""

import streamlit as st

from app.actions import datasets
from app.ui.mappings.draft import MappingDraft, Show
from app.ui.mappings.keep import keep, kept_draft, undo
from app.ui.mappings.words import default_transform, ops_for
from app.ui.visit import Visit, current_visit
from core.harmonize.records import Rule
from core.rmis.vocabularies import TransformOp


def current_place(draft: MappingDraft) -> int:
    """The entry that is open: the one in the address, else the first that needs attention."""
    told = st.query_params.get("column", "")
    if told.isdecimal() and int(told) < len(draft.entries):
        return int(told)
    return next(iter(draft.shown(Show.ATTENTION)), 0)


def around(draft: MappingDraft, number: int) -> tuple[int | None, int | None]:
    """The entries listed before and after one; of one that the filter hides, by their place in the file."""
    listed = draft.shown(st.session_state.get("mapping-show", Show.ALL))
    if number in listed:
        place = listed.index(number)
        before, after = listed[:place], listed[place + 1 :]
    else:
        before, after = [n for n in listed if n < number], [n for n in listed if n > number]
    return before[-1] if before else None, after[0] if after else None


def jump(number: int) -> None:
    """Open another entry. Its widgets begin anew."""
    st.query_params["column"] = str(number)
    _begin_anew()


def _begin_anew() -> None:
    st.session_state["_mapping_revision"] = st.session_state.get("_mapping_revision", 0) + 1


def open_picked() -> None:
    shown = st.session_state.get("_mapping_shown", [])
    for key, state in list(st.session_state.items()):
        if str(key).startswith("mapping-table-") and state:
            rows = state["selection"]["rows"]
            if rows and rows[0] < len(shown):
                jump(shown[rows[0]])


def accept(dataset_id: str, number: int) -> None:
    visit, draft = _current(dataset_id)
    if draft is not None:
        accepted = draft.accepted(number)
        keep(visit, accepted)
        after = around(draft, number)[1]
        jump(number if after is None else after)


def accept_all(dataset_id: str) -> None:
    visit, draft = _current(dataset_id)
    if draft is not None:
        keep(visit, draft.all_sure_accepted())
        _begin_anew()


def undo_last(dataset_id: str) -> None:
    undo(current_visit(), dataset_id)
    _begin_anew()


def take(dataset_id: str, number: int, target: str | None) -> None:
    """Another candidate; its operation is what usually fits it, to be looked at."""
    visit, draft = _current(dataset_id)
    if draft is not None:
        rule = draft.entries[number].rule
        op = ops_for(target)[0] if target else TransformOp.DROP
        keep(
            visit,
            draft.with_rule(
                number,
                Rule(
                    source_field=rule.source_field, target=target, transform=default_transform(op, target, [])
                ),
            ),
        )
        _begin_anew()


def copy(dataset_id: str, number: int) -> None:
    visit, draft = _current(dataset_id)
    if draft is not None:
        keep(visit, draft.with_copy(number))
        jump(number + 1)


def remove(dataset_id: str, number: int) -> None:
    visit, draft = _current(dataset_id)
    if draft is not None:
        keep(visit, draft.without(number))
        jump(max(0, number - 1))


def _current(dataset_id: str) -> tuple[Visit, MappingDraft | None]:
    visit = current_visit()
    dataset = datasets.get_dataset(visit.console, visit.principal, dataset_id)
    return visit, kept_draft(visit, dataset)
