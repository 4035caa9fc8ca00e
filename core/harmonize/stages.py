"""A plan as lazy tables: from the rows of a source to rows of RMIS, and to what is kept apart of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from core.harmonize.plan import Plan, Slot
from core.harmonize.row_shape import (
    CHILD,
    FIRST_PART,
    PART,
    corrected,
    repeated_lines,
    with_items,
    with_parts,
    without_lines,
)
from core.harmonize.source.records import LINE
from core.harmonize.values.numbers import WITHHELD
from core.harmonize.values.staged import with_steps
from core.rmis.facts import FACT_COLUMNS, FactType
from core.rmis.vocabularies import QUALIFIERS

LINEAGE = ("lineage.file", "lineage.line", "lineage.mapping")
SUPPRESSED = "__suppressed"
_GROUP = "__group"
_ORDER = {column.name: place for place, column in enumerate(FACT_COLUMNS)}
_DTYPES: dict[FactType, pl.DataType] = {
    FactType.TIMESTAMP: pl.Datetime("us", "UTC"),
    FactType.DATE: pl.Date(),
    FactType.INTEGER: pl.Int64(),
    FactType.NUMBER: pl.Float64(),
    FactType.BOOLEAN: pl.Boolean(),
}


@dataclass(frozen=True)
class Stages:
    """`base`: the source as it is. `wide`: after duplicates, lists and parts, with the value of every slot.

    `rows`: what is written. `apart`: rows of other windows and splits, or None. `repeated`: lines of duplicates.
    """

    base: pl.LazyFrame
    wide: pl.LazyFrame
    rows: pl.LazyFrame
    apart: pl.LazyFrame | None
    repeated: pl.Series


def build_stages(base: pl.LazyFrame, plan: Plan, *, file: str, label: str) -> Stages:
    """Only duplicates are looked for here and now, where the mapping asks for it; all else stays lazy."""
    repeated = repeated_lines(base, plan.dedup_on) if plan.dedup_on else pl.Series(LINE, [], pl.UInt32)
    shaped = without_lines(base, repeated)
    if plan.items is not None:
        shaped = with_items(shaped, plan.items)
    if plan.parts:
        shaped = with_parts(shaped, plan.parts)
    wide = widened(shaped, plan)
    facts = _facts(plan)
    lineage = [
        pl.lit(file).alias(LINEAGE[0]),
        pl.col(LINE).alias(LINEAGE[1]),
        pl.lit(label).alias(LINEAGE[2]),
    ]
    qualifiers = [
        pl.lit(value, dtype=_qualifier_dtype(name)).alias(name)
        for name, value in plan.headline.qualifiers.items()
    ]
    rows = wide.select(*(value.alias(name) for name, value in facts), *qualifiers, *lineage)
    if plan.sum_over:
        rows = corrected(rows, plan.sum_over, LINEAGE[1])
    return Stages(base, wide, rows, _apart(wide, plan, facts, lineage), repeated)


def widened(frame: pl.LazyFrame, plan: Plan) -> pl.LazyFrame:
    """The frame with the value of every slot under its name, and whether a measure of the row was withheld."""
    staged = with_steps(frame, (slot.cell.steps for slot in plan.slots))
    staged = staged.with_columns(
        **{slot.name: in_its_row(slot.cell.value, slot, plan) for slot in plan.slots}
    )
    flag = _withheld(plan)
    return staged.with_columns(flag.alias(SUPPRESSED)) if flag is not None else staged


def _withheld(plan: Plan) -> pl.Expr | None:
    """Whether a measure of the row has a raw value such as «<10»; looked for only in chunks that lost a value."""
    slots = [slot for slot in plan.slots if slot.measure and slot.dtype == pl.String]
    if not slots:
        return None

    def run(pairs: pl.Series) -> pl.Series:
        found = pl.repeat(value=False, n=len(pairs), eager=True)
        for slot in slots:
            value, raw = pairs.struct.field(slot.name), pairs.struct.field(f"{slot.name}.text")
            if value.null_count() > raw.null_count():
                found |= (value.is_null() & raw.str.contains(WITHHELD)).fill_null(value=False)
        return found

    pairs = [pl.col(slot.name) for slot in slots]
    pairs += [raw_of(slot, plan).alias(f"{slot.name}.text") for slot in slots]
    return pl.struct(pairs).map_batches(run, return_dtype=pl.Boolean, is_elementwise=True)


def withheld_counts(plan: Plan) -> list[pl.Expr]:
    """An aggregate over the wide table: rows of which a measure was withheld."""
    marked = any(slot.measure and slot.dtype == pl.String for slot in plan.slots)
    return [pl.col(SUPPRESSED).sum().alias("suppressed")] if marked else []


def raw_of(slot: Slot, plan: Plan) -> pl.Expr:
    """The raw value of a slot as text, in the row where it belongs."""
    return in_its_row(slot.cell.raw, slot, plan)


def in_its_row(value: pl.Expr, slot: Slot, plan: Plan) -> pl.Expr:
    """A part's value stands in its own row; an amount of the whole source row in its first row alone, never twice."""
    conditions = []
    if slot.part is not None:
        conditions.append(pl.col(PART) == slot.part)
    elif plan.parts and slot.measure:
        conditions.append(pl.col(PART) == pl.col(FIRST_PART))
    if plan.items is not None and slot.measure and not slot.item:
        conditions.append(pl.col(CHILD) == 0)
    return pl.when(pl.all_horizontal(conditions)).then(value) if conditions else value


