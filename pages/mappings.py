"""Mappings: what there is, a new retailer from a file, the visual editor, and what harmonizing gave."""

import streamlit as st

from app.actions import harmonize, mappings
from app.ui import numbers
from app.ui.frame import Figure, empty_state, figures, page_head
from app.ui.mappings.job import show_harmonize_job
from app.ui.mappings.list import (
    MAPPING_COLUMNS,
    MOST_RUNS,
    mapping_card,
    mapping_row,
    newest_runs,
    unmapped_columns,
)
from app.ui.mappings.new import choose_file, show_source
from app.ui.mappings.result import show_run
from app.ui.mappings.saved import show_mapping
from app.ui.screens import MAPPINGS, go_to, show_item, shown_item
from app.ui.tables import show_table
from app.ui.visit import current_visit
from core.errors import PermissionDeniedError
from core.tenants.records import Permission

visit = current_visit()
may_train = visit.principal.may(Permission.TRAIN)
for name in ("new", "source", "job", "run", "mapping"):
    opened = shown_item(name)
    if opened is None:
        continue
    if name in ("new", "source") and not may_train:
        raise PermissionDeniedError(
            "You may look at mappings, not make them.",
            "Your role is that of a viewer.",
            "Ask an administrator of this workspace for another role.",
        )
    match name:
        case "new":
            choose_file(visit)
        case "source":
            show_source(visit, opened)
        case "job":
            show_harmonize_job(visit, opened)
        case "run":
            show_run(visit, opened)
        case _:
            show_mapping(visit, opened)
    st.stop()

page_head(MAPPINGS.title, MAPPINGS.purpose)
saved = mappings.list_mappings(visit.console, visit.principal)
if not saved:
    empty_state(
        "No mapping yet.",
        "Take any raw export of a retailer: the console proposes what each column is, you correct it.",
        icon=":material/schema:",
        actions={"New retailer from a file": lambda: go_to(MAPPINGS, new="1")} if may_train else None,
    )
    st.stop()

newest = newest_runs(harmonize.list_runs(visit.console, visit.principal, limit=MOST_RUNS))
used = [mapping for mapping in saved if mapping.name in newest]
covered = [mapping.coverage for mapping in saved if mapping.coverage is not None]
figures(
    [
        Figure(
            "Mappings",
            numbers.count(len(saved)),
            f"{sum(m.active_version is not None for m in saved)} in use",
        ),
        Figure(
            "Retailers",
            numbers.count(len({m.retailer for m in saved if m.retailer})),
            f"{len({m.network for m in saved if m.network})} networks",
        ),
        Figure(
            "Coverage",
            numbers.percent(min(covered)) if covered else numbers.NOTHING,
            f"lowest of {len(covered)} used" if covered else "none was used yet",
        ),
        Figure(
            "Unmapped columns",
            numbers.count(sum(len(unmapped_columns(newest[m.name])) for m in used)),
            "in the files last used",
        ),
    ]
)
with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
    view = st.segmented_control(
        "View",
        ["Cards", "Table"],
        default="Cards",
        required=True,
        key="mappings-view",
        persist_state="session",
        label_visibility="collapsed",
    )
    if may_train:
        st.button(
            "New retailer from a file",
            type="primary",
            icon=":material/add:",
            key="mapping-new",
            on_click=show_item,
            args=("new", "1"),
        )
if view == "Table":
    show_table(
        [mapping_row(mapping, newest.get(mapping.name)) for mapping in saved],
        MAPPING_COLUMNS,
        key="mappings",
        alt="Mappings of this workspace",
        file_name="mappings.csv",
    )
else:
    with st.grid(3, min_column_width=260):
        for mapping in saved:
            mapping_card(mapping, newest.get(mapping.name))
