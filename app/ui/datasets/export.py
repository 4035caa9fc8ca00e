"""The export dialog: a set in the layout and file format that another trainer loads."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import streamlit as st

from app.actions import datasets
from app.ui import numbers
from app.ui.datasets.dialogs import MADE, close_dialog, dialog_button
from app.ui.datasets.read import examinable
from app.ui.frame import errors_shown
from app.ui.visit import Visit
from core.datasets.exports import LAYOUTS_OF, ExportFormat, ExportLayout
from core.datasets.records import Dataset, DatasetKind, Example, Judgement, Preference

ROWS_OF = {DatasetKind.SFT: Example, DatasetKind.DPO: Preference, DatasetKind.KTO: Judgement}
_LAYOUTS = {
    ExportLayout.PROMPT_COMPLETION: "Prompt and completion (TRL)",
    ExportLayout.MESSAGES: "Messages (TRL, OpenAI, Axolotl)",
    ExportLayout.ALPACA: "Alpaca (LLaMA-Factory, Axolotl)",
    ExportLayout.SHAREGPT: "ShareGPT (LLaMA-Factory, Axolotl)",
    ExportLayout.PREFERENCES: "Prompt, chosen and rejected (TRL, DPO)",
    ExportLayout.PREFERENCE_MESSAGES: "Chosen and rejected as messages (TRL, DPO)",
    ExportLayout.LABELS: "Answers with a label (TRL, KTO)",
}
_FORMATS = {
    ExportFormat.JSONL: "JSON lines",
    ExportFormat.JSON: "JSON",
    ExportFormat.CSV: "CSV, safe to open in a spreadsheet",
    ExportFormat.PARQUET: "Parquet",
}


def offer_export(visit: Visit, dataset: Dataset) -> None:
    """The button, and the dialog while it is open."""
    if dialog_button("Export", "export", dataset, icon=":material/download:"):
        _dialog(visit, dataset)


@st.dialog("Export this set", on_dismiss=close_dialog)
def _dialog(visit: Visit, dataset: Dataset) -> None:
    st.caption("All rows of this version, with their splits. Nothing is made up that they do not say.")
    layout, file_format = _choices(dataset)
    asked = (dataset.id, layout, file_format)
    made = st.session_state.get(MADE)
    if made is None or made[0] != asked:
        if not st.button("Prepare the file", key="export-make", icon=":material/build:"):
            return
        with errors_shown(), st.spinner("Writing the file"):
            made = (asked, *_write(visit, dataset, layout, file_format))
            st.session_state[MADE] = made
        if made is None or made[0] != asked:
            return
    _, content, name = made
    st.download_button(
        f"Download {numbers.size(len(content))}",
        content,
        file_name=name,
        mime="application/octet-stream",
        key="export-file",
        type="primary",
        icon=":material/download:",
        on_click="ignore",
    )


def _choices(dataset: Dataset) -> tuple[ExportLayout | None, ExportFormat]:
    """Layout and format; no layout is the file as it lies there."""
    if not examinable(dataset):
        st.caption("Raw files and reference data leave as they came.")
        return None, ExportFormat.JSONL
    offered: list[ExportLayout | None] = [*LAYOUTS_OF[ROWS_OF[dataset.kind]], None]
    layout = st.selectbox(
        "Layout",
        offered,
        format_func=lambda each: "The file as it is" if each is None else _LAYOUTS[each],
        key="export-layout",
    )
    if layout is None:
        return None, ExportFormat.JSONL
    formats = list(ExportFormat)
    file_format = st.selectbox(
        "File format", formats, format_func=lambda each: _FORMATS[each], key="export-format"
    )
    return layout, file_format


def _write(
    visit: Visit, dataset: Dataset, layout: ExportLayout | None, file_format: ExportFormat
) -> tuple[bytes, str]:
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", dataset.name).strip("-.") or "dataset"
    with TemporaryDirectory(prefix="rmn-export-") as folder:
        if layout is None:
            made = datasets.export_dataset(visit.console, visit.principal, dataset.id, Path(folder))
            return (
                made.read_bytes(),
                f"{stem}{''.join(made.suffixes[-2:]) if made.suffix == '.gz' else made.suffix}",
            )
        target = Path(folder) / f"{stem}.{layout}.{file_format}"
        made = datasets.export_as(visit.console, visit.principal, dataset.id, layout, file_format, target)
        return made.read_bytes(), target.name
