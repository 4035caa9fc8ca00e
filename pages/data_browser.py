"""Data browser: raw files, harmonized rows, and the reference tables: catalog, priors, metrics, audiences."""

import streamlit as st

from app.actions import datasets, harmonize
from app.ui import numbers
from app.ui.browser.read import reference_sets
from app.ui.browser.view import show_raw_table, show_reference_table, show_run_table
from app.ui.frame import empty_state, errors_shown, page_head
from app.ui.screens import DATA_BROWSER, MAPPINGS, go_to, shown_item
from app.ui.text import plain
from app.ui.visit import current_visit
from core.datasets.records import Dataset, DatasetKind
from core.harmonize.saved import HarmonizedRun
from core.tenants.records import Permission

REFERENCE = {
    "sku_catalog": "SKU catalog",
    "uplift_priors": "Uplift priors",
    "performance_metrics": "Performance metrics",
    "audiences": "Audiences",
}

visit = current_visit()
page_head(DATA_BROWSER.title, DATA_BROWSER.purpose)
sets = datasets.list_datasets(visit.console, visit.principal)
raw_files = [dataset for dataset in sets if dataset.kind is DatasetKind.EVENTS]
runs = harmonize.list_runs(visit.console, visit.principal)
titles = {dataset.id: dataset.title for dataset in sets}
references = reference_sets(sets)
others = [name for name in references if name not in REFERENCE]
names = [*(name for name in REFERENCE if name in references), *others]

tabs = st.tabs(
    ["Raw and harmonized", *(REFERENCE.get(name, plain(references[name].title, 40)) for name in names)],
    on_change="rerun",
    key="browser-tab",
)
if tabs[0].open:
    with tabs[0]:
        sources: dict[str, HarmonizedRun | Dataset] = {
            **{run.id: run for run in runs},
            **{dataset.id: dataset for dataset in raw_files},
        }
        words = {
            **{
                run.id: f"{plain(titles.get(run.dataset_id, 'a file that is gone'), 60)} · harmonized with "
                f"{plain(run.mapping_label, 60)}, {numbers.ago(run.created_at, visit.console.clock())}"
                for run in runs
            },
            **{
                dataset.id: f"{plain(dataset.title, 60)} · raw, {numbers.count(dataset.rows)} rows"
                for dataset in raw_files
            },
        }
        asked = shown_item("run") or shown_item("dataset")
        if not sources:
            empty_state(
                "No rows to look at yet.",
                "Take a raw export of a retailer and harmonize it.",
                icon=":material/table_view:",
                actions={"New retailer from a file": lambda: go_to(MAPPINGS, new="1")}
                if visit.principal.may(Permission.TRAIN)
                else None,
            )
        else:
            ids = list(sources)
            chosen = st.selectbox(
                "Rows of",
                ids,
                index=ids.index(asked) if asked in sources else 0,
                format_func=words.__getitem__,
                key="browser-source",
            )
            source = sources[chosen]
            with errors_shown():
                if isinstance(source, HarmonizedRun):
                    show_run_table(visit, source)
                else:
                    show_raw_table(source)
for tab, name in zip(tabs[1:], names, strict=True):
    if tab.open:
        with tab, errors_shown():
            show_reference_table(references[name])
