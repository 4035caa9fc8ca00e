"""An adapter on screen: its card in the list; in full with proof, lineage, manifest, export, archive."""

import json
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from app.actions import adapters, compositions, datasets
from app.ui import badges, numbers
from app.ui.compose.swap import confirm_swap
from app.ui.frame import Figure, errors_shown, fact_list, figures, keep_notice
from app.ui.outcome import loss_change, read_evaluation, score_words, show_evaluation
from app.ui.screens import DATASETS, FEDERATION, JOBS, go_to, show_item
from app.ui.tables import Column
from app.ui.text import escape, show_text
from app.ui.visit import Visit, current_visit
from core.compose.swap_records import ServedKind
from core.registry.records import Adapter, AdapterState
from core.tenants.records import Permission

ADAPTER_COLUMNS = (
    Column("name", "Name"),
    Column("version", "Version", "number"),
    Column("type", "Type"),
    Column("state", "State"),
    Column("source", "Source"),
    Column("base", "Base, exact match", "percent"),
    Column("adapter", "Adapter, exact match", "percent"),
    Column(
        "loss_change", "Loss change, nats", "number", "Adapter minus base, per token of held-out answers."
    ),
    Column("n", "n", "number"),
    Column("size", "Size", "size"),
    Column("simulated", "Simulated"),
    Column("created", "Made, UTC", "time"),
    Column("digest", "Digest"),
)


def adapter_row(adapter: Adapter) -> dict[str, object]:
    """An adapter as a row of the table."""
    evaluation = read_evaluation(adapter.manifest.evaluation)
    score = evaluation.headline if evaluation else None
    return {
        "name": adapter.name,
        "version": adapter.version,
        "type": adapter.type.value,
        "state": adapter.state.value,
        "source": badges.source_word(adapter.source),
        "base": score.base_exact_match.value if score else None,
        "adapter": score.adapter_exact_match.value if score else None,
        "loss_change": loss_change(evaluation),
        "n": score.n if score else None,
        "size": adapter.size_bytes,
        "simulated": "yes" if adapter.simulated else "no",
        "created": adapter.created_at,
        "digest": numbers.short_digest(adapter.digest),
    }


def adapter_card(adapter: Adapter) -> None:
    """An adapter in the list: what it is, how good it is, and the ways on."""
    evaluation = read_evaluation(adapter.manifest.evaluation)
    with st.container(border=True, height="stretch"):
        st.markdown(f"**{escape(adapter.label)}**")
        _badges(adapter)
        if evaluation is None:
            st.caption("Not evaluated: it came without test rows.")
        else:
            st.caption(score_words(evaluation))
        st.caption(
            f"{numbers.size(adapter.size_bytes)} · {numbers.short_count(adapter.parameters)} parameters · "
            f"rank {adapter.rank} · {numbers.short_digest(adapter.digest)}"
        )
        st.space("stretch")
        with st.container(horizontal=True):
            if adapter.state is AdapterState.ACTIVE and st.button(
                "Compose", key=f"compose-{adapter.id}", icon=":material/stacks:"
            ):
                go_to(FEDERATION, adapter=adapter.id)
            st.button(
                "Details", key=f"details-{adapter.id}", on_click=show_item, args=("adapter", adapter.id)
            )


def show_adapter(visit: Visit, adapter_id: str) -> None:
    """An adapter in full. Raises NotFoundError."""
    st.button(
        "All adapters",
        type="tertiary",
        icon=":material/arrow_back:",
        on_click=show_item,
        args=("adapter", None),
    )
    adapter = adapters.get_adapter(visit.console, visit.principal, adapter_id)
    st.title(escape(adapter.label), anchor=False)
    st.caption(
        f"For the base {escape(adapter.base_name)} · digest {numbers.short_digest(adapter.digest)} · "
        f"made {numbers.moment(adapter.created_at)}"
    )
    _badges(adapter)
    if adapter.state is AdapterState.QUARANTINED:
        st.error("Its bytes changed on disk after it was registered. It is kept, and refused everywhere.")
    figures(
        [
            Figure("Size", numbers.size(adapter.size_bytes), "weights in safetensors"),
            Figure("Parameters", numbers.short_count(adapter.parameters), f"rank {adapter.rank}"),
            Figure(
                "Made",
                numbers.ago(adapter.created_at, visit.console.clock()),
                badges.source_word(adapter.source).lower(),
            ),
        ]
    )
    _actions(visit, adapter)
    proof, lineage, manifest = st.tabs(["Proof", "Lineage", "Manifest"])
    with proof:
        evaluation = read_evaluation(adapter.manifest.evaluation)
        if evaluation is None:
            st.caption("This adapter carries no evaluation.")
        else:
            show_evaluation(evaluation, key=adapter.id)
    with lineage:
        _lineage(visit, adapter)
    with manifest:
        st.caption("The file that travels with the weights.")
        content = adapter.manifest.model_dump(mode="json", exclude={"evaluation"})
        show_text(json.dumps(content, indent=2, ensure_ascii=False))


def _badges(adapter: Adapter) -> None:
    with st.container(horizontal=True, gap="xsmall"):
        badges.adapter_type(adapter.type)
        badges.adapter_source(adapter.source)
        if adapter.state is not AdapterState.ACTIVE:
            badges.adapter_state(adapter.state)
        badges.simulated(adapter.simulated)


