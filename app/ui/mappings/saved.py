"""A saved mapping in full: its rules, its versions and what changed, what it made."""

from collections.abc import Mapping, Sequence

import streamlit as st

from app.actions import datasets, harmonize, mappings
from app.ui import numbers
from app.ui.badges import Color
from app.ui.frame import Figure, errors_shown, fact_list, figures, keep_notice
from app.ui.mappings.list import back_to_list
from app.ui.mappings.new import start_from_version
from app.ui.mappings.words import qualifier_words, rule_words, transform_words
from app.ui.tables import Column, show_table
from app.ui.text import escape, plain
from app.ui.visit import Visit, current_visit
from core.datasets.records import DatasetKind
from core.harmonize.mapping_files import mapping_text
from core.harmonize.records import Headline, MappingState
from core.harmonize.saved import HarmonizedRun, MappingVersion
from core.tenants.records import Permission

_STATE: dict[MappingState, tuple[str, Color, str]] = {
    MappingState.ACTIVE: ("In use", "green", ":material/check_circle:"),
    MappingState.DRAFT: ("Draft", "gray", ":material/edit_note:"),
    MappingState.RETIRED: ("Retired", "gray", ":material/history:"),
}
RULE_COLUMNS = (
    Column("column", "Column of the file"),
    Column("becomes", "Becomes"),
    Column("by", "By"),
    Column("means", "Qualifiers"),
)
RUN_COLUMNS = (
    Column("mapping", "Mapping"),
    Column("rows_in", "Rows in", "number"),
    Column("rows_out", "Rows out", "number"),
    Column("coverage", "Coverage", "progress"),
    Column("by", "By"),
    Column("created", "When, UTC", "time"),
)


def show_mapping(visit: Visit, mapping_id: str) -> None:
    """A mapping in full. Raises NotFoundError."""
    back_to_list()
    saved = mappings.get_mapping(visit.console, visit.principal, mapping_id)
    versions = mappings.list_versions(visit.console, visit.principal, mapping_id)
    runs = harmonize.list_runs(visit.console, visit.principal, mapping_id=mapping_id)
    used = next((v for v in versions if v.state is MappingState.ACTIVE), versions[0])
    st.title(escape(saved.name), anchor=False)
    st.caption(
        " · ".join(escape(p, 80) for p in (saved.retailer, saved.network, saved.report) if p)
        or "No source card"
    )
    left_out = sum(rule.dropped for rule in used.mapping.rules)
    figures(
        [
            Figure(
                "In use",
                f"v{saved.active_version}" if saved.active_version else "none",
                f"of {len(versions)} versions",
            ),
            Figure("Rules", numbers.count(len(used.mapping.rules)), f"{left_out} leave a column out"),
            Figure("Coverage", numbers.percent(saved.coverage), _run_note(visit, runs)),
        ]
    )
    if visit.principal.may(Permission.TRAIN):
        _edit_with(visit, used, runs)
    rules, history, made = st.tabs(["Rules", "Versions", "Runs"], on_change="rerun", key="mapping-tab")
    if rules.open:
        with rules:
            _rules(used)
    if history.open:
        with history:
            _versions(visit, versions)
    if made.open:
        with made:
            _runs(runs)


def _run_note(visit: Visit, runs: Sequence[HarmonizedRun]) -> str:
    return f"used {numbers.ago(runs[0].created_at, visit.console.clock())}" if runs else "not used yet"


def _edit_with(visit: Visit, version: MappingVersion, runs: Sequence[HarmonizedRun]) -> None:
    known = datasets.list_datasets(visit.console, visit.principal, kind=DatasetKind.EVENTS)
    last = runs[0].dataset_id if runs else None
    places = [dataset.id for dataset in known]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            "File to edit or run it with",
            known,
            index=places.index(last) if last in places else None,
            format_func=lambda d: plain(d.title, 60),
            placeholder="Choose a raw export",
            key="mapping-edit-file",
            width=360,
        )
        if (
            st.button(
                "Open in the editor", key="mapping-edit", icon=":material/edit:", disabled=chosen is None
            )
            and chosen is not None
        ):
            with errors_shown():
                start_from_version(visit, chosen, version)


def _rules(version: MappingVersion) -> None:
    mapping = version.mapping
    show_table(
        [
            {
                "column": rule.source_field,
                "becomes": rule.target or "",
                "by": transform_words(rule.transform),
                "means": qualifier_words(rule.qualifiers),
            }
            for rule in mapping.rules
        ],
        RULE_COLUMNS,
        key=f"rules-{version.id}",
        alt=f"Rules of {version.label}",
        file_name="rules.csv",
        height=min(560, 35 * (len(mapping.rules) + 1) + 3),
    )
    with st.expander("Source card", icon=":material/badge:"):
        fact_list(
            {
                "Time zone of the account": mapping.account_timezone,
                "Currency": mapping.currency or "a column says it",
                "Headline": headline_words(mapping.headline),
                "Digest (SHA-256)": version.digest,
            },
            alt="Source card",
        )


