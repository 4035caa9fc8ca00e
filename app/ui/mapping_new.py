"""The way to a mapping: a raw file, what the file itself does not say, a proposal, the editor, check and harmonize."""

import re
from collections.abc import Sequence
from pathlib import PurePath
from zoneinfo import available_timezones

import streamlit as st

from app.actions import datasets, harmonize, mappings
from app.ui import numbers
from app.ui.frame import errors_shown, page_head
from app.ui.mapping_draft import MappingDraft, draft_of_mapping, draft_of_suggestions
from app.ui.mapping_editor import show_editor
from app.ui.mapping_keep import forget, keep, kept_draft
from app.ui.mapping_read import sampled
from app.ui.screens import MAPPINGS, go_to
from app.ui.text import escape, plain
from app.ui.visit import Visit
from core.datasets import raw
from core.datasets.records import Dataset, DatasetKind
from core.harmonize.documents import parse_documents
from core.harmonize.propose import propose_rules
from core.harmonize.records import Headline, Qualifier, SourceCard
from core.harmonize.saved import MappingVersion
from core.harmonize.suggest.builtin import load_builtins, recognise

READABLE = ["csv", "tsv", "txt", "json", "jsonl", "ndjson", "parquet", "xlsx", "gz"]
CURRENCIES = [
    "USD",
    "EUR",
    "GBP",
    "CAD",
    "MXN",
    "BRL",
    "PLN",
    "CZK",
    "SEK",
    "NOK",
    "DKK",
    "CHF",
    "HUF",
    "RON",
    "TRY",
    "INR",
    "JPY",
    "AUD",
    "NZD",
    "SGD",
    "ZAR",
    "AED",
    "SAR",
]
_HEADLINE_DAYS = ("window_click_days", "window_view_days")


def choose_file(visit: Visit) -> None:
    """Step 1: a file from this computer, or one that is in the library."""
    _back()
    page_head(
        "New retailer", "A raw export of any retailer, as it is: the columns may have any names and units."
    )
    known = datasets.list_datasets(visit.console, visit.principal, kind=DatasetKind.EVENTS)
    left, right = st.columns(2, gap="large")
    with left, st.container(border=True, height="stretch"):
        st.markdown("**:material/upload_file: From this computer**")
        limit = visit.console.settings.upload_limit_mb
        file = st.file_uploader(
            "Raw export",
            type=READABLE,
            max_upload_size=limit,
            key="mapping-file",
            label_visibility="collapsed",
        )
        st.caption(f"CSV, TSV, JSON, JSONL, Parquet, XLSX, or gzip of a text format. At most {limit} MB.")
        if file is not None:
            with errors_shown(), st.spinner("Reading the file"):
                made = datasets.import_raw(visit.console, visit.principal, file, dataset_name(file.name))
                _open(made.id)
    with right, st.container(border=True, height="stretch"):
        st.markdown("**:material/database: From the library**")
        chosen = st.selectbox(
            "Raw file",
            known,
            index=None,
            format_func=lambda d: f"{plain(d.title, 60)} · {numbers.count(d.rows)} rows",
            placeholder="Choose a raw export" if known else "The library has no raw export yet",
            disabled=not known,
            key="mapping-dataset",
            label_visibility="collapsed",
        )
        if st.button("Use this file", key="mapping-use", disabled=chosen is None) and chosen is not None:
            _open(chosen.id)


def dataset_name(file_name: str) -> str:
    """A name for the library from that of a file: without its endings and without signs that no name has."""
    stem = PurePath(file_name.replace("\\", "/")).name
    for ending in reversed(PurePath(stem).suffixes[-2:]):
        if ending.lstrip(".").lower() in READABLE:
            stem = stem[: -len(ending)]
    return re.sub(r"[^A-Za-z0-9 ._-]+", "-", stem).strip(" ._-")[:100] or "raw export"


def show_source(visit: Visit, dataset_id: str) -> None:
    """Steps 2 and 3: the card, then the editor. A draft that is there is taken up again."""
    dataset = datasets.get_dataset(visit.console, visit.principal, dataset_id)
    draft = kept_draft(visit, dataset)
    if draft is None:
        _describe(visit, dataset)
        return
    _edit(visit, dataset, draft)


