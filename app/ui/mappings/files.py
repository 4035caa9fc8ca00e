"""What can be taken away from a run: its files, and what is written when it is asked for."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import streamlit as st

from app.actions import harmonize
from app.actions import run_rows as run_tables
from app.actions.harmonize import RunPart
from app.ui import numbers
from app.ui.frame import error_box, fact_list
from app.ui.mappings.postgres import postgres_button
from app.ui.visit import Visit
from core.errors import RmnError
from core.harmonize.export_adcp import to_adcp
from core.harmonize.exports import write_csv
from core.harmonize.saved import HarmonizedRun, MappingVersion
from core.tenants.records import Permission

MOST_CSV_ROWS = 200_000
MOST_DOWNLOADED = 512 << 20
MOST_DUCKDB = 128 << 20


def show_files(visit: Visit, run: HarmonizedRun, version: MappingVersion) -> None:
    """Buttons for every form in which the rows can be had, and what they were made of."""
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
        _duckdb(visit, run)
        _adcp(visit, run, version)
        if visit.principal.may(Permission.TRAIN):
            postgres_button(visit, run)
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
        return write_csv(
            run_tables.run_rows(visit.console, visit.principal, run), Path(work) / "rows.csv"
        ).read_bytes()


def _duckdb(visit: Visit, run: HarmonizedRun) -> None:
    st.download_button(
        "Harmonized rows, DuckDB",
        data=lambda: _duckdb_bytes(visit, run),
        file_name=f"{_stem(run)}.duckdb",
        key="run-duckdb",
        icon=":material/download:",
        on_click="ignore",
        disabled=run.size_bytes > MOST_DUCKDB,
        help=f"One table, {run_tables.DUCKDB_TABLE}. Written when you click; from rows of at most "
        f"{numbers.size(MOST_DUCKDB)}.",
    )


def _duckdb_bytes(visit: Visit, run: HarmonizedRun) -> bytes:
    with TemporaryDirectory(prefix="rmn-duckdb-") as work:
        made = run_tables.write_duckdb_file(
            visit.console, visit.principal, run, Path(work) / f"{_stem(run)}.duckdb"
        )
        return made.read_bytes()


def _adcp(visit: Visit, run: HarmonizedRun, version: MappingVersion) -> None:
    """AdCP is made when it is asked for: rows that cannot be said in it are refused with the reason."""
    key = f"_adcp_{run.id}"
    if st.button("Make AdCP JSON", key="run-adcp", icon=":material/data_object:"):
        with st.spinner("Adding up"):
            card = version.mapping.card()
            qualifiers = dict(run.report.get("qualifiers") or {})
            told = to_adcp(
                run_tables.run_rows(visit.console, visit.principal, run), card, qualifiers=qualifiers
            )
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
