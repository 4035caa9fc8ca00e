"""The visual editor: all columns as a compact table, one of them open beside it, and the first rows before and after."""

from collections.abc import Sequence

import pandas as pd
import polars as pl
import streamlit as st

from app.ui.badges import Color
from app.ui.browser_cells import as_cells, telling_first
from app.ui.frame import error_box, errors_shown
from app.ui.mapping_draft import SURE, Entry, EntryState, MappingDraft, Show
from app.ui.mapping_keep import can_undo, keep, kept_draft, undo
from app.ui.mapping_read import (
    PREVIEW_ROWS,
    made_columns,
    preview_rows,
    preview_values,
    sampled,
    shown_values,
    traps_of,
)
from app.ui.mapping_rule import edit_rule
from app.ui.mapping_words import NO_TARGET, qualifier_words, target_words, transform_words
from app.ui.text import escape, plain
from app.ui.visit import Visit, current_visit
from core.datasets.records import Dataset
from core.harmonize.findings import Finding
from core.harmonize.mapping_files import mapping_digest
from core.harmonize.records import Rule
from core.harmonize.source import LINE, Source
from core.rmis.vocabularies import TransformOp

TABLE_HEIGHT = 560
SHOWN_SAMPLES = 5
_ICONS = {EntryState.ACCEPTED: "✓", EntryState.CHANGED: "✎", EntryState.OPEN: "·"}


def show_editor(visit: Visit, dataset: Dataset, draft: MappingDraft) -> MappingDraft:
    """Draw it. The draft as it stands after this run comes back."""
    source = sampled(dataset)
    values = shown_values(dataset.digest, source.columns, source)
    bar = st.container()
    left, right = st.columns(2, gap="medium")
    number = current_place(draft)
    with right, st.container(border=True, key="mapping-open"):
        draft, warnings = _open_entry(visit, dataset, source, values, draft, number)
    with left:
        _table(draft, values, number, warnings)
    with bar:
        _bar(dataset.id, draft)
    _preview(visit, source, draft)
    return draft


def current_place(draft: MappingDraft) -> int:
    """The entry that is open: the one in the address, else the first that needs attention."""
    told = st.query_params.get("column", "")
    if told.isdecimal() and int(told) < len(draft.entries):
        return int(told)
    return next(iter(draft.shown(Show.ATTENTION)), 0)


def _bar(dataset_id: str, draft: MappingDraft) -> None:
    total = len(draft.entries)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        left = total - draft.decided()
        st.badge(
            f"{left} need attention" if left else "All decided",
            color="orange" if left else "green",
            icon=":material/visibility:" if left else ":material/check:",
        )
        st.segmented_control(
            "Show",
            list(Show),
            default=Show.ALL,
            required=True,
            format_func=lambda show: f"{show.value} · {len(draft.shown(show))}",
            key="mapping-show",
            label_visibility="collapsed",
            persist_state="session",
        )
        sure = draft.sure_and_open()
        with st.container(horizontal=True, width="content"):
            st.button(
                f"Accept all above {SURE:.0%}" + (f" · {sure}" if sure else ""),
                icon=":material/done_all:",
                key="mapping-accept-all",
                disabled=not sure,
                on_click=_accept_all,
                args=(dataset_id,),
            )
            st.button(
                "Undo",
                icon=":material/undo:",
                key="mapping-undo",
                shortcut="Alt+Z",
                disabled=not can_undo(dataset_id),
                on_click=_undo,
                args=(dataset_id,),
            )


def _table(
    draft: MappingDraft,
    values: dict[str, list[str]],
    number: int,
    warnings: dict[str, list[Finding]],
) -> None:
    listed = draft.shown(st.session_state.get("mapping-show", Show.ALL))
    if not listed:
        st.success("Nothing left here. Show «All» to look at every column.", icon=":material/check_circle:")
        return
    rows = [_row(draft.entries[n], values, warnings) for n in listed]
    key = f"mapping-table-{draft.dataset_id}"
    st.session_state["_mapping_shown"] = listed
    wanted = [listed.index(number)] if number in listed else []
    st.session_state[key] = {"selection": {"rows": wanted}}
    st.caption("Choose a line to open it, or walk with Alt+↓ and Alt+↑.")
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        height=min(TABLE_HEIGHT, 35 * (len(rows) + 1) + 3),
        selection_mode="single-row",
        on_select=_picked,
        key=key,
        column_config={
            "state": st.column_config.TextColumn("", width=28, help="✓ accepted, ✎ changed, ! look at it"),
            "column": st.column_config.TextColumn("Column of the file", width=125),
            "becomes": st.column_config.TextColumn("Becomes", width=110),
            "by": st.column_config.TextColumn("How", width=130),
            "sure": st.column_config.NumberColumn("Sure", format="%d %%", width=55),
            "sample": st.column_config.TextColumn("For example", width=120),
        },
        alt="Columns of the file and what becomes of each",
    )


def _row(entry: Entry, values: dict[str, list[str]], warnings: dict[str, list[Finding]]) -> dict[str, object]:
    rule = entry.rule
    loud = any(f.severity != "note" for f in warnings.get(rule.source_field, ()))
    mark = "!" if entry.needs_attention else _ICONS[entry.state]
    told = qualifier_words(rule.qualifiers)
    becomes = plain(rule.target, 80) if rule.target else NO_TARGET
    return {
        "state": f"{mark}⚠" if loud else mark,
        "column": plain(rule.source_field, 120),
        "becomes": f"({becomes})" if rule.dropped and rule.target else becomes,
        "sure": None if entry.confidence is None else round(100 * entry.confidence),
        "by": transform_words(rule.transform) + (f" · {told}" if told else ""),
        "sample": plain(next(iter(values.get(rule.source_field, [])), ""), 60),
    }