def start_from_version(visit: Visit, dataset: Dataset, version: MappingVersion) -> None:
    """Open the editor with the rules of a saved version on the columns of a file."""
    source = sampled(dataset)
    card = version.mapping.card()
    draft = draft_of_mapping(
        version.mapping,
        source.columns,
        dataset_id=dataset.id,
        digest=dataset.digest,
        name=version.name,
        card=card,
    )
    forget(visit, dataset.id)
    keep(visit, draft)
    _open(dataset.id)


def known_card(dataset: Dataset, columns: Sequence[str]) -> SourceCard:
    """What the file, its own card and the shipped reports with these columns say."""
    card = raw.source_card_of(dataset) or SourceCard()
    found = recognise(columns, card, load_builtins())
    told = card.model_dump(exclude_unset=True)
    if found is not None:
        shipped = found.builtin.mapping
        for name in ("network", "report"):
            told[name] = told.get(name) or getattr(shipped, name)
    return SourceCard.model_validate(told)


def _describe(visit: Visit, dataset: Dataset) -> None:
    _back()
    page_head(
        f"About {escape(dataset.title, 60)}",
        "What no column says. Prefilled with what the file says above its header; leave open what you do not know.",
    )
    source = sampled(dataset)
    broken = int(dataset.card.get("broken_rows") or 0)
    with st.container(horizontal=True, gap="small"):
        st.badge(f"{numbers.count(dataset.rows)} rows", color="gray", icon=":material/table_rows:")
        st.badge(f"{len(source.columns)} columns", color="gray", icon=":material/view_column:")
        st.badge(str(source.kind).upper(), color="gray", icon=":material/description:")
        if broken:
            st.badge(f"{numbers.count(broken)} broken rows", color="orange", icon=":material/warning:")
    if source.notes:
        with st.container(gap=None):
            for note in source.notes[:6]:
                st.caption(f":material/info: {escape(note, 300)}")
    card = known_card(dataset, source.columns)
    with st.form("mapping-card"):
        made = card_fields(visit, card, key=f"card-{dataset.id}")
        told = st.text_area(
            "Description of the columns, if you have one",
            max_chars=50_000,
            height=68,
            placeholder="Spend: cost in micros of the account's currency",
            help="A table or lines of the report's documentation: one line for each column.",
            key=f"card-{dataset.id}-documents",
        )
        if st.form_submit_button("Propose a mapping", type="primary", icon=":material/auto_awesome:"):
            with errors_shown(), st.spinner("Looking at the columns"):
                memory = mappings.memory_of(visit.console, visit.principal)
                found = propose_rules(source, card=made, documents=parse_documents(told or ""), memory=memory)
                draft = draft_of_suggestions(
                    found,
                    dataset_id=dataset.id,
                    digest=dataset.digest,
                    name=_name_of(made, dataset),
                    card=made,
                )
                keep(visit, draft)
                st.rerun()


def card_fields(visit: Visit, card: SourceCard, *, key: str) -> SourceCard:
    """The source card as fields; what is filled in comes back."""
    saved = mappings.list_mappings(visit.console, visit.principal)
    with st.grid(3, min_column_width=200):
        retailer = _choice("Retailer", card.retailer, [m.retailer for m in saved], f"{key}-retailer")
        networks = [*(m.network for m in saved), *_shipped_networks()]
        network = _choice(
            "Network", card.network, networks, f"{key}-network", "Who sells the ads, for example Criteo."
        )
        report = _choice("Report", card.report, [m.report for m in saved], f"{key}-report")
        zones = list(dict.fromkeys([card.account_timezone, "UTC", *_zones()]))
        zone = st.selectbox(
            "Time zone of the account",
            zones,
            help="The report's days are days of this zone. A wrong one moves every row by hours.",
            key=f"{key}-zone",
        )
        currencies = ["", *dict.fromkeys([*([card.currency] if card.currency else []), *CURRENCIES])]
        currency = st.selectbox(
            "Currency",
            currencies,
            index=currencies.index(card.currency or ""),
            format_func=lambda c: c or "A column says it",
            accept_new_options=True,
            key=f"{key}-currency",
        )
        headline = _headline(card.headline, key)
    code = (currency or "").strip().upper()
    return SourceCard(
        retailer=retailer,
        network=network,
        report=report,
        account_timezone=zone,
        currency=code if re.fullmatch("[A-Z]{3}", code) else None,
        headline=headline,
    )