def headline_words(headline: Headline) -> str:
    """What fills the outcome columns, in words."""
    if not headline:
        return "the rule of the house: the total, then the longest window that all have"
    if isinstance(headline, dict):
        return qualifier_words(headline)
    return headline if isinstance(headline, str) else ", ".join(headline)


def _versions(visit: Visit, versions: Sequence[MappingVersion]) -> None:
    for place, version in enumerate(versions):
        older = versions[place + 1] if place + 1 < len(versions) else None
        with st.container(border=True):
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f"**v{version.version}**", width="content")
                word, color, icon = _STATE[version.state]
                st.badge(word, color=color, icon=icon)
                when = numbers.ago(version.created_at, visit.console.clock())
                st.caption(f"{escape(version.author)}, {when} · {escape(version.note, 160)}", width="stretch")
            with st.container(horizontal=True):
                if version.state is not MappingState.ACTIVE and visit.principal.may(Permission.TRAIN):
                    st.button(
                        "Put into use",
                        key=f"activate-{version.id}",
                        icon=":material/check:",
                        on_click=activate,
                        args=(version.mapping_id, version.version),
                    )
                _downloads(version)
            if older is not None:
                with st.expander(f"What changed since v{older.version}", icon=":material/difference:"):
                    _difference(visit, version, older)


def _downloads(version: MappingVersion) -> None:
    name = "".join(sign if sign.isalnum() or sign in "._-" else "-" for sign in version.label)[:80]
    for kind, mime in (("yaml", "application/yaml"), ("json", "application/json")):
        st.download_button(
            kind.upper(),
            data=mapping_text(version.mapping, "json" if kind == "json" else "yaml").encode(),
            file_name=f"{name}.{kind}",
            mime=mime,
            key=f"download-{kind}-{version.id}",
            icon=":material/download:",
            on_click="ignore",
        )


def _difference(visit: Visit, new: MappingVersion, old: MappingVersion) -> None:
    changes = mappings.compare_versions(
        visit.console, visit.principal, new.mapping_id, old.version, new.version
    )
    if not changes and _card_facts(old) == _card_facts(new):
        st.caption("No rule differs.")
    for name, before in _card_facts(old).items():
        after = _card_facts(new)[name]
        if before != after:
            st.caption(f"{name}: {escape(before, 200)} → {escape(after, 200)}")
    if changes:
        table: Mapping[str, list[str]] = {
            "Column": [escape(change.source_field) for change in changes],
            f"v{old.version}": [escape(rule_words(change.before), 200) for change in changes],
            f"v{new.version}": [escape(rule_words(change.after), 200) for change in changes],
        }
        st.table(table, border="horizontal", hide_index=True, alt="Rules before and after")


def _card_facts(version: MappingVersion) -> dict[str, str]:
    mapping = version.mapping
    return {
        "Retailer": mapping.retailer,
        "Network": mapping.network,
        "Report": mapping.report,
        "Time zone": mapping.account_timezone,
        "Currency": mapping.currency or "",
        "Headline": headline_words(mapping.headline),
    }


def _runs(runs: Sequence[HarmonizedRun]) -> None:
    if not runs:
        st.caption("Nothing was harmonized with this mapping yet.")
        return
    rows = [
        {
            "mapping": run.mapping_label,
            "rows_in": run.rows_in,
            "rows_out": run.rows_out,
            "coverage": run.coverage,
            "by": run.created_by,
            "created": run.created_at,
        }
        for run in runs
    ]
    show_table(rows, RUN_COLUMNS, key="mapping-runs", alt="Runs of this mapping", file_name="runs.csv")
    for run in runs[:5]:
        st.button(
            f"Open the run of {numbers.moment(run.created_at)}",
            key=f"run-{run.id}",
            icon=":material/arrow_forward:",
            on_click=_open_run,
            args=(run.id,),
        )


def _open_run(run_id: str) -> None:
    st.query_params.from_dict({"run": run_id})


def activate(mapping_id: str, number: int) -> None:
    """Put a version into use; the one that was is retired and stays."""
    visit = current_visit()
    with errors_shown():
        version = mappings.activate_mapping(visit.console, visit.principal, mapping_id, number)
        keep_notice(f"{version.label} is in use.")
