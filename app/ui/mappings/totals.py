"""Totals of a run in the file and harmonized, and what was found on the way."""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import streamlit as st

from app.ui import badges, numbers
from app.ui.mappings.words import qualifier_words
from app.ui.tables import Column, show_table
from app.ui.text import escape, plain
from core.harmonize.saved import HarmonizedRun

TOTAL_COLUMNS = (
    Column("target", "Measure"),
    Column("source", "Column of the file"),
    Column("means", "Qualifiers"),
    Column("input", "In the file"),
    Column("removed", "Repeats and rejects", help="Amounts of repeated rows and of values that did not fit."),
    Column("output", "Harmonized"),
    Column("difference", "Difference"),
    Column("rows", "Values", "number"),
    Column("kept", "Kept"),
)
_SEVERITY: dict[str, tuple[str, badges.Color, str]] = {
    "error": ("Error", "red", ":material/error:"),
    "warning": ("Warning", "orange", ":material/warning:"),
    "note": ("Note", "gray", ":material/info:"),
}


def show_totals(run: HarmonizedRun) -> None:
    found = totals_of(run)
    if not found:
        st.caption("This mapping gives no amounts that add up.")
        return
    st.caption("Each total is counted twice: from the text of the file, and from the harmonized rows.")
    anything_removed = any(_removed(t) for t in found)
    show_table(
        [
            {
                "target": str(t.get("target")),
                "source": str(t.get("source_field")),
                "means": qualifier_words(dict(t.get("qualifiers") or {})),
                "input": amount_words(t.get("input_total")),
                "removed": _removed(t),
                "output": amount_words(t.get("output_total")),
                "difference": amount_words(t.get("difference")),
                "rows": t.get("rows"),
                "kept": "apart" if t.get("apart") else "headline",
            }
            for t in found
        ],
        [column for column in TOTAL_COLUMNS if anything_removed or column.field != "removed"],
        key="run-totals",
        alt="Totals in the file and harmonized",
        file_name="totals.csv",
    )
    if any(not t.get("exact", True) for t in found):
        st.caption("Where the factor is a column, the difference is rounded to millionths.")


def amount_words(value: Any) -> str:
    """An exact amount with thousands separators and every digit."""
    try:
        return f"{Decimal(str(value)):,f}"
    except (InvalidOperation, ValueError):
        return plain(str(value), 60)


def _removed(total: Mapping[str, Any]) -> str:
    parts = [
        amount_words(total.get(n)) for n in ("duplicates_total", "rejected_total") if is_amount(total.get(n))
    ]
    return " + ".join(parts)


def show_findings(found: Sequence[Mapping[str, Any]]) -> None:
    if not found:
        st.success("Nothing suspicious was found.", icon=":material/check_circle:")
    for finding in found:
        word, color, icon = _SEVERITY.get(str(finding.get("severity")), _SEVERITY["note"])
        with st.container(border=True, gap="xsmall"):
            with st.container(horizontal=True, vertical_alignment="center"):
                st.badge(word, color=color, icon=icon)
                st.caption(f"`{plain(str(finding.get('rule')), 60).replace('`', '')}`", width="content")
                rows = finding.get("rows")
                if rows:
                    st.caption(numbers.rows(int(rows)), width="content")
            st.markdown(f"**{escape(str(finding.get('sentence')), 600)}**")
            lines = [str(line) for line in finding.get("lines") or ()]
            if lines:
                st.caption(f"Lines {', '.join(lines)}{' …' if int(rows or 0) > len(lines) else ''}")
            if finding.get("next_step"):
                st.caption(f"Next: {escape(str(finding['next_step']), 400)}")


def totals_of(run: HarmonizedRun) -> list[Mapping[str, Any]]:
    return list(run.report.get("conservation") or ())


def is_amount(value: Any) -> bool:
    """Whether it is an amount other than zero; what is no number counts as one, so that it is looked at."""
    if value in (None, ""):
        return False
    try:
        return bool(Decimal(str(value)))
    except InvalidOperation:
        return True
