"""The way to a mapping: a raw file, what the file itself does not say, a proposal, the editor, check and harmonize."""

import re
from pathlib import PurePath

import streamlit as st

from app.actions import adapters, datasets, mapping_voice, mappings
from app.actions.mapping_voice import Heard
from app.ui import numbers
from app.ui.frame import errors_shown, keep_notice, page_head
from app.ui.mappings.card import card_fields, known_card
from app.ui.mappings.draft import draft_of_mapping, draft_of_suggestions
from app.ui.mappings.keep import forget, keep, kept_draft
from app.ui.mappings.list import back_to_list
from app.ui.mappings.read import sampled
from app.ui.mappings.sheet import edit_sheet
from app.ui.text import escape, plain
from app.ui.uploads import browser_limit_mb, limit_words
from app.ui.visit import Visit
from core.datasets.records import Dataset, DatasetKind
from core.harmonize.documents import parse_documents
from core.harmonize.propose import propose_rules
from core.harmonize.records import SourceCard
from core.harmonize.saved import MappingVersion
from core.harmonize.source.open import Source
from core.harmonize.suggest.suggest import Suggestion
from core.registry.records import Adapter, AdapterState, AdapterType

READABLE = ["csv", "tsv", "txt", "json", "jsonl", "ndjson", "parquet", "xlsx", "gz"]


def choose_file(visit: Visit) -> None:
    """Step 1: a file from this computer, or one that is in the library."""
    back_to_list()
    page_head(
        "New retailer", "A raw export of any retailer, as it is: the columns may have any names and units."
    )
    known = datasets.list_datasets(visit.console, visit.principal, kind=DatasetKind.EVENTS)
    left, right = st.columns(2, gap="large")
    with left, st.container(border=True, height="stretch"):
        st.markdown("**:material/upload_file: From this computer**")
        file = st.file_uploader(
            "Raw export",
            type=READABLE,
            max_upload_size=browser_limit_mb(visit),
            key="mapping-file",
            label_visibility="collapsed",
        )
        st.caption(f"CSV, TSV, JSON, JSONL, Parquet, XLSX, or gzip of a text format. {limit_words(visit)}")
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
            format_func=lambda d: f"{plain(d.title, 60)} · {numbers.rows(d.rows)}",
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
    edit_sheet(visit, dataset, draft)


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


def _describe(visit: Visit, dataset: Dataset) -> None:
    back_to_list()
    page_head(
        f"About {escape(dataset.title, 60)}",
        "What no column says. Prefilled with what the file says above its header; leave open what you do not know.",
    )
    source = sampled(dataset)
    broken = int(dataset.card.get("broken_rows") or 0)
    with st.container(horizontal=True, gap="small"):
        st.badge(numbers.rows(dataset.rows), color="gray", icon=":material/table_rows:")
        st.badge(
            numbers.counted(len(source.columns), "column"),
            color="gray",
            icon=":material/view_column:",
        )
        st.badge(str(source.kind).upper(), color="gray", icon=":material/description:")
        if broken:
            st.badge(
                numbers.counted(broken, "broken row"),
                color="orange",
                icon=":material/warning:",
            )
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
        adapter = _ask_too(visit, key=f"card-{dataset.id}-adapter")
        if st.form_submit_button("Propose a mapping", type="primary", icon=":material/auto_awesome:"):
            with errors_shown(), st.spinner("Looking at the columns"):
                draft = draft_of_suggestions(
                    _proposed(visit, source, made, told or "", adapter),
                    dataset_id=dataset.id,
                    digest=dataset.digest,
                    name=_name_of(made, dataset),
                    card=made,
                )
                keep(visit, draft)
                st.rerun()


def _ask_too(visit: Visit, *, key: str) -> Adapter | None:
    """A retailer adapter that is asked about columns of which the file says too little."""
    known = adapters.list_adapters(visit.console, visit.principal, type=AdapterType.RETAILER)
    usable = [each for each in known if each.state is AdapterState.ACTIVE]
    if not usable:
        return None
    return st.selectbox(
        "Ask an adapter too",
        usable,
        index=None,
        format_func=lambda each: plain(each.label, 80),
        placeholder="No: names, values and what was confirmed before",
        help="One that was trained for this retailer. It is asked about unsure columns only, for at most "
        f"{mapping_voice.TIME_LIMIT_S:.0f} s, and counts as far as it is right on columns that are sure without it.",
        key=key,
    )


def _proposed(
    visit: Visit, source: Source, card: SourceCard, documents: str, adapter: Adapter | None
) -> list[Suggestion]:
    told = parse_documents(documents)
    memory = mappings.memory_of(visit.console, visit.principal)
    if adapter is None:
        return propose_rules(source, card=card, documents=told, memory=memory)
    heard = mapping_voice.suggest_with_voice(
        visit.console, visit.principal, source, adapter=adapter.id, card=card, documents=told, memory=memory
    )
    keep_notice(voice_words(heard), ":material/record_voice_over:")
    return heard.suggestions


def voice_words(heard: Heard) -> str:
    """What an adapter was asked, and how far its word counts."""
    name = escape(heard.adapter, 80)
    if not heard.asked:
        return f"Every column was sure; {name} was not asked."
    asked = f"{name} was asked about {numbers.counted(heard.asked, 'unsure column')}"
    if not heard.tried:
        return f"{asked}. No column was sure enough to try it on, so its word does not count."
    return f"{asked}. Of {heard.tried} known ones it named {heard.agreed} right; its word counts as much."


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