def _actions(visit: Visit, adapter: Adapter) -> None:
    with st.container(horizontal=True):
        if adapter.state is AdapterState.ACTIVE and st.button(
            "Ask it in the composer", key="compose-this", type="primary", icon=":material/stacks:"
        ):
            go_to(FEDERATION, adapter=adapter.id)
        if adapter.state is not AdapterState.QUARANTINED:
            st.download_button(
                "Export",
                data=lambda: _exported(visit, adapter.id),
                file_name=f"{adapter.name}-v{adapter.version}.zip",
                mime="application/zip",
                icon=":material/download:",
                on_click="ignore",
                key="export-this",
            )
        if visit.principal.may(Permission.TRAIN):
            if adapter.state is AdapterState.ACTIVE:
                _serve_button(visit, adapter)
            if adapter.state is AdapterState.ACTIVE and st.button(
                "Archive", key="archive-this", icon=":material/archive:"
            ):
                _confirm_archive(adapter.id, adapter.label)
            if adapter.state is AdapterState.ARCHIVED and st.button(
                "Restore", key="restore-this", icon=":material/unarchive:"
            ):
                with errors_shown():
                    adapters.restore_adapter(visit.console, visit.principal, adapter.id)
                    st.rerun()


def _serve_button(visit: Visit, adapter: Adapter) -> None:
    """For a version that its name does not mean: the way to a hot swap."""
    kind = ServedKind.ADAPTER
    serving = compositions.serving_version(visit.console, visit.principal, kind, adapter.name)
    if serving != adapter.version and st.button(
        "Make this version serve", key="serve-this", icon=":material/swap_horiz:"
    ):
        confirm_swap(kind, adapter.name, adapter.version, serving)


def _exported(visit: Visit, adapter_id: str) -> bytes:
    return Path(adapters.export_adapter(visit.console, visit.principal, adapter_id)).read_bytes()


def _lineage(visit: Visit, adapter: Adapter) -> None:
    """From the dataset to this adapter and on, each with its digest and, where it is here, a way to it."""
    line = adapters.lineage(visit.console, visit.principal, adapter.id)
    with st.grid(3, min_column_width=220):
        with st.container(border=True, height="stretch"):
            st.markdown(":material/database: **Learned from**")
            _dataset(visit, adapter)
        with st.container(border=True, height="stretch"):
            st.markdown(":material/model_training: **Made by**")
            _maker(adapter)
        with st.container(border=True, height="stretch"):
            st.markdown(":material/layers: **Became**")
            st.text(adapter.label)
            st.caption(f"digest {numbers.short_digest(adapter.digest)}")
            _links("On top of", line.parents)
            _links("Built on it", line.children)
    others = [other for other in line.versions if other.id != adapter.id]
    if others:
        st.caption("Other versions")
        with st.container(horizontal=True):
            for other in others:
                _link(other)
    if line.missing_parents:
        short = ", ".join(map(numbers.short_digest, line.missing_parents))
        st.caption(f"Parents that are not in this workspace: {escape(short, None)}")
    facts = {
        "Digest": adapter.digest,
        "Base digest": adapter.base_digest,
        "Made": numbers.moment(adapter.created_at),
        "Target layers": ", ".join(adapter.manifest.target_modules),
        **{f"Version of {name}": version for name, version in adapter.manifest.versions.items()},
    }
    fact_list(facts, alt="Facts about this adapter")


def _dataset(visit: Visit, adapter: Adapter) -> None:
    if adapter.dataset_digest is None:
        st.caption("Its manifest names no dataset.")
        return
    st.text(adapter.manifest.dataset_name or "unnamed")
    st.caption(f"digest {numbers.short_digest(adapter.dataset_digest)}")
    known = datasets.list_datasets(visit.console, visit.principal)
    found = next((dataset for dataset in known if dataset.digest == adapter.dataset_digest), None)
    if found is not None and st.button("Open the dataset", key="lineage-dataset"):
        go_to(DATASETS, dataset=found.id)


def _maker(adapter: Adapter) -> None:
    told = adapter.manifest.training or {}
    parts = [
        f"{words} {show(told[name])}".strip()
        for name, words, show in (
            ("steps", "steps", numbers.count),
            ("seconds", "in", numbers.duration),
            ("tokens", "tokens", numbers.short_count),
            ("final_loss", "final loss", "{:.4g}".format),
        )
        if isinstance(told.get(name), int | float)
    ]
    st.text(badges.source_word(adapter.source))
    if parts:
        st.caption(escape(" · ".join(parts)))
    if adapter.job_id is not None and st.button("Open the job", key="lineage-job"):
        go_to(JOBS, job=adapter.job_id)


def _links(title: str, others: Sequence[Adapter]) -> None:
    if others:
        st.caption(title)
        for other in others:
            _link(other)


def _link(other: Adapter) -> None:
    st.button(
        escape(other.label),
        key=f"to-{other.id}",
        type="tertiary",
        on_click=show_item,
        args=("adapter", other.id),
    )


@st.dialog("Archive this adapter?", icon=":material/archive:")
def _confirm_archive(adapter_id: str, label: str) -> None:
    st.markdown(
        f"**{escape(label)}** is no longer offered, and compositions that name it stop answering. "
        "Its files stay; you can restore it."
    )
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Keep it", key="archive-no"):
            st.rerun()
        if st.button("Archive it", key="archive-yes", type="primary"):
            visit = current_visit()
            with errors_shown():
                adapters.archive_adapter(visit.console, visit.principal, adapter_id)
                keep_notice(f"{label} was archived.", ":material/archive:")
                st.rerun()
