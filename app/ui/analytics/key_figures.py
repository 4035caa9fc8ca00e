"""The row of key figures: each with its n, its interval, a sparkline, and what changed against the period before."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import streamlit as st

from app.ui import numbers
from app.ui.analytics import words
from app.ui.badges import Color
from app.ui.text import escape
from core.analytics.records import LEAST_FOR_P95, Change, Figure, Outlook, Point, Totals

Read = Callable[[Point], float | None]
_COLORS: dict[Outlook, Color] = {Outlook.BETTER: "green", Outlook.WORSE: "red", Outlook.UNCLEAR: "gray"}


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """One card. `change` is the difference to before, `note` says n and interval, `line` the values of the sparkline."""

    label: str
    value: str
    note: str
    change: str
    outlook: Outlook
    help: str
    line: tuple[float, ...]


def show_key_figures(totals: Totals, points: Sequence[Point]) -> None:
    """Draw the cards. The last point, which is not over yet, is not part of the sparklines."""
    cards = key_figures(totals, points[:-1])
    before = f"Before: the {length_of(totals)} until {numbers.moment(totals.now.since)}"
    with st.grid(4, min_column_width=165, gap="small"):
        for card in cards:
            with st.container(border=True, height="stretch", gap="xsmall"):
                st.metric(
                    card.label,
                    escape(card.value),
                    card.change or None,
                    delta_color=_COLORS[card.outlook],
                    delta_arrow=_arrow(card.change),
                    delta_description="vs before" if card.change else None,
                    help=card.help,
                    chart_data=list(card.line) if len(card.line) > 1 else None,
                    chart_type="area",
                )
                st.caption(escape(card.note, 200))
    st.caption(
        "In colour: a change whose 95 % interval leaves out 0. Grey: not clear, or a plain count. "
        f"{before}; what runs now is not over yet."
    )


def key_figures(totals: Totals, points: Sequence[Point]) -> list[KeyFigure]:
    """The cards as values."""
    now, before = totals.now, totals.before
    tokens, tokens_before = (each.prompt_tokens + each.completion_tokens for each in (now, before))
    token_change = _grown(float(tokens), float(tokens_before))
    change = totals.changes
    return [
        KeyFigure(
            "Requests",
            numbers.short_count(now.requests),
            f"n {now.requests:,}; before {before.requests:,}",
            words.relative(change["requests"]),
            Outlook.UNCLEAR,
            f"{numbers.counted(now.failures, 'failure')}, {now.cancelled:,} left by their readers.",
            _line(points, lambda point: float(point.requests)),
        ),
        _measured(
            "Success rate",
            change["success_rate"],
            points,
            _success,
            "Answered, of all requests but those whose reader went away. Wilson's interval.",
        ),
        _measured(
            "Median latency",
            change["latency_p50"],
            points,
            lambda point: point.latency.quantile(0.5) if point.latency.count else None,
            "Half of the answers were faster. Of answered requests; to 1 %.",
        ),
        _measured(
            "P95 latency",
            change["latency_p95"],
            points,
            lambda point: point.latency.quantile(0.95) if point.latency.count >= LEAST_FOR_P95 else None,
            f"19 of 20 answers were faster. It needs {LEAST_FOR_P95} answers; to 1 %.",
        ),
        KeyFigure(
            "Tokens",
            numbers.short_count(tokens),
            f"{numbers.short_count(now.prompt_tokens)} read, {numbers.short_count(now.completion_tokens)} generated, "
            f"n {now.requests:,}",
            token_change,
            Outlook.UNCLEAR,
            "Read and generated, of all requests.",
            _line(points, lambda point: float(point.prompt_tokens + point.completion_tokens)),
        ),
        KeyFigure(
            f"Cost, {escape(now.cost.unit, 8)}",
            numbers.NOTHING if now.cost.note else words.money(now.cost.value or 0.0),
            now.cost.note or f"n {now.requests:,}; before {words.money(before.cost.value or 0.0)}",
            words.relative(change["cost"]),
            Outlook.UNCLEAR,
            "Tokens times the prices that held when each request ended.",
            () if now.cost.note else _line(points, lambda point: point.cost),
        ),
        _measured(
            "Rating, 1–5",
            change["rating"],
            points,
            lambda point: point.rating_sum / point.rating_count if point.rating_count else None,
            "Mean of what people gave.",
        ),
        _measured(
            "Thumbs up",
            change["thumbs"],
            points,
            lambda point: _part(point.thumbs_up, point.thumbs_up + point.thumbs_down),
            "Of those who pressed a thumb.",
        ),
    ]


def length_of(totals: Totals) -> str:
    """How long the period is, in words."""
    length: timedelta = totals.now.until - totals.now.since
    hours = round(length.total_seconds() / 3600)
    if hours < 2:
        return f"{round(length.total_seconds() / 60)} minutes"
    return f"{hours} hours" if hours < 72 else f"{round(hours / 24)} days"


def _measured(label: str, change: Change, points: Sequence[Point], read: Read, help_text: str) -> KeyFigure:
    figure: Figure = change.now
    told = words.difference(change.difference) if change.difference.value is not None else ""
    ends = words.difference_interval(change.difference)
    note = words.with_n(figure)
    if told and ends:
        note += f"; change {ends}"
    return KeyFigure(label, words.value(figure), note, told, change.outlook, help_text, _line(points, read))


def _line(points: Sequence[Point], read: Read) -> tuple[float, ...]:
    """Without the steps that have no value."""
    return tuple(value for point in points if (value := read(point)) is not None)


def _success(point: Point) -> float | None:
    return _part(point.successes, point.requests - point.cancelled)


def _part(count: int, of: int) -> float | None:
    return 100 * count / of if of else None


def _grown(now: float, before: float) -> str:
    return f"{100 * (now / before - 1):+,.0f}%".replace("-", "−") if before else ""


def _arrow(change: str) -> Literal["up", "down", "off"]:
    """By the sign: Streamlit does not know the real minus sign."""
    if not change or change.lstrip("+−").startswith("0 ") or change in ("+0%", "−0%"):
        return "off"
    return "down" if change.startswith("−") else "up"
