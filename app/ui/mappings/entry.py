"""The column that is open in the editor: what is known of it, its rule, its values before and after, the buttons."""

from collections.abc import Sequence

import polars as pl
import streamlit as st

from app.ui.badges import Color
from app.ui.cells import as_cells
from app.ui.frame import error_box, errors_shown
from app.ui.mappings.changes import accept, around, copy, jump, remove, take
from app.ui.mappings.draft import SURE, Entry, EntryState, MappingDraft
from app.ui.mappings.keep import keep
from app.ui.mappings.read import (
    PREVIEW_ROWS,
    made_columns,
    preview_values,
    traps_of,
)
from app.ui.mappings.rule import edit_rule
from app.ui.mappings.words import target_words
from app.ui.text import escape, plain
from app.ui.visit import Visit
from core.datasets.records import Dataset
from core.harmonize.findings import Finding
from core.harmonize.mapping_files import mapping_digest
from core.harmonize.records import Rule
from core.harmonize.source.open import LINE, Source
from core.rmis.vocabularies import TransformOp

SHOWN_SAMPLES = 5


def open_entry(
    visit: Visit,
    dataset: Dataset,
    source: Source,
    values: dict[str, list[str]],
    draft: MappingDraft,
    number: int,
) -> tuple[MappingDraft, dict[str, list[Finding]]]:
    """One rule. What stands above its widgets is drawn after them, so that it says what they say now."""
    rule = draft.entries[number].rule
    field = rule.source_field
    head = st.container(gap="xsmall")
    key = f"rule-{draft.dataset_id}-{number}-{st.session_state.get('_mapping_revision', 0)}"
    # The widgets begin with the rule as it was when they were first drawn; what they say since then is on top of it.
    base = st.session_state.get("_mapping_base")
    if base is None or base[0] != key:
        base = st.session_state["_mapping_base"] = (key, rule)
    changed = edit_rule(base[1], values.get(field, []), source.columns, key=key)
    if changed != rule:
        draft = draft.with_rule(number, changed)
        keep(visit, draft)
    warnings = _warnings(dataset, source, draft)
    with head:
        _entry_head(draft.entries[number], values.get(field, []), warnings.get(field, []))
    _live_values(visit, source, changed, draft)
    _entry_buttons(draft, number)
    return draft, warnings


def _entry_head(entry: Entry, values: Sequence[str], warnings: Sequence[Finding]) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**{escape(entry.rule.source_field)}**")
        _entry_badge(entry)
    if entry.reason:
        st.caption(escape(entry.reason, 600))
    samples = "   ".join(plain(value, 60) for value in values[:SHOWN_SAMPLES])
    st.code(samples or "(always blank)", language=None, wrap_lines=True)
    for finding in warnings:
        _say(finding)


def _entry_badge(entry: Entry) -> None:
    if entry.state is EntryState.CHANGED:
        st.badge("Changed by you", color="blue", icon=":material/edit:")
    elif entry.state is EntryState.ACCEPTED:
        st.badge("Accepted", color="green", icon=":material/check:")
    elif entry.abstained:
        st.badge("Please decide", color="orange", icon=":material/help:")
    else:
        sure = entry.confidence or 0
        color: Color = "green" if sure >= SURE else "orange" if sure >= 0.6 else "red"
        st.badge(f"{sure:.0%} sure", color=color)


def _say(finding: Finding) -> None:
    text = f"{escape(finding.sentence, 400)} {escape(finding.next_step, 300)}"
    if finding.severity == "note":
        st.caption(f":material/info: {text}")
    else:
        st.warning(text, icon=":material/warning:")


def _live_values(visit: Visit, source: Source, rule: Rule, draft: MappingDraft) -> None:
    """A few values of this column and what becomes of each, at once."""
    found = preview_values(visit, source, rule, draft.card)
    if found.problem is not None:
        error_box(found.problem)
    if found.made is None or rule.source_field not in found.raw.columns:
        return
    names = made_columns(found.made, _made_by(rule))
    left = found.raw.select(
        pl.col(LINE).cast(pl.Int64), raw=pl.nth(found.raw.columns.index(rule.source_field))
    )
    right = found.made.select(
        pl.col("lineage.line").cast(pl.Int64).alias(LINE),
        *(pl.col(n).cast(pl.String, strict=False) for n in names),
    )
    pairs = left.join(right, on=LINE, how="left").drop(LINE).head(PREVIEW_ROWS)
    st.dataframe(
        as_cells(pairs, as_text=True),
        hide_index=True,
        column_config={"raw": st.column_config.TextColumn("In the file")},
        alt="Values of this column before and after",
        placeholder="blank",
    )


def _made_by(rule: Rule) -> list[str] | None:
    if rule.transform.op in (TransformOp.REGEX_SPLIT, TransformOp.EXPLODE):
        return None
    made = [rule.target or ""]
    return [*made, "date_local"] if rule.target == "ts" else made


def _entry_buttons(draft: MappingDraft, number: int) -> None:
    dataset_id = draft.dataset_id
    before, after = around(draft, number)
    entry = draft.entries[number]
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.button(
            "Accept",
            type="primary",
            shortcut="Alt+Enter",
            key="mapping-accept",
            disabled=entry.state is not EntryState.OPEN,
            on_click=accept,
            args=(dataset_id, number),
        )
        st.button(
            "Next",
            shortcut="Alt+Down",
            key="mapping-next",
            disabled=after is None,
            on_click=jump,
            args=(number if after is None else after,),
        )
        st.button(
            "Back",
            shortcut="Alt+Up",
            key="mapping-back",
            disabled=before is None,
            on_click=jump,
            args=(number if before is None else before,),
        )
        with st.popover("More", key="mapping-more"):
            _more(draft, number)


def _more(draft: MappingDraft, number: int) -> None:
    entry = draft.entries[number]
    for target, chance in entry.alternatives:
        st.button(
            f"Take {plain(target_words(target), 80)} ({chance:.0%})",
            key=f"mapping-take-{target}",
            on_click=take,
            args=(draft.dataset_id, number, target),
        )
    st.button(
        "Add another rule for this column",
        key="mapping-add-rule",
        icon=":material/add:",
        on_click=copy,
        args=(draft.dataset_id, number),
    )
    alone = sum(e.rule.source_field == entry.rule.source_field for e in draft.entries) < 2
    st.button(
        "Remove this rule",
        key="mapping-remove-rule",
        icon=":material/delete:",
        disabled=alone,
        on_click=remove,
        args=(draft.dataset_id, number),
    )


def _warnings(dataset: Dataset, source: Source, draft: MappingDraft) -> dict[str, list[Finding]]:
    """What looks wrong, by column. Nothing where the rules do not go together: that is said below."""
    found: dict[str, list[Finding]] = {}
    with errors_shown():
        mapping = draft.mapping()
        card = draft.card.model_dump_json(exclude_unset=True)
        for finding in traps_of(dataset.digest, mapping_digest(mapping), card, source, mapping):
            for column in finding.columns:
                found.setdefault(column, []).append(finding)
    return found
