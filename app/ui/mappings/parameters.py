"""The parameters of a transform as widgets: times, factors, words, and what is seldom needed."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from app.ui.mappings.words import (
    target_words,
    targets,
)
from app.ui.mappings.zones import time_zones
from app.ui.text import escape, plain
from core.harmonize.records import Transform
from core.rmis.facts import FactType, fact_column
from core.rmis.vocabularies import Grain, TransformOp

TIME_FORMATS = (
    "iso",
    "%Y-%m-%d",
    "%Y%m%d",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%d.%m.%Y",
    "%Y-%m-%d %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%d/%m/%Y %H:%M",
    "%b %d, %Y",
    "epoch_s",
    "epoch_ms",
    "epoch_us",
    "excel_serial",
)
ZONES_FIRST = ("account_timezone", "UTC")
UNITS = (100.0, 1000.0, 1e5, 1e6, 1e8)
UNIT_LABELS = {100.0: "100 · cents", 1000.0: "1,000", 1e5: "100,000 · millicents", 1e6: "1,000,000 · micros"}
UNIT_LABELS |= {1e8: "100,000,000 · microcents"}
MOST_WORDS = 200


def choose_parameters(
    transform: Transform, target: str | None, values: Sequence[str], columns: Sequence[str], key: str
) -> Transform:
    """Draw what this operation needs. Raises ValidationError where the choices do not go together."""
    match transform.op:
        case TransformOp.TO_UTC:
            return _time(transform, key)
        case TransformOp.DIVIDE | TransformOp.MULTIPLY:
            return _factor(transform, columns, key)
        case TransformOp.ENUM_MAP:
            return _words(transform, target, values, key)
        case TransformOp.PARSE_NUMBER:
            hint = "None: currency signs and separators are known"
            strip = _line("Signs to take away", transform.strip, f"{key}-strip", most=40, hint=hint)
            return Transform(op=transform.op, strip=strip)
        case TransformOp.PAD_GTIN:
            digits = [8, 12, 13, 14]
            to = st.segmented_control(
                "Digits", digits, default=transform.to or 14, required=True, key=f"{key}-to"
            )
            return Transform(op=transform.op, to=to)
        case TransformOp.DEDUP:
            on = _column("Column that names a row", transform.on, columns, f"{key}-on")
            return Transform(op=transform.op, on=on)
        case _:
            return _seldom(transform, columns, key)


def _time(transform: Transform, key: str) -> Transform:
    left, middle, right = st.columns([3, 3, 2])
    formats = list(dict.fromkeys([transform.format or "iso", *TIME_FORMATS]))
    form = left.selectbox(
        "Written as",
        formats,
        format_func=lambda f: plain(f, 40),
        accept_new_options=True,
        help="iso, epoch, or a pattern: %Y year, %m month, %d day, %H hour, %M minute, %b Mar, %p AM/PM.",
        key=f"{key}-format",
    )
    zones = list(dict.fromkeys([transform.source_tz or "account_timezone", *ZONES_FIRST, *time_zones()]))
    zone = middle.selectbox(
        "Clock of",
        zones,
        format_func=lambda z: "the account's time zone" if z == "account_timezone" else z,
        key=f"{key}-zone",
    )
    grains = list(Grain)
    grain = right.selectbox(
        "One value is",
        grains,
        index=grains.index(Grain(transform.grain))
        if transform.grain in list(Grain)
        else grains.index(Grain.DAY),
        format_func=lambda g: (
            "a period" if g == "aggregate" else f"{'an' if g[0] in 'eh' else 'a'} {g.value}"
        ),
        key=f"{key}-grain",
    )
    return Transform(op=transform.op, format=form, source_tz=zone, grain=grain.value)


def _factor(transform: Transform, columns: Sequence[str], key: str) -> Transform:
    ways = ("a number", "a column")
    way = st.segmented_control(
        "By",
        ways,
        default=ways[transform.by is None],
        required=True,
        label_visibility="collapsed",
        key=f"{key}-way",
    )
    if way == "a column":
        return Transform(
            op=transform.op,
            by_field=_column("Column with the factor", transform.by_field, columns, f"{key}-field"),
        )
    units = list(dict.fromkeys([transform.by or 1e6, *UNITS]))
    chosen = st.selectbox(
        "Number",
        units,
        format_func=lambda u: UNIT_LABELS.get(_as_number(u) or 0, f"{u}"),
        accept_new_options=True,
        help="Choose a unit or type a number.",
        key=f"{key}-by",
    )
    return Transform(op=transform.op, by=_as_number(chosen) or transform.by or 1e6)


def _words(transform: Transform, target: str | None, values: Sequence[str], key: str) -> Transform:
    """Words of the file and what each becomes, as a table in which lines can be added and taken away."""
    column = fact_column(target) if target else None
    closed = list(column.words) if column is not None and column.dtype is FactType.WORD else []
    told = dict(transform.map or {})
    rows = [*told.items(), *((value, None) for value in values[:MOST_WORDS] if value not in told)]
    table = pd.DataFrame(rows, columns=["file", "rmis"], dtype="object")
    becomes = (
        st.column_config.SelectboxColumn("Becomes", options=closed)
        if closed
        else st.column_config.TextColumn("Becomes", max_chars=200)
    )
    edited = st.data_editor(
        table,
        num_rows="dynamic",
        hide_index=True,
        height=min(38 * (len(rows) + 2), 330),
        column_config={
            "file": st.column_config.TextColumn("In the file", max_chars=500, required=True),
            "rmis": becomes,
        },
        key=f"{key}-{target}-map",
        alt="Words of the file and what they become",
    )
    pairs = zip(edited["file"], edited["rmis"], strict=True)
    found = {str(word): str(value) for word, value in pairs if _said(word) and _said(value)}
    missing = [value for value in values if value not in found]
    if missing:
        st.caption(
            f"Without a line: {len(missing)} of the words in the first rows. They would be listed, not guessed."
        )
    return Transform(op=transform.op, map=found or transform.map)


def _seldom(transform: Transform, columns: Sequence[str], key: str) -> Transform:
    match transform.op:
        case TransformOp.REGEX_SPLIT:
            named = "A regular expression; a named group (?P<sku>…) fills that RMIS column."
            pattern = _line("Pattern", transform.pattern, f"{key}-pattern", help=named)
            options = ["", *targets()]
            goes = st.selectbox(
                "Numbers go to",
                options,
                index=options.index(transform.numeric_goes_to or ""),
                format_func=target_words,
                key=f"{key}-numeric",
            )
            return Transform(op=transform.op, pattern=pattern, numeric_goes_to=goes or None)
        case TransformOp.EXPLODE:
            hint = "The value itself is the list"
            path = _line("List inside the value", transform.path, f"{key}-path", hint=hint)
            if transform.const is not None:
                st.caption(f"Each row gets {escape(str(transform.const), 200)}.")
            return Transform(op=transform.op, path=path, const=transform.const)
        case TransformOp.SUM_DELTA:
            told = [transform.key] if isinstance(transform.key, str) else list(transform.key or [])
            picked = st.multiselect(
                "Columns that name what is corrected",
                list(dict.fromkeys([*columns, *told])),
                default=told,
                format_func=lambda c: plain(c, 60),
                key=f"{key}-key",
            )
            return Transform(op=transform.op, key=picked or None)
        case TransformOp.PSEUDONYMIZE:
            told_key = transform.key if isinstance(transform.key, str) else "default"
            name = _line("Name of the key", told_key, f"{key}-name", most=60)
            return Transform(op=transform.op, key=name or "default")
        case _:
            return transform


def _line(
    label: str,
    told: str | None,
    key: str,
    *,
    most: int = 500,
    hint: str | None = None,
    help: str | None = None,
) -> str | None:
    """A short text; None where it is left empty."""
    return st.text_input(label, told or "", max_chars=most, placeholder=hint, help=help, key=key) or None


def _column(label: str, told: str | None, columns: Sequence[str], key: str) -> str | None:
    options = list(dict.fromkeys([*([told] if told else []), *columns]))
    return st.selectbox(label, options, format_func=lambda c: plain(c, 60), key=key)


def _as_number(value: object) -> float | None:
    try:
        number = float(str(value).replace(",", ""))
    except ValueError:
        return None
    return number if 0 < number < float("inf") else None


def _said(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
