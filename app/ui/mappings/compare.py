"""Two numbers side by side: what each means, what would have to be aligned, and ROAS shown or refused with the reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import streamlit as st

from app.ui.frame import Figure, error_box, figures
from app.ui.mappings.words import QUALIFIER_WORDS, qualifier_words
from app.ui.text import escape, plain
from core.errors import InvalidInputError
from core.harmonize.records import Qualifier
from core.rmis.comparability import Measured, compare, derive, differences_of
from core.rmis.facts import FactGroup, fact_column


@dataclass(frozen=True, slots=True)
class Number:
    """A total of a run with what it means."""

    measured: Measured
    source_field: str
    apart: bool

    @property
    def label(self) -> str:
        """How it is chosen from a list."""
        told = qualifier_words(self.measured.qualifiers)
        kept = " · kept apart" if self.apart else ""
        return (
            f"{plain(self.measured.column, 60)} from {plain(self.source_field, 60)}"
            + (f" ({told})" if told else "")
            + kept
        )


def numbers_of(conservation: Sequence[Mapping[str, Any]], currency: str | None) -> list[Number]:
    """The totals of a run's report as numbers with their qualifiers; what is no number is left out."""
    found = []
    for told in conservation:
        qualifiers: dict[str, Qualifier] = dict(told.get("qualifiers") or {})
        try:
            value = float(Decimal(str(told["output_total"])))
        except (InvalidOperation, KeyError, OverflowError):
            continue
        target = str(told.get("target"))
        money = _is_money(target)
        source_field = str(told.get("source_field"))
        measured = Measured(
            target, value, qualifiers, currency if money else None, f"{target} from {source_field}"
        )
        found.append(Number(measured, source_field, bool(told.get("apart"))))
    return found


def show_comparison(found: Sequence[Number]) -> None:
    """Two numbers to choose, side by side."""
    outcomes = [n for n in found if _group(n.measured.column) is FactGroup.OUTCOME]
    if not outcomes:
        st.caption("These rows carry no outcome numbers, so there is nothing to compare.")
        return
    st.caption(
        "Two numbers can be compared, added or divided only where their windows, touch, model, products and channel "
        "are the same."
    )
    left, right = st.columns(2, gap="medium")
    with left:
        first = st.selectbox("One number", outcomes, format_func=lambda n: n.label, key="compare-left")
    with right:
        second = st.selectbox(
            "Another number",
            outcomes,
            index=min(1, len(outcomes) - 1),
            format_func=lambda n: n.label,
            key="compare-right",
        )
    _side_by_side(first, second)
    _verdict(first, second)
    st.markdown("**Return on ad spend**")
    costs = [n for n in found if n.measured.column == "cost" and not n.apart]
    sales = [n for n in (first, second) if n.measured.column == "attributed_sales"]
    _roas(sales, costs)


def _side_by_side(first: Number, second: Number) -> None:
    differing = {d.qualifier for d in differences_of(first.measured, second.measured)}
    table: dict[str, list[str]] = {"Meaning": [], "One number": [], "Another number": [], "": []}
    rows = [
        (QUALIFIER_WORDS[n], n, first.measured.qualifiers.get(n), second.measured.qualifiers.get(n))
        for n in QUALIFIER_WORDS
    ]
    rows.append(("Currency", "currency", first.measured.currency, second.measured.currency))
    for words, name, one, other in rows:
        if one is None and other is None:
            continue
        table["Meaning"].append(words)
        table["One number"].append(_value(one))
        table["Another number"].append(_value(other))
        table[""].append(":red-badge[differs]" if name in differing else ":green-badge[same]")
    table["Meaning"].append("**Total**")
    table["One number"].append(f"**{first.measured.value:,.2f}**")
    table["Another number"].append(f"**{second.measured.value:,.2f}**")
    table[""].append("")
    st.table(table, border="horizontal", hide_index=True, alt="Two numbers and what they mean, side by side")


def _value(value: object) -> str:
    if value is None:
        return "not said"
    return escape(str(value).lower() if isinstance(value, bool) else str(value).replace("_", " "))


def _verdict(first: Number, second: Number) -> None:
    if first.measured.column != second.measured.column:
        st.info(
            f"One counts {escape(first.measured.column)}, the other {escape(second.measured.column)}: "
            "they are different things, whatever their windows.",
            icon=":material/info:",
        )
        return
    try:
        found = compare(first.measured, second.measured)
    except InvalidInputError as error:
        error_box(error)
        return
    if first is second:
        st.caption("This is the same number twice.")
    elif found.ratio is not None:
        st.success(
            f"Comparable: the second is {found.ratio:,.3f} times the first.", icon=":material/check_circle:"
        )


def _roas(sales: Sequence[Number], costs: Sequence[Number]) -> None:
    if not costs or not sales:
        st.caption("There is no cost, or neither number is attributed sales: nothing to divide.")
        return
    if len(costs) > 1:
        st.caption("The cost comes from several columns: choose a headline first.")
        return
    distinct = list(dict.fromkeys(n.label for n in sales))
    if len(distinct) > 1 and differences_of(sales[0].measured, sales[1].measured):
        st.warning(
            "One ROAS over both numbers is refused: they do not mean the same. Each alone, with its own meaning:",
            icon=":material/block:",
        )
    row = []
    for label in distinct:
        number = next(n for n in sales if n.label == label)
        try:
            value = derive("roas", number.measured, costs[0].measured)
        except InvalidInputError as error:
            error_box(error)
            continue
        shown = "–" if value is None else f"{value:,.2f}"
        row.append(
            Figure("ROAS", shown, qualifier_words(number.measured.qualifiers) or "qualifiers not said")
        )
    if row:
        figures(row)


def _group(column: str) -> FactGroup | None:
    known = fact_column(column)
    return None if known is None else known.group


def _is_money(column: str) -> bool:
    return _group(column) is FactGroup.MONEY or column.endswith("_sales")