def lost(slot: Slot, plan: Plan) -> pl.Expr:
    """Whether there is a raw value of which nothing came."""
    return raw_of(slot, plan).is_not_null() & pl.col(slot.name).is_null()


def dtype_of(slot: Slot) -> pl.DataType:
    return _DTYPES.get(slot.cell.column.dtype, pl.String())


def targets_of(slots: Iterable[Slot]) -> list[str]:
    """In the order of RMIS; parts of the cost stand behind the money columns."""
    found = dict.fromkeys(slot.target for slot in slots)
    return sorted(found, key=_place)


def _place(target: str) -> tuple[int, str]:
    return (_ORDER.get(target, _ORDER["retailer_net_revenue"]), "" if target in _ORDER else target)


def _facts(plan: Plan) -> list[tuple[str, pl.Expr]]:
    """(RMIS column, its value) of the rows that are written, in the order of RMIS."""
    named: dict[str, pl.Expr] = {}
    mine = [slot for slot in plan.slots if slot.apart is None]
    for target in targets_of(mine):
        named[target] = _value([slot for slot in mine if slot.target == target], plan)
    for target in {name for part in plan.parts for name in part.constants}:
        chosen = [
            pl.when(pl.col(PART) == place).then(pl.lit(part.constants[target]))
            for place, part in enumerate(plan.parts)
            if target in part.constants
        ]
        own = [named[target].cast(pl.String)] if target in named else []
        named[target] = pl.coalesce(*chosen, *own)
    for target, constant in plan.constants.items():
        if target in named and target in plan.constants:
            named[target] = named[target].fill_null(pl.lit(constant))
        named.setdefault(target, pl.lit(constant))
    if any(slot.measure and slot.dtype == pl.String for slot in plan.slots):
        flag = pl.col(SUPPRESSED)
        named["suppressed"] = named["suppressed"] | flag if "suppressed" in named else flag
    return [(name, named[name]) for name in sorted(named, key=_place)]


def _value(slots: Sequence[Slot], plan: Plan) -> pl.Expr:
    columns = [pl.col(slot.name) for slot in slots]
    value = columns[0] if len(columns) == 1 else pl.coalesce(*columns)
    instead = slots[0].cell.otherwise
    if instead is None:
        return value
    known_blank = _is_blank_word(slots[0], plan)
    return value.fill_null(pl.when(lost(slots[0], plan) & ~known_blank).then(pl.lit(instead)))


def _is_blank_word(slot: Slot, plan: Plan) -> pl.Expr:
    """Whether the map itself says that this value means nothing."""
    if not slot.cell.blank_words:
        return pl.lit(value=False)
    unmapped = pl.when(pl.col(slot.name).is_null()).then(raw_of(slot, plan))
    return (
        unmapped.str.strip_chars()
        .str.to_lowercase()
        .is_in(list(slot.cell.blank_words))
        .fill_null(value=False)
    )


def _qualifier_dtype(name: str) -> pl.DataType:
    if not QUALIFIERS[name]:
        return pl.Int64()
    return pl.Boolean() if name == "new_to_brand" else pl.String()


def _apart(
    wide: pl.LazyFrame, plan: Plan, facts: Sequence[tuple[str, pl.Expr]], lineage: Sequence[pl.Expr]
) -> pl.LazyFrame | None:
    """One row for each source row and set of qualifiers that has a value; amounts of the headline are not repeated."""
    slots = [slot for slot in plan.slots if slot.apart is not None]
    if not slots:
        return None
    measures = {slot.target for slot in plan.slots if slot.measure}
    outcomes = targets_of(slots)
    groups = pl.lit(list(range(len(plan.apart_groups))), dtype=pl.List(pl.Int16))
    split = wide.with_columns(groups.alias(_GROUP)).explode(_GROUP)
    values = {
        target: pl.coalesce(
            *(
                pl.when(pl.col(_GROUP) == slot.apart).then(pl.col(slot.name))
                for slot in slots
                if slot.target == target
            )
        )
        for target in outcomes
    }
    said = [name for name in QUALIFIERS if any(name in group for group in plan.apart_groups)]
    qualifiers = [_group_qualifier(name, plan) for name in said]
    labels = [
        value.alias(name)
        for name, value in facts
        if name not in measures and name not in ("suppressed", *outcomes)
    ]
    shown = [pl.col(target) for target in outcomes]
    return split.select(
        *labels, *(value.alias(name) for name, value in values.items()), *qualifiers, *lineage
    ).filter(pl.any_horizontal(column.is_not_null() for column in shown))


def _group_qualifier(name: str, plan: Plan) -> pl.Expr:
    dtype = _qualifier_dtype(name)
    values = [
        pl.when(pl.col(_GROUP) == place).then(pl.lit(group[name], dtype=dtype))
        for place, group in enumerate(plan.apart_groups)
        if name in group
    ]
    return pl.coalesce(*values).alias(name)
