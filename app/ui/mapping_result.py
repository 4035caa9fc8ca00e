"""What harmonizing gave: the job while it runs, then totals that reconcile, findings, rows with their lineage, files."""

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import streamlit as st

from app.actions import harmonize, mappings, training
from app.actions.harmonize import RunPart
from app.ui import badges, numbers
from app.ui.browser_read import run_rows
from app.ui.frame import Figure, error_box, errors_shown, fact_list, figures, keep_notice, problem_box
from app.ui.job_view import progress_words
from app.ui.mapping_compare import numbers_of, show_comparison
from app.ui.mapping_list import activate, unmapped_columns
from app.ui.mapping_rows import show_run_rows
from app.ui.mapping_training import training_set_button
from app.ui.mapping_words import qualifier_words
from app.ui.screens import DATA_BROWSER, go_to
from app.ui.tables import Column, show_table
from app.ui.text import escape, plain
from app.ui.visit import Visit, current_visit
from core.errors import RmnError
from core.harmonize.export_adcp import to_adcp
from core.harmonize.exports import write_csv
from core.harmonize.records import MappingState
from core.harmonize.saved import HarmonizedRun, MappingVersion
from core.jobs.records import JobState
from core.tenants.records import Permission

POLL_SECONDS = 1.0
MOST_CSV_ROWS = 200_000
MOST_DOWNLOADED = 512 << 20
TOTAL_COLUMNS = (
    Column("target", "Measure"),
    Column("source", "Column of the file"),
    Column("means", "Qualifiers"),
    Column("input", "In the file"),
    Column("removed", "Repeats and rejects", help="Amounts of repeated rows and of values that did not fit."),
    Column("output", "Harmonized"),
    Column("difference", "Difference"),
    Column("rows", "Values", "number"),
    Column("kept", "Kept"),
)
_SEVERITY: dict[str, tuple[str, badges.Color, str]] = {
    "error": ("Error", "red", ":material/error:"),
    "warning": ("Warning", "orange", ":material/warning:"),
    "note": ("Note", "gray", ":material/info:"),
}


def show_harmonize_job(visit: Visit, job_id: str) -> None:
    """A harmonize job: live while it runs; the rows that came out of it; or why there are none."""
    job = harmonize.get_job(visit.console, visit.principal, job_id)
    if job.state is JobState.SUCCEEDED and job.result:
        st.query_params.from_dict({"run": str(job.result.get("run_id", ""))})
        st.rerun()
    _back()
    st.title(escape(job.name), anchor=False)
    if not job.state.final:
        if visit.principal.may(Permission.TRAIN):
            st.button(
                "Cancel",
                key=f"cancel-{job.id}",
                icon=":material/stop_circle:",
                disabled=job.cancel_requested,
                on_click=_cancel,
                args=(job.id,),
            )
        _watch(job.id)
        return
    badges.job_state(job)
    if job.error is not None:
        problem_box(job.error.what, job.error.why, job.error.next_step)
    dataset_id = str(job.spec.get("dataset_id", ""))
    st.button(
        "Back to the editor",
        icon=":material/edit:",
        type="primary",
        on_click=st.query_params.from_dict,
        args=({"source": dataset_id},),
    )


@st.fragment(run_every=POLL_SECONDS)
def _watch(job_id: str) -> None:
    visit = current_visit()
    with errors_shown():
        job = harmonize.get_job(visit.console, visit.principal, job_id)
        if job.state.final:
            st.rerun()
        with st.container(border=True):
            badges.job_state(job)
            st.progress(job.progress, text=progress_words(job, visit.console.clock()))
            st.caption("It goes on if you close this page.")


def _cancel(job_id: str) -> None:
    visit = current_visit()
    with errors_shown():
        training.cancel_job(visit.console, visit.principal, job_id)
        keep_notice("The run is being cancelled. Nothing comes out of it.", ":material/stop_circle:")


