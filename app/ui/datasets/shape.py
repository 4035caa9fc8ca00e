"""How long the examples of a set are, and what it holds most of."""

from collections.abc import Mapping
from html import escape as escape_html

import plotly.graph_objects as go
import streamlit as st

from app.ui import numbers
from app.ui.charts import AMBER, BLUE, show_chart
from app.ui.datasets.read import token_lengths
from app.ui.frame import Figure, error_box, figures
from app.ui.tables import Column, show_table
from app.ui.text import escape, plain
from app.ui.visit import Visit
from core.datasets.doctor import Summary
from core.datasets.lengths import Lengths
from core.datasets.records import Dataset
from core.errors import RmnError

SHOWN_BARS = 12
USUAL_TOKENS = 512
_COUNTS = (Column("value", "Value"), Column("rows", "Rows", "number"), Column("share", "Share", "percent"))


def choose_lengths(visit: Visit, dataset: Dataset, summary: Summary) -> Lengths | None:
    """In characters at once; in tokens of the configured base when asked, with the share that a limit would cut."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        unit = st.segmented_control(
            "Measured in",
            ["characters", "tokens"],
            default="characters",
            required=True,
            format_func=str.capitalize,
            key="lengths-unit",
        )
        if unit != "tokens":
            return summary.characters
        limit = st.number_input(
            "Longest example, tokens", 16, 131072, USUAL_TOKENS, 64, key="lengths-limit", width=220
        )
    try:
        found = token_lengths(visit, dataset, int(limit))
    except RmnError as error:
        error_box(error)
        return summary.characters
    if found is None:
        st.caption("The base is not on this machine, so its tokens cannot be counted.")
    return found or summary.characters


def show_lengths(lengths: Lengths | None, *, key: str) -> None:
    """A histogram with its quantiles."""
    if lengths is None:
        st.caption("There is no readable row to measure.")
        return
    unit = lengths.unit
    row = [
        Figure("Half are up to", numbers.count(lengths.p50), unit),
        Figure("95 of 100 up to", numbers.count(lengths.p95), unit),
        Figure("99 of 100 up to", numbers.count(lengths.p99), unit),
        Figure("Longest", numbers.count(lengths.longest), unit),
    ]
    if lengths.share_cut is not None and lengths.limit is not None:
        row.append(Figure("Too long", numbers.percent(lengths.share_cut), f"over {lengths.limit:,} {unit}"))
    figures(row)
    show_chart(
        length_chart(lengths),
        key=f"lengths-{key}",
        alt=f"Rows by length: half are up to {lengths.p50:,} {unit}, 99 of 100 up to {lengths.p99:,}",
    )


def show_balance(summary: Summary, *, key: str) -> None:
    """How the rows are spread over splits, retailers, answers and languages."""
    groups = {
        "Splits": summary.splits,
        "What test rows measure": summary.slices,
        "Retailers": summary.retailers,
        "Answers": summary.answers,
        "Languages of the answers": summary.languages,
    }
    told = {title: counts for title, counts in groups.items() if counts}
    st.subheader("Balance", anchor=False)
    st.caption(
        f"{escape(summary.layout_reason, 300)} Written as {escape(summary.file_format)}. "
        f"{numbers.rows(summary.rows)} can be used, {numbers.count(summary.unusable_rows)} cannot."
    )
    if summary.ignored_columns:
        st.caption(f"Columns that training leaves out: {escape(', '.join(summary.ignored_columns), 300)}.")
    if not told:
        st.caption("There is nothing to count.")
        return
    with st.grid(2, min_column_width=320):
        for title, counts in told.items():
            with st.container(border=True):
                _counted(title, counts, key=f"{key}-{title}")


def length_chart(lengths: Lengths) -> go.Figure:
    """Rows per band of length, with the quantiles and the limit as lines."""
    bars, start, width = list(lengths.bars), float(lengths.shortest), 1.0
    if lengths.longest > lengths.shortest:
        width = (lengths.longest - lengths.shortest) / len(bars)
    else:  # all are equally long: one bar around that length
        bars, start = [sum(bars)], start - 0.5
    starts = [start + width * place for place in range(len(bars))]
    figure = _framed(
        "Length of the examples",
        f"n {numbers.rows(lengths.measured)}, {lengths.unit}, band of {width:,.0f}",
        x_title=lengths.unit,
        y_title="rows",
    )
    figure.add_bar(
        x=[start + width / 2 for start in starts],
        y=bars,
        width=[width * 0.94] * len(starts),
        marker={"color": BLUE},
        customdata=[(start, start + width) for start in starts],
        hovertemplate=(
            f"%{{customdata[0]:,.0f}}–%{{customdata[1]:,.0f}} {lengths.unit}<br>%{{y:,}} rows<extra></extra>"
        ),
        showlegend=False,
    )
    for place, (name, value) in enumerate((("p50", lengths.p50), ("p95", lengths.p95), ("p99", lengths.p99))):
        figure.add_vline(
            x=value,
            line={"color": AMBER, "width": 1.5, "dash": "dot"},
            annotation={"text": name, "y": 1 - 0.09 * place, "font": {"size": 11}},
        )
    if lengths.limit is not None:
        figure.add_vline(x=lengths.limit, line={"color": "#ef4444", "width": 2}, annotation_text="limit")
    figure.update_yaxes(range=[0, 1.25 * max(bars)])  # room for the names of the lines
    figure.update_layout(height=300, bargap=0)
    return figure


def balance_chart(title: str, counts: Mapping[str, int]) -> go.Figure:
    """The most frequent values with their rows; the others as one bar."""
    shown = list(counts.items())[:SHOWN_BARS]
    rest = sum(counts.values()) - sum(rows for _, rows in shown)
    if rest:
        shown.append(("all others", rest))
    total = sum(counts.values())
    figure = _framed(
        title,
        f"n {numbers.rows(total)}, {numbers.counted(len(counts), 'value')}",
        x_title="rows",
        y_title="",
    )
    figure.add_bar(
        x=[rows for _, rows in shown],
        y=list(range(len(shown))),
        orientation="h",
        marker={"color": BLUE, "cornerradius": 4},
        customdata=[100 * rows / total for _, rows in shown],
        hovertemplate="%{x:,} rows, %{customdata:.1f}%<extra></extra>",
        showlegend=False,
    )
    figure.update_yaxes(
        tickmode="array",
        tickvals=list(range(len(shown))),
        # Values come out of files: Plotly reads a few tags, so theirs are escaped.
        ticktext=[_label(value) for value, _ in shown],
        autorange="reversed",
    )
    figure.update_layout(height=150 + 26 * len(shown), bargap=0.25)
    return figure


def _label(value: str) -> str:
    return escape_html(plain(" ".join(value.split()), 28)) or "(empty)"


def _counted(title: str, counts: Mapping[str, int], *, key: str) -> None:
    total = sum(counts.values())
    first, rows = next(iter(counts.items()))
    show_chart(
        balance_chart(title, counts),
        key=f"balance-{key}",
        alt=f"{title}: {len(counts)} values in {numbers.rows(total)}, most often {first} with {rows:,}",
    )
    with st.expander("As a table"):
        show_table(
            [{"value": value, "rows": n, "share": n / total} for value, n in counts.items()],
            _COUNTS,
            key=f"counts-{key}",
            alt=f"{title} with their rows",
            file_name="balance.csv",
        )


def _framed(title: str, subtitle: str, *, x_title: str, y_title: str) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        title={
            "text": title,
            "font": {"size": 16},
            "subtitle": {"text": subtitle, "font": {"size": 12, "weight": 400}},
        },
        margin={"l": 8, "r": 8, "t": 64, "b": 8},
        hovermode="closest",
        uirevision="keep",
    )
    figure.update_xaxes(title_text=x_title)
    figure.update_yaxes(title_text=y_title)
    return figure
