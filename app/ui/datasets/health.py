"""What the doctor found in a set: every lost point, every problem, and the fix of each with a look at what it does."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app.actions import datasets
from app.ui import numbers
from app.ui.datasets.read import previewed_fix
from app.ui.datasets.words import as_text, fix_label, rule_word
from app.ui.frame import error_box, errors_shown, keep_notice
from app.ui.screens import show_item
from app.ui.tables import Column, show_table
from app.ui.text import escape, show_text
from app.ui.visit import Visit
from core.datasets.doctor import Examination
from core.datasets.fixes import FixExample, FixPreview
from core.datasets.records import Dataset, Problem
from core.errors import RmnError
from core.tenants.records import Permission

CHOSEN = "dataset-fix"
SHOWN_CHARACTERS = 1500
_LOST = (
    Column("rule", "Rule"),
    Column("points", "Points lost", "number"),
    Column("rows", "Rows", "number"),
    Column("lines", "First lines"),
)


def show_health(visit: Visit, dataset: Dataset, seen: Examination) -> None:
    """Score with its lost points, then every problem with its fix."""
    _score(dataset, seen)
    if not seen.problems:
        st.success("Nothing wrong was found.", icon=":material/check_circle:")
    may_fix = visit.principal.may(Permission.TRAIN)
    for problem in seen.problems:
        show_problem(problem)
        if problem.fix and may_fix:
            _offer_fix(visit, dataset, problem)


def show_problem(problem: Problem) -> None:
    """Something wrong with a set, with the lines that show it."""
    text = f"**{escape(problem.message, None)}**"
    if problem.lines:
        more = " and more" if problem.rows > len(problem.lines) else ""
        word = "Line" if len(problem.lines) == 1 and not more else "Lines"
        text += f"\n\n{word} {', '.join(map(str, problem.lines))}{more}."
    if problem.severity == "error":
        st.error(text, icon=":material/error:")
    else:
        st.warning(text, icon=":material/warning:")


def _score(dataset: Dataset, seen: Examination) -> None:
    read = "can be trained on" if seen.trainable else "cannot be trained on before its errors are mended"
    st.markdown(f"**{seen.score:.1f} of 100, {seen.band}.** This set {read}.")
    if not seen.lost:
        return
    with st.expander(f"Where {100 - seen.score:.1f} points went", expanded=len(seen.lost) <= 6):
        show_table(
            [
                {
                    "rule": rule_word(each.rule),
                    "points": each.points,
                    "rows": each.rows,
                    "lines": ", ".join(map(str, each.lines)),
                }
                for each in seen.lost
            ],
            _LOST,
            key=f"lost-{dataset.id}",
            alt=f"Points that {dataset.title} loses, by rule",
            file_name="lost_points.csv",
        )


def _offer_fix(visit: Visit, dataset: Dataset, problem: Problem) -> None:
    mine = (dataset.id, problem.rule)
    if st.session_state.get(CHOSEN) != mine:
        st.button(
            f"Fix: {fix_label(problem.fix).lower()}",
            key=f"fix-{problem.rule}",
            icon=":material/auto_fix_high:",
            on_click=_choose,
            args=(mine,),
        )
        return
    with st.container(border=True):
        try:
            preview = previewed_fix(visit, dataset, problem.rule)
        except RmnError as error:
            error_box(error)
            st.button("Close", key="fix-no", on_click=_choose, args=(None,))
            return
        _show_preview(preview)
        with st.container(horizontal=True, horizontal_alignment="right"):
            st.button("Not now", key="fix-no", on_click=_choose, args=(None,))
            if st.button(f"{fix_label(problem.fix)} now", key="fix-yes", type="primary"):
                with errors_shown():
                    _apply(visit, dataset, preview)


def _choose(which: tuple[str, str] | None) -> None:
    st.session_state[CHOSEN] = which


def _apply(visit: Visit, dataset: Dataset, preview: FixPreview) -> None:
    made = datasets.apply_fix(visit.console, visit.principal, dataset.id, preview.rule)
    _choose(None)
    keep_notice(f"{_told(preview)} The version before is kept; Undo brings it back.")
    show_item("dataset", made.id)
    st.rerun()


def _told(preview: FixPreview) -> str:
    parts = []
    if preview.rows_changed:
        parts.append(f"{numbers.rows(preview.rows_changed)} changed")
    if preview.rows_removed:
        parts.append(f"{numbers.rows(preview.rows_removed)} removed")
    return f"{' and '.join(parts)}." if parts else "No row changed."


def _show_preview(preview: FixPreview) -> None:
    st.markdown(
        f"**{fix_label(preview.fix)}: {numbers.rows(preview.rows_changed)} would change, "
        f"{numbers.rows(preview.rows_removed)} would go.** Nothing is changed yet."
    )
    for example in preview.examples:
        _show_example(example)


def _show_example(example: FixExample) -> None:
    before, after = changed_values(example.before, example.after)
    with st.grid(2, min_column_width=280):
        with st.container():
            st.caption(f"Line {example.line}, before")
            show_values(before)
        with st.container():
            st.caption(f"Line {example.line}, after")
            if after is None:
                st.markdown(":red[The row goes.] It stays in the version before.")
            else:
                show_values(after)


def changed_values(
    before: Mapping[str, Any], after: Mapping[str, Any] | None
) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    """The columns of a row that differ; of a row that goes, all."""
    if after is None:
        return before, None
    names = [
        name
        for name in dict.fromkeys([*before, *after])
        if name not in before or name not in after or before[name] != after[name]
    ]
    return {n: before[n] for n in names if n in before}, {n: after[n] for n in names if n in after}


def show_values(values: Mapping[str, Any]) -> None:
    """Columns of a row, letter by letter."""
    if not values:
        st.caption("Nothing.")
    show_text("\n".join(f"{name}: {as_text(value)[:SHOWN_CHARACTERS]}" for name, value in values.items()))