def show_run(visit: Visit, run_id: str) -> None:
    """Harmonized rows in full. Raises NotFoundError."""
    run = harmonize.get_run(visit.console, visit.principal, run_id)
    version = mappings.find_version(visit.console, visit.principal, run.mapping_version_id)
    dataset = harmonize.source_of(visit.console, visit.principal, run)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        _back()
        _ways_on(visit, run, version)
    st.title(escape(f"{dataset.title}, harmonized", 120), anchor=False)
    _verdict(run, version)
    _figures(run)
    missing = unmapped_columns(run)
    if missing:
        names = ", ".join(escape(name, 60) for name in missing[:10]) + (" …" if len(missing) > 10 else "")
        st.caption(f":material/link_off: No rule names {len(missing)} columns: {names}")
    tabs = st.tabs(["Totals", "Findings", "Rows", "Compare", "Files"], on_change="rerun", key="run-tab")
    views: tuple[Callable[[], None], ...] = (
        lambda: _totals(run),
        lambda: _findings(run.report.get("findings") or ()),
        lambda: show_run_rows(visit, run),
        lambda: show_comparison(numbers_of(_conservation(run), version.mapping.currency)),
        lambda: _files(visit, run, version),
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
    wrong = [t for t in _conservation(run) if _amount(t.get("difference"))]
    errors = sum(1 for f in findings if f.get("severity") == "error")
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.badge(escape(version.label).replace("\\", ""), color="blue", icon=":material/schema:")
        if version.state is MappingState.ACTIVE:
            st.badge("In use", color="green", icon=":material/check_circle:")
        if wrong:
            st.badge(f"{len(wrong)} totals differ", color="red", icon=":material/error:")
        else:
            st.badge("Every total is kept", color="green", icon=":material/balance:")
        if errors:
            st.badge(f"{errors} errors found", color="red", icon=":material/error:")
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
    measures = _conservation(run)
    kept = sum(not _amount(t.get("difference")) for t in measures)
    figures(
        [
            Figure("Rows", numbers.count(run.rows_out), f"of {numbers.count(run.rows_in)} in the file"),
            Figure("Coverage", numbers.percent(run.coverage), "of the columns with values"),
            Figure("Totals kept", f"{kept} of {len(measures)}", "to the cent"),
            Figure("Findings", numbers.count(len(findings)), f"{loud} to look at"),
            Figure("Set apart", notes.split(" ")[0] if notes else "0", notes or "no row was lost"),
        ]
    )


def _totals(run: HarmonizedRun) -> None:
    found = _conservation(run)
    if not found:
        st.caption("This mapping gives no amounts that add up.")
        return
    st.caption("Each total is counted twice: from the text of the file, and from the harmonized rows.")
    anything_removed = any(_removed(t) for t in found)
    show_table(
        [
            {
                "target": str(t.get("target")),
                "source": str(t.get("source_field")),
                "means": qualifier_words(dict(t.get("qualifiers") or {})),
                "input": amount_words(t.get("input_total")),
                "removed": _removed(t),
                "output": amount_words(t.get("output_total")),
                "difference": amount_words(t.get("difference")),
                "rows": t.get("rows"),
                "kept": "apart" if t.get("apart") else "headline",
            }
            for t in found
        ],
        [column for column in TOTAL_COLUMNS if anything_removed or column.field != "removed"],
        key="run-totals",
        alt="Totals in the file and harmonized",
        file_name="totals.csv",
    )
    if any(not t.get("exact", True) for t in found):
        st.caption("Where the factor is a column, the difference is rounded to millionths.")


def amount_words(value: Any) -> str:
    """An exact amount with thousands separators and every digit."""
    try:
        return f"{Decimal(str(value)):,f}"
    except (InvalidOperation, ValueError):
        return plain(str(value), 60)


def _removed(total: Mapping[str, Any]) -> str:
    parts = [
        amount_words(total.get(n)) for n in ("duplicates_total", "rejected_total") if _amount(total.get(n))
    ]
    return " + ".join(parts)


def _findings(found: Sequence[Mapping[str, Any]]) -> None:
    if not found:
        st.success("Nothing suspicious was found.", icon=":material/check_circle:")
    for finding in found:
        word, color, icon = _SEVERITY.get(str(finding.get("severity")), _SEVERITY["note"])
        with st.container(border=True, gap="xsmall"):
            with st.container(horizontal=True, vertical_alignment="center"):
                st.badge(word, color=color, icon=icon)
                st.caption(f"`{plain(str(finding.get('rule')), 60).replace('`', '')}`", width="content")
                rows = finding.get("rows")
                if rows:
                    st.caption(f"{numbers.count(int(rows))} rows", width="content")
            st.markdown(f"**{escape(str(finding.get('sentence')), 600)}**")
            lines = [str(line) for line in finding.get("lines") or ()]
            if lines:
                st.caption(f"Lines {', '.join(lines)}{' …' if int(rows or 0) > len(lines) else ''}")
            if finding.get("next_step"):
                st.caption(f"Next: {escape(str(finding['next_step']), 400)}")


def _files(visit: Visit, run: HarmonizedRun, version: MappingVersion) -> None:
    st.caption("Texts that a spreadsheet would take for a formula get an apostrophe in CSV.")
    with st.container(horizontal=True):
        _download(
            visit, run, RunPart.ROWS, f"Harmonized rows, {_format(run)}, {numbers.size(run.size_bytes)}"
        )
        for part, name, words in (
            (RunPart.REJECTED, "rejected_path", "Values that did not fit"),
            (RunPart.OTHER_WINDOWS, "apart_path", "Other windows and splits"),
        ):
            if run.report.get(name):
                _download(visit, run, part, words)
        st.download_button(
            "Harmonized rows, CSV",
            data=lambda: _csv(visit, run),
            file_name=f"{_stem(run)}.csv",
            mime="text/csv",
            key="run-csv",
            icon=":material/download:",
            on_click="ignore",
            disabled=run.rows_out > MOST_CSV_ROWS,
            help=f"At most {numbers.count(MOST_CSV_ROWS)} rows here; more by the command line.",
        )
        _adcp(visit, run, version)
    fact_list(
        {
            "Mapping": run.mapping_label,
            "Digest of the rules": run.mapping_digest,
            "Digest of the file": run.dataset_digest,
            "Digest of the rows": run.digest,
            "Written": numbers.moment(run.created_at),
        },
        alt="What these rows were made of",
    )


def _csv(visit: Visit, run: HarmonizedRun) -> bytes:
    with TemporaryDirectory(prefix="rmn-csv-") as work:
        return write_csv(run_rows(visit, run), Path(work) / "rows.csv").read_bytes()


def _adcp(visit: Visit, run: HarmonizedRun, version: MappingVersion) -> None:
    """AdCP is made when it is asked for: rows that cannot be said in it are refused with the reason."""
    key = f"_adcp_{run.id}"
    if st.button("Make AdCP JSON", key="run-adcp", icon=":material/data_object:"):
        with st.spinner("Adding up"):
            card = version.mapping.card()
            qualifiers = dict(run.report.get("qualifiers") or {})
            told = to_adcp(run_rows(visit, run), card, qualifiers=qualifiers)
        st.session_state[key] = json.dumps(told, ensure_ascii=False, indent=1).encode()
    if key in st.session_state:
        st.download_button(
            "AdCP delivery metrics, JSON",
            data=st.session_state[key],
            file_name=f"{_stem(run)}.adcp.json",
            mime="application/json",
            key="run-adcp-file",
            icon=":material/download:",
            on_click="ignore",
        )


def _download(visit: Visit, run: HarmonizedRun, part: RunPart, label: str) -> None:
    try:
        path = harmonize.run_file(visit.console, visit.principal, run.id, part)
    except RmnError as error:
        error_box(error)
        return
    if path.stat().st_size > MOST_DOWNLOADED:
        st.caption(f"{label}: too large for the browser; it lies in the folder of harmonized files.")
        return
    st.download_button(
        label,
        data=path.read_bytes,
        file_name=f"{_stem(run)}.{part}{path.suffix}"
        if part is not RunPart.ROWS
        else f"{_stem(run)}{path.suffix}",
        key=f"run-{part}",
        icon=":material/download:",
        on_click="ignore",
    )


def _format(run: HarmonizedRun) -> str:
    return "Parquet" if run.path.endswith(".parquet") else "CSV"


def _stem(run: HarmonizedRun) -> str:
    name = run.mapping_label.replace("@", "-v")
    return "".join(sign if sign.isalnum() or sign in "._-" else "-" for sign in name)[:80]


def _conservation(run: HarmonizedRun) -> list[Mapping[str, Any]]:
    return list(run.report.get("conservation") or ())


def _amount(value: Any) -> bool:
    """Whether it is an amount other than zero; what is no number counts as one, so that it is looked at."""
    if value in (None, ""):
        return False
    try:
        return bool(Decimal(str(value)))
    except InvalidOperation:
        return True


def _back() -> None:
    st.button(
        "All mappings",
        type="tertiary",
        icon=":material/arrow_back:",
        key="mapping-all",
        on_click=st.query_params.clear,
    )