def _open_entry(
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
        st.caption(escape(entry.reason, 300))
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
    listed = draft.shown(st.session_state.get("mapping-show", Show.ALL))
    before = [n for n in listed if n < number]
    after = [n for n in listed if n > number]
    entry = draft.entries[number]
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.button(
            "Accept",
            type="primary",
            shortcut="Alt+Enter",
            key="mapping-accept",
            disabled=entry.state is not EntryState.OPEN,
            on_click=_accept,
            args=(dataset_id, number),
        )
        st.button(
            "Next",
            shortcut="Alt+Down",
            key="mapping-next",
            disabled=not after,
            on_click=jump,
            args=(after[0] if after else number,),
        )
        st.button(
            "Back",
            shortcut="Alt+Up",
            key="mapping-back",
            disabled=not before,
            on_click=jump,
            args=(before[-1] if before else number,),
        )
        with st.popover("More", key="mapping-more"):
            _more(draft, number)


def _more(draft: MappingDraft, number: int) -> None:
    entry = draft.entries[number]
    for target, chance in entry.alternatives:
        st.button(
            f"Take {plain(target_words(target), 80)} ({chance:.0%})",
            key=f"mapping-take-{target}",
            on_click=_take,
            args=(draft.dataset_id, number, target),
        )
    st.button(
        "Add another rule for this column",
        key="mapping-add-rule",
        icon=":material/add:",
        on_click=_copy,
        args=(draft.dataset_id, number),
    )
    alone = sum(e.rule.source_field == entry.rule.source_field for e in draft.entries) < 2
    st.button(
        "Remove this rule",
        key="mapping-remove-rule",
        icon=":material/delete:",
        disabled=alone,
        on_click=_remove,
        args=(draft.dataset_id, number),
    )


def _preview(visit: Visit, source: Source, draft: MappingDraft) -> None:
    st.subheader("The first rows, before and after", anchor=False)
    with errors_shown():
        found = preview_rows(visit, source, draft.mapping(), draft.card)
        if found.problem is not None:
            error_box(found.problem)
        left, right = st.columns(2, gap="medium")
        with left:
            st.caption("As the file has them")
            st.dataframe(
                as_cells(found.raw.drop(LINE), as_text=True),
                hide_index=True,
                alt="Raw rows",
                placeholder="blank",
            )
        with right:
            st.caption("Harmonized")
            if found.made is None:
                st.caption("Nothing yet.")
            else:
                st.dataframe(
                    as_cells(found.made.select(telling_first(found.made.columns))),
                    hide_index=True,
                    alt="Harmonized rows",
                    placeholder="blank",
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


def jump(number: int) -> None:
    """Open another entry. Its widgets begin anew."""
    st.query_params["column"] = str(number)
    _begin_anew()


def _begin_anew() -> None:
    st.session_state["_mapping_revision"] = st.session_state.get("_mapping_revision", 0) + 1


def _picked() -> None:
    shown = st.session_state.get("_mapping_shown", [])
    for key, state in list(st.session_state.items()):
        if str(key).startswith("mapping-table-") and state:
            rows = state["selection"]["rows"]
            if rows and rows[0] < len(shown):
                jump(shown[rows[0]])


def _accept(dataset_id: str, number: int) -> None:
    visit, draft = _current(dataset_id)
    if draft is not None:
        accepted = draft.accepted(number)
        keep(visit, accepted)
        after = [n for n in accepted.shown(st.session_state.get("mapping-show", Show.ALL)) if n > number]
        jump(after[0] if after else number)


def _accept_all(dataset_id: str) -> None:
    visit, draft = _current(dataset_id)
    if draft is not None:
        keep(visit, draft.all_sure_accepted())
        _begin_anew()


def _undo(dataset_id: str) -> None:
    undo(current_visit(), dataset_id)
    _begin_anew()


def _take(dataset_id: str, number: int, target: str | None) -> None:
    """Another candidate; its operation is what usually fits it, to be looked at."""
    from app.ui.mapping_words import default_transform, ops_for

    visit, draft = _current(dataset_id)
    if draft is not None:
        rule = draft.entries[number].rule
        op = ops_for(target)[0] if target else TransformOp.DROP
        keep(
            visit,
            draft.with_rule(
                number,
                Rule(
                    source_field=rule.source_field, target=target, transform=default_transform(op, target, [])
                ),
            ),
        )
        _begin_anew()


def _copy(dataset_id: str, number: int) -> None:
    visit, draft = _current(dataset_id)
    if draft is not None:
        keep(visit, draft.with_copy(number))
        jump(number + 1)


def _remove(dataset_id: str, number: int) -> None:
    visit, draft = _current(dataset_id)
    if draft is not None:
        keep(visit, draft.without(number))
        jump(max(0, number - 1))


def _current(dataset_id: str) -> tuple[Visit, MappingDraft | None]:
    from app.actions import datasets

    visit = current_visit()
    dataset = datasets.get_dataset(visit.console, visit.principal, dataset_id)
    return visit, kept_draft(visit, dataset)
