"""Adapters: everything trained, imported or shipped; one in full; import."""

import streamlit as st

from app.actions import adapters
from app.ui.adapter_view import ADAPTER_COLUMNS, adapter_card, adapter_row, show_adapter
from app.ui.frame import Figure, empty_state, errors_shown, figures, keep_notice, page_head
from app.ui.numbers import count, size
from app.ui.screens import ADAPTERS, DATASETS, go_to, show_item, shown_item
from app.ui.tables import show_table
from app.ui.uploads import browser_limit_mb
from app.ui.visit import current_visit
from core.registry.records import AdapterSource, AdapterState, AdapterType
from core.tenants.records import Permission

visit = current_visit()
opened = shown_item("adapter")
if opened is not None:
    show_adapter(visit, opened)
    st.stop()

page_head(ADAPTERS.title, ADAPTERS.purpose)
everything = adapters.list_adapters(visit.console, visit.principal, include_archived=True)
active = [adapter for adapter in everything if adapter.state is AdapterState.ACTIVE]
figures(
    [
        Figure("Active", count(len(active)), f"of {len(everything)} adapters"),
        Figure(
            "Trained here",
            count(sum(a.source is AdapterSource.TRAINED for a in everything)),
            "by jobs of this workspace",
        ),
        Figure("On disk", size(sum(a.size_bytes for a in everything)), "weights in safetensors"),
    ]
)
with st.container(horizontal=True, vertical_alignment="bottom"):
    types = ["all", *(kind for kind in AdapterType if any(a.type is kind for a in everything))]
    kind = st.segmented_control(
        "Type", types, default="all", required=True, format_func=str.capitalize, key="adapter-type"
    )
    view = st.segmented_control(
        "View", ["Cards", "Table"], default="Cards", required=True, key="adapter-view"
    )
    with_archived = st.toggle("Show archived", key="adapter-archived")
shown = [
    adapter
    for adapter in everything
    if kind in ("all", adapter.type) and (with_archived or adapter.state is not AdapterState.ARCHIVED)
]
if not shown:
    empty_state(
        "No adapters here.",
        "Train one from a dataset, or import one below.",
        icon=":material/layers:",
        actions={"Choose a dataset": lambda: go_to(DATASETS)}
        if visit.principal.may(Permission.TRAIN)
        else None,
    )
elif view == "Table":
    show_table(
        [adapter_row(adapter) for adapter in shown],
        ADAPTER_COLUMNS,
        key="adapters",
        alt="Adapters of this workspace",
        file_name="adapters.csv",
    )
else:
    with st.grid(3, min_column_width=280):
        for adapter in shown:
            adapter_card(adapter)

if visit.principal.may(Permission.TRAIN):
    with st.expander("Import an adapter", icon=":material/upload:"):
        st.caption(
            "A zip with adapter_config.json and adapter_model.safetensors (PEFT, LoRA), for the base that runs "
            "here. It is verified before anything is kept; pickled files are refused."
        )
        with st.form("import-adapter", border=False):
            file = st.file_uploader(
                "Zip file",
                type=["zip"],
                max_upload_size=browser_limit_mb(visit),
                key="adapter-file",
            )
            left, right = st.columns(2)
            name = left.text_input(
                "Name",
                max_chars=100,
                placeholder="As its manifest says",
                help="Needed only when the zip has no manifest.json of this product.",
                key="adapter-import-name",
            )
            teaches = right.selectbox(
                "Type",
                list(AdapterType),
                index=None,
                placeholder="As its manifest says",
                format_func=str.capitalize,
                key="adapter-import-type",
            )
            if st.form_submit_button("Verify and import", type="primary", icon=":material/verified_user:"):
                if file is None:
                    st.warning("Choose a zip file first.")
                else:
                    with errors_shown(), st.spinner("Verifying"):
                        made = adapters.import_adapter(
                            visit.console, visit.principal, file, name=name.strip() or None, type=teaches
                        )
                        keep_notice(f"{made.label} was verified and imported.")
                        show_item("adapter", made.id)
                        st.rerun()
