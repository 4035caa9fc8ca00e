"""What harmonizing gave: totals that reconcile, findings, rows with their lineage, files."""

from collections.abc import Callable

import streamlit as st

from app.actions import harmonize, mappings
from app.ui import numbers
from app.ui.frame import Figure, errors_shown, figures
from app.ui.mappings.compare import numbers_of, show_comparison
from app.ui.mappings.files import show_files
from app.ui.mappings.list import back_to_list, unmapped_columns
from app.ui.mappings.rows import show_run_rows
from app.ui.mappings.saved import activate
from app.ui.mappings.totals import is_amount, show_findings, show_totals, totals_of
from app.ui.mappings.training import training_set_button
from app.ui.mappings.words import qualifier_words
from app.ui.screens import DATA_BROWSER, go_to
from app.ui.text import escape
from app.ui.visit import Visit
from core.harmonize.records import MappingState
from core.harmonize.saved import HarmonizedRun, MappingVersion
from core.tenants.records import Permission


def show_run(visit: Visit, run_id: str) -> None:
    """Harmonized rows in full. Raises NotFoundError."""
    run = harmonize.get_run(visit.console, visit.principal, run_id)
    version = mappings.find_version(visit.console, visit.principal, run.mapping_version_id)
    dataset = harmonize.source_of(visit.console, visit.principal, run)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        back_to_list()
        _ways_on(visit, run, version)
    st.title(escape(f"{dataset.title}, harmonized", 120), anchor=False)
    _verdict(run, version)
    _figures(run)
    missing = unmapped_columns(run)
    if missing:
        names = ", ".join(escape(name, 60) for name in missing[:10]) + (" …" if len(missing) > 10 else "")
        st.caption(f":material/link_off: No rule names {numbers.counted(len(missing), 'column')}: {names}")
    tabs = st.tabs(["Totals", "Findings", "Rows", "Compare", "Files"], on_change="rerun", key="run-tab")
    views: tuple[Callable[[], None], ...] = (
        lambda: show_totals(run),
        lambda: show_findings(run.report.get("findings") or ()),
        lambda: show_run_rows(visit, run),
        lambda: show_comparison(numbers_of(totals_of(run), version.mapping.currency)),
        lambda: show_files(visit, run, version),
    )
    for tab, view in zip(tabs, views, strict=True):
        if tab.open:
            with tab, errors_shown():
                view()


def _ways_on(visit: Visit, run: HarmonizedRun, version: MappingVersion) -> None:
    with st.container(horizontal=True, width="content"):
        if visit.principal.may(Permission.TRAIN):
            st.button(
                "Back to the editor",
                icon=":material/edit:",
                key="run-edit",
                on_click=st.query_params.from_dict,
                args=({"source": run.dataset_id},),
            )
            training_set_button(visit, run, version)
        if st.button("Look at the rows", icon=":material/table_view:", key="run-browse"):
            go_to(DATA_BROWSER, run=run.id)
        if version.state is not MappingState.ACTIVE and visit.principal.may(Permission.TRAIN):
            st.button(
                "Put this mapping into use",
                type="primary",
                icon=":material/check:",
                key="run-activate",
                on_click=activate,
                args=(version.mapping_id, version.version),
            )


def _verdict(run: HarmonizedRun, version: MappingVersion) -> None:
    findings = run.report.get("findings") or ()
    wrong = [t for t in totals_of(run) if is_amount(t.get("difference"))]
    errors = sum(1 for f in findings if f.get("severity") == "error")
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.badge(escape(version.label).replace("\\", ""), color="blue", icon=":material/schema:")
        if version.state is MappingState.ACTIVE:
            st.badge("In use", color="green", icon=":material/check_circle:")
        if wrong:
            st.badge(
                "1 total differs" if len(wrong) == 1 else f"{len(wrong)} totals differ",
                color="red",
                icon=":material/error:",
            )
        else:
            st.badge("Every total is kept", color="green", icon=":material/balance:")
        if errors:
            st.badge(f"{numbers.counted(errors, 'error')} found", color="red", icon=":material/error:")
        told = qualifier_words(dict(run.report.get("qualifiers") or {}))
        if told:
            st.badge(f"Headline: {told}", color="violet", icon=":material/flag:")
        seconds = float(run.report.get("seconds") or 0)
        took = f"{seconds:.1f} s" if seconds < 10 else numbers.duration(seconds)
        st.caption(f"Took {took}, by {escape(run.created_by)}", width="content")


def _figures(run: HarmonizedRun) -> None:
    report = run.report
    left = {
        "broken": report.get("broken_rows"),
        "repeats": report.get("duplicates_removed"),
        "suppressed": report.get("suppressed_rows"),
    }
    notes = ", ".join(f"{numbers.count(int(n))} {word}" for word, n in left.items() if n)
    findings = report.get("findings") or ()
    loud = sum(1 for f in findings if f.get("severity") != "note")
    measures = totals_of(run)
    kept = sum(not is_amount(t.get("difference")) for t in measures)
    figures(
        [
            Figure("Rows", numbers.count(run.rows_out), f"of {numbers.count(run.rows_in)} in the file"),
            Figure("Coverage", numbers.percent(run.coverage), "of the columns with values"),
            Figure("Totals kept", f"{kept} of {len(measures)}", "to the cent"),
            Figure("Findings", numbers.count(len(findings)), f"{loud} to look at"),
            Figure("Set apart", notes.split(" ")[0] if notes else "0", notes or "no row was lost"),
        ]
    )
