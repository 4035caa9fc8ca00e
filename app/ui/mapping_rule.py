"""One rule as widgets: operation, its parameters, target and qualifiers. What is chosen comes back as a rule."""

from collections.abc import Sequence
from zoneinfo import available_timezones

import pandas as pd
import streamlit as st
from pydantic import ValidationError

from app.ui.mapping_draft import first_reason
from app.ui.mapping_words import (
    OP_HELP,
    OP_WORDS,
    QUALIFIER_WORDS,
    carries_qualifiers,
    default_transform,
    ops_for,
    target_words,
    targets,
)
from app.ui.text import escape, plain
from core.harmonize.records import DAY_QUALIFIERS, Qualifier, Rule, Transform
from core.rmis.facts import FactType, fact_column
from core.rmis.vocabularies import QUALIFIERS, Grain, TransformOp

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
_NOTHING = "not said"


def edit_rule(rule: Rule, values: Sequence[str], columns: Sequence[str], *, key: str) -> Rule:
    """Draw a rule; the rule as chosen comes back, or the given one where the choices do not go together."""
    left, right = st.columns([3, 2])
    with left:
        target = _target(rule, key)
    with right:
        op = _operation(rule, target, key)
    st.caption(OP_HELP[op])
    transform = (
        rule.transform
        if op is rule.transform.op
        else default_transform(op, target, list(values[:MOST_WORDS]))
    )
    try:
        changed = _parameters(transform, target, values, columns, f"{key}-{op.value}")
        qualifiers = _qualifiers(rule, target, key) if op is not TransformOp.DROP else rule.qualifiers
        return Rule(
            source_field=rule.source_field,
            target=target,
            transform=changed,
            qualifiers=qualifiers if carries_qualifiers(target) else {},
            note=rule.note,
        )
    except ValidationError as error:
        st.warning(escape(first_reason(error), 300), icon=":material/warning:")
        return rule


def _target(rule: Rule, key: str) -> str | None:
    known = targets()
    options: list[str] = ["", *known]
    if rule.target and rule.target not in known:
        options.append(rule.target)
    chosen = st.selectbox(
        "Becomes",
        options,
        index=options.index(rule.target or ""),
        format_func=target_words,
        accept_new_options=True,
        help="A column of RMIS. Type to search; cost_component.… may be a name of your own.",
        key=f"{key}-target",
    )
    return chosen or None


def _operation(rule: Rule, target: str | None, key: str) -> TransformOp:
    """The operation; a column that gets another target gets what usually fits that one."""
    options = ops_for(target)
    likely = rule.transform.op
    if target != rule.target:
        likely = TransformOp.DROP if target is None else options[0]
    return st.selectbox(
        "How",
        options,
        index=options.index(likely),
        format_func=OP_WORDS.__getitem__,
        key=f"{key}-op-{target}",
    )


def _parameters(
    transform: Transform, target: str | None, values: Sequence[str], columns: Sequence[str], key: str
) -> Transform:
    match transform.op:
        case TransformOp.TO_UTC:
            return _time(transform, key)
        case TransformOp.DIVIDE | TransformOp.MULTIPLY:
            return _factor(transform, columns, key)
        case TransformOp.ENUM_MAP:
            return _words(transform, target, values, key)
        case TransformOp.PARSE_NUMBER:
            strip = st.text_input(
                "Signs to take away",
                transform.strip or "",
                max_chars=40,
                placeholder="None: currency signs and separators are known",
                key=f"{key}-strip",
            )
            return Transform(op=transform.op, strip=strip or None)
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
    zones = list(dict.fromkeys([transform.source_tz or "account_timezone", *ZONES_FIRST, *_zones()]))
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
        st.caption(f"{len(missing)} words of the first rows have no line: they would be listed, not guessed.")
    return Transform(op=transform.op, map=found or transform.map)


def _seldom(transform: Transform, columns: Sequence[str], key: str) -> Transform:
    match transform.op:
        case TransformOp.REGEX_SPLIT:
            pattern = st.text_input(
                "Pattern",
                transform.pattern or "",
                max_chars=500,
                help="A regular expression; a named group (?P<sku>…) fills that RMIS column.",
                key=f"{key}-pattern",
            )
            options = ["", *targets()]
            goes = st.selectbox(
                "Numbers go to",
                options,
                index=options.index(transform.numeric_goes_to or ""),
                format_func=target_words,
                key=f"{key}-numeric",
            )
            return Transform(op=transform.op, pattern=pattern or None, numeric_goes_to=goes or None)
        case TransformOp.EXPLODE:
            path = st.text_input(
                "List inside the value",
                transform.path or "",
                max_chars=500,
                placeholder="The value itself is the list",
                key=f"{key}-path",
            )
            if transform.const is not None:
                st.caption(f"Each row gets {escape(str(transform.const), 200)}.")
            return Transform(op=transform.op, path=path or None, const=transform.const)
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
            name = st.text_input(
                "Name of the key",
                transform.key if isinstance(transform.key, str) else "default",
                max_chars=60,
                key=f"{key}-name",
            )
            return Transform(op=transform.op, key=name or "default")
        case _:
            return transform


def _qualifiers(rule: Rule, target: str | None, key: str) -> dict[str, Qualifier]:
    if not carries_qualifiers(target):
        return {}
    st.caption("What this number means. Two numbers are comparable only where all of this is equal.")
    names = ["viewability_standard"] if target == "viewable_impressions" else list(QUALIFIERS)[:-1]
    found: dict[str, Qualifier] = {}
    with st.grid(3, min_column_width=120):
        for name in names:
            value = rule.qualifiers.get(name)
            if name in DAY_QUALIFIERS:
                days = st.number_input(
                    QUALIFIER_WORDS[name],
                    0,
                    400,
                    value if isinstance(value, int) else None,
                    placeholder=_NOTHING,
                    key=f"{key}-{name}",
                )
                found[name] = days
            else:
                options = ["", *QUALIFIERS[name]]
                told = "" if value is None else str(value).lower()
                word = st.selectbox(
                    QUALIFIER_WORDS[name],
                    options,
                    index=options.index(told),
                    format_func=lambda w: w.replace("_", " ") or _NOTHING,
                    key=f"{key}-{name}",
                )
                found[name] = (word == "true") if name == "new_to_brand" and word else word or None
    return {name: value for name, value in found.items() if value is not None}


def _column(label: str, told: str | None, columns: Sequence[str], key: str) -> str | None:
    options = list(dict.fromkeys([*([told] if told else []), *columns]))
    return st.selectbox(label, options, format_func=lambda c: plain(c, 60), key=key)


@st.cache_data(show_spinner=False)
def _zones() -> list[str]:
    return sorted(
        zone for zone in available_timezones() if "/" in zone and not zone.startswith(("Etc/", "posix"))
    )


def _as_number(value: object) -> float | None:
    try:
        number = float(str(value).replace(",", ""))
    except ValueError:
        return None
    return number if 0 < number < float("inf") else None


def _said(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
