"""A saved federation as files: what each method does, what it loses, and then the download."""

import io
import zipfile
from pathlib import Path

import streamlit as st

from app.actions import exports
from app.ui import numbers
from app.ui.frame import Figure, errors_shown, figures
from app.ui.tables import Column, show_table
from app.ui.text import escape, plain
from app.ui.visit import current_visit
from core.compose.export import DENSITIES, Exported, ExportMethod
from core.storage.ids import new_id

WORDS = {
    ExportMethod.CAT: "One adapter that is exactly this composition. Its rank is the sum of all ranks.",
    ExportMethod.COMPRESS: "One adapter of the rank that you allow: the best there is. What is lost is shown below.",
    ExportMethod.TIES: "Small changes are dropped and signs are settled by majority (TIES, on ΔW). Not this composition, "
    "but a merge of its adapters.",
    ExportMethod.DARE: "Changes are dropped at random and the rest is scaled up (DARE, on ΔW). Another seed, another "
    "adapter.",
    ExportMethod.MAGNITUDE_PRUNE: "Only the largest changes are kept.",
    ExportMethod.MERGED: "A whole model in float32 with the composition in its weights. It stays on the server.",
}
DONE_KEY = "_exported"
_LAYERS = (Column("layer", "Layer"), Column("residual", "Residual, Frobenius norm", "number"))


@st.dialog("Export", icon=":material/download:", width="large")
def export_dialog(name: str) -> None:
    """Choose a method, write it, look at the residual, download it. `name` is «federation@version»."""
    show_export(name)


def show_export(name: str) -> None:
    """What the dialog holds."""
    visit = current_visit()
    st.caption(f"Of {escape(name)}")
    method = ExportMethod(
        st.segmented_control(
            "Method",
            list(ExportMethod),
            default=ExportMethod.CAT,
            required=True,
            wrap=True,
            format_func=lambda m: m.replace("_", " "),
            key="export-method",
        )
    )
    st.caption(WORDS[method])
    rank, density, seed = _settings(method)
    if st.button("Write it", key="export-write", type="primary", icon=":material/save:"):
        with errors_shown(), st.spinner("Writing"):
            out = visit.console.settings.home / "exports" / visit.principal.tenant_id / new_id("exp")
            made = exports.export_federation(
                visit.console,
                visit.principal,
                name,
                method=method,
                out=out,
                rank=rank,
                density=density,
                seed=seed,
            )
            st.session_state[DONE_KEY] = (name, made)
    done: tuple[str, Exported] | None = st.session_state.get(DONE_KEY)
    if done is not None and done[0] == name and done[1].method is method:
        _show_made(name, done[1])


def _settings(method: ExportMethod) -> tuple[int | None, float | None, int]:
    rank, density, seed = None, None, 0
    with st.container(horizontal=True):
        if method is ExportMethod.COMPRESS:
            rank = int(st.number_input("Rank", 1, 1024, 8, key="export-rank"))
        if method in DENSITIES:
            density = st.number_input(
                "Share that is kept", 0.01, 1.0, DENSITIES[method], 0.05, key=f"export-density-{method}"
            )
        if method is ExportMethod.DARE:
            seed = int(st.number_input("Seed", 0, 2**31 - 1, 0, key="export-seed"))
    return rank, density, seed


def _show_made(name: str, made: Exported) -> None:
    """The residual comes before the download."""
    lost = numbers.percent(made.lost_share) if made.residual else "nothing"
    figures(
        [
            Figure("Lost", lost, f"residual {made.residual:.3g} of {made.norm:.3g}, Frobenius norms"),
            Figure("Rank", str(made.rank or "whole model"), made.method.replace("_", " ")),
            Figure("Size", numbers.size(made.size_bytes), f"digest {numbers.short_digest(made.digest)}"),
        ]
    )
    if made.residual:
        with st.expander("By layer", icon=":material/table_rows:"):
            rows = [{"layer": layer, "residual": r} for layer, r in made.residual_by_layer.items()]
            show_table(rows, _LAYERS, key="export-layers", alt="Residual by layer", file_name="residuals.csv")
    if made.kind == "model":
        st.caption("The model is too large to pass through a browser. It lies on the server in:")
        st.code(plain(str(made.folder)), language=None, wrap_lines=True)
        return
    st.download_button(
        "Download the adapter",
        data=lambda: zipped(made.folder),
        file_name=f"{_file_name(name)}-{made.method}.zip",
        mime="application/zip",
        icon=":material/download:",
        on_click="ignore",
        key="export-download",
    )
    st.caption("A folder as PEFT writes it: adapter_config.json, adapter_model.safetensors, and export.json.")


def zipped(folder: Path) -> bytes:
    """The files of a folder as a zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for file in sorted(folder.iterdir()):
            if file.is_file():
                archive.write(file, file.name)
    return out.getvalue()


def _file_name(name: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in name)