def _headline(told: Headline, key: str) -> Headline:
    """The window that fills the outcome columns where a report has several; empty: the rule of the house."""
    days = told if isinstance(told, dict) else {}
    click = days.get("window_click_days")
    chosen = st.number_input(
        "Headline window, days after a click",
        0,
        400,
        click if isinstance(click, int) else None,
        placeholder="The longest that all have",
        help="Which sales fill the sales column where the report has several windows. The others are kept apart.",
        key=f"{key}-headline",
    )
    if chosen is None:
        kept = {name: value for name, value in days.items() if name != "window_click_days"}
        return kept or (told if not isinstance(told, dict) else None)
    made: dict[str, Qualifier] = {**days, "window_click_days": int(chosen)}
    return made


def _choice(label: str, told: str, known: Sequence[str], key: str, help: str | None = None) -> str:
    options = ["", *dict.fromkeys(name for name in (told, *sorted(set(known))) if name)]
    chosen = st.selectbox(
        label,
        options,
        index=options.index(told),
        format_func=lambda name: plain(name, 60) or "–",
        accept_new_options=True,
        placeholder="Choose or type",
        help=help,
        key=key,
    )
    return (chosen or "").strip()[:200]


def _edit(visit: Visit, dataset: Dataset, draft: MappingDraft) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        _back()
        with st.container(horizontal=True, width="content"):
            if st.button("Start over", key="mapping-restart", type="tertiary", icon=":material/restart_alt:"):
                _confirm_restart(visit, dataset)
            check = st.button(
                "Check and harmonize", type="primary", icon=":material/rule:", key="mapping-check"
            )
    page_head(
        f"Map {escape(dataset.title, 80)}",
        "Each column of the file becomes a column of RMIS, or is left out on purpose.",
    )
    with st.expander("Name and source card", icon=":material/badge:"):
        draft = _head(visit, dataset, draft)
    draft = show_editor(visit, dataset, draft)
    if check:
        with errors_shown():
            _check(visit, dataset, draft)


def _head(visit: Visit, dataset: Dataset, draft: MappingDraft) -> MappingDraft:
    from dataclasses import replace

    with st.form(f"mapping-head-{dataset.id}", border=False):
        name = st.text_input(
            "Name of the mapping", draft.name, max_chars=200, key=f"mapping-name-{dataset.id}"
        )
        card = card_fields(visit, draft.card, key=f"head-{dataset.id}")
        if st.form_submit_button("Take over", icon=":material/check:"):
            draft = replace(draft, name=name.strip() or draft.name, card=card)
            keep(visit, draft)
    return draft


def _check(visit: Visit, dataset: Dataset, draft: MappingDraft) -> None:
    version = mappings.save_mapping(
        visit.console,
        visit.principal,
        name=draft.name,
        mapping=draft.mapping(),
        note=f"Made with {dataset.name[:200]}",
    )
    job = harmonize.submit_harmonize(
        visit.console, visit.principal, dataset=dataset.id, mapping=version.id, card=draft.card
    )
    go_to(MAPPINGS, job=job.id)


@st.dialog("Start over?", icon=":material/restart_alt:")
def _confirm_restart(visit: Visit, dataset: Dataset) -> None:
    st.markdown("The draft of this mapping is thrown away. Saved versions stay.")
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Keep the draft", key="mapping-restart-no"):
            st.rerun()
        if st.button("Throw it away", type="primary", key="mapping-restart-yes"):
            forget(visit, dataset.id)
            st.query_params.pop("column", None)
            st.rerun()


def _name_of(card: SourceCard, dataset: Dataset) -> str:
    parts = [part for part in (card.retailer or card.network, card.report) if part]
    name = " ".join(parts) or dataset.name
    return (
        re.sub(r"[/\\@]+", "-", "".join(sign for sign in name if sign.isprintable())).strip()[:200]
        or "mapping"
    )


def _open(dataset_id: str) -> None:
    st.query_params.from_dict({"source": dataset_id})
    st.rerun()


def _back() -> None:
    st.button(
        "All mappings",
        type="tertiary",
        icon=":material/arrow_back:",
        key="mapping-all",
        on_click=st.query_params.clear,
    )


@st.cache_data(show_spinner=False)
def _shipped_networks() -> list[str]:
    return sorted({builtin.mapping.network for builtin in load_builtins()})


@st.cache_data(show_spinner=False)
def _zones() -> list[str]:
    return sorted(
        zone for zone in available_timezones() if "/" in zone and not zone.startswith(("Etc/", "posix"))
    )
