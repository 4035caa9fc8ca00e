"""Whether every amount that came in went out: input and output of each measure, added exactly and by separate ways.

input = output + duplicates + rejected, in units of the source. The input is read from the raw text with decimals; the
output is the written numbers. Where sums in one pass do not agree to the last digit, all values of that column are read
again one by one in Python, so that what is reported is neither a rounding of the first pass nor hidden by one.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import polars as pl

from core.harmonize.counted import counted
from core.harmonize.exact_sums import Sums, exact_output, exact_pairs, exact_sum, plain
from core.harmonize.findings import Finding
from core.harmonize.plan import Plan, Slot
from core.harmonize.report import MeasureTotals
from core.harmonize.source.records import LINE
from core.harmonize.stages import Stages, raw_of
from core.harmonize.values import numbers
from core.rmis.facts import FactType
from core.rmis.vocabularies import TransformOp

_MILLIONTH = Decimal("0.000001")
_NUMERIC_OPS = frozenset({TransformOp.DIVIDE, TransformOp.MULTIPLY})


def measures(plan: Plan) -> list[Slot]:
    """Slots whose amounts must be kept."""
    return [slot for slot in plan.slots if slot.measure]


def factor_of(slot: Slot) -> Fraction | None:
    """What an amount is multiplied by; None where another column says it."""
    transform = slot.cell.rule.transform
    if transform.op not in _NUMERIC_OPS:
        return Fraction(1)
    if transform.by is None:
        return None
    factor = numbers.fraction_of(transform.by)
    return 1 / factor if transform.op is TransformOp.DIVIDE else factor


def output_sums(slots: Iterable[Slot]) -> list[pl.Expr]:
    """Aggregates over the wide table: for each measure the number of values and their sum in the smallest unit."""
    return [each for slot in slots for each in _values_and_units(pl.col(slot.name), slot)]


def told_by_rows(plan: Plan) -> list[Slot]:
    """Measures that stand in the written rows as they were computed, each alone in its column."""
    if plan.sum_over:
        return []
    filled = Counter(slot.target for slot in plan.slots if slot.apart is None)
    return [slot for slot in measures(plan) if slot.apart is None and filled[slot.target] == 1]


def sums_of_rows(slots: Iterable[Slot]) -> list[pl.Expr]:
    """Aggregates as `output_sums`, to be read from the rows that were written."""
    return [each for slot in slots for each in _values_and_units(pl.col(slot.target), slot)]


def _values_and_units(value: pl.Expr, slot: Slot) -> list[pl.Expr]:
    return [value.count().alias(f"{slot.name}.values"), _units(value, slot).alias(f"{slot.name}.units")]


def _units(value: pl.Expr, slot: Slot) -> pl.Expr:
    units = value if _is_whole(slot) else (value * 10.0 ** places_of(slot)).round()
    return units.cast(pl.Int128, strict=False).sum()


def with_inputs(table: pl.LazyFrame, plan: Plan, slots: list[Slot], *, whole_table: bool) -> pl.LazyFrame:
    """The table with the decimals of raw columns, which `input_sums` adds up.

    `whole_table`: the source as it is, where a value stands once; else the wide table.
    """
    raws = {slot.name: slot.cell.raw if whole_table else raw_of(slot, plan) for slot in slots}
    return table.with_columns(**{f"{slot.name}.decimal": quick_read(slot, raws[slot.name]) for slot in slots})


def input_sums(plan: Plan, slots: list[Slot], *, whole_table: bool) -> list[pl.Expr]:
    """Aggregates over raw columns: number of values, how many are read at once, and their sum."""
    found: list[pl.Expr] = []
    for slot in slots:
        raw = slot.cell.raw if whole_table else raw_of(slot, plan)
        quick = pl.col(f"{slot.name}.decimal")
        found.append(raw.count().alias(f"{slot.name}.given"))
        found.append(quick.count().alias(f"{slot.name}.read"))
        found.append(quick.sum().alias(f"{slot.name}.input"))
    return found


def quick_read(slot: Slot, raw: pl.Expr) -> pl.Expr:
    """Decimals of most raw values, by another way than the transform takes."""
    if slot.dtype == pl.String and _is_whole(slot) and slot.cell.rule.transform.op is TransformOp.NONE:
        return raw.cast(pl.Int64, strict=False).cast(pl.Int128)
    if slot.dtype != pl.String:
        return pl.when(raw.is_not_null()).then(pl.col(slot.field)).cast(numbers.MONEY, strict=False)
    transform = slot.cell.rule.transform
    if transform.op is TransformOp.PARSE_NUMBER:
        return numbers.quick_decimal(raw, numbers.decimal_comma(transform.strip))
    return numbers.plain_decimal(raw)


def places_of(slot: Slot) -> int:
    """Decimal places in which the output is summed at first: six, or as many as the unit of the source has."""
    factor = factor_of(slot)
    return max(6, len(str(factor.denominator)) - 1) if factor is not None else 6


def read_once(slots: list[Slot], plan: Plan) -> list[Slot]:
    """Slots whose raw values are summed over the source as it is: one source row may become several or none."""
    return [] if plan.plain_rows else [slot for slot in slots if not slot.item]


def account(plan: Plan, stages: Stages, sums: Mapping[str, Any], rows: pl.LazyFrame) -> list[MeasureTotals]:
    """Totals of every measure from the aggregates of the first pass; what they leave open is read again.

    `rows`: the rows that were written.
    """
    told = told_by_rows(plan)
    outputs = {slot.name: rows.select(pl.col(slot.target).alias(slot.name)) for slot in told}
    with localcontext(numbers.EXACT):
        return [
            _account_of(slot, plan, stages, sums, outputs.get(slot.name, stages.wide))
            for slot in measures(plan)
        ]


def _account_of(
    slot: Slot, plan: Plan, stages: Stages, sums: Mapping[str, Any], outputs: pl.LazyFrame
) -> MeasureTotals:
    over_base = slot in read_once([slot], plan)
    raw, table = (slot.cell.raw, stages.base) if over_base else (raw_of(slot, plan), stages.wide)
    given, read = int(sums[f"{slot.name}.given"]), int(sums[f"{slot.name}.read"])
    total = Sums(Decimal(sums[f"{slot.name}.input"] or 0), given)
    if read < given:
        rest = exact_sum(table.filter(quick_read(slot, raw).is_null()), raw, slot)
        total = Sums(total.total + rest.total, given, rest.unread)
    output = Decimal(int(sums[f"{slot.name}.units"] or 0)) / (1 if _is_whole(slot) else 10 ** places_of(slot))
    repeated = _sum_of_repeated(slot, stages, raw) if over_base and len(stages.repeated) else Sums()
    values = int(sums[f"{slot.name}.values"])
    rejected = Sums()
    if values < given - repeated.values:
        wide_raw = raw_of(slot, plan)
        rejected = exact_sum(stages.wide.filter(pl.col(slot.name).is_null()), wide_raw, slot)
    factor = factor_of(slot)
    if factor is None:
        output = exact_output(outputs, slot)
        return _by_column(slot, plan, stages, total, output, rejected, values)
    due = _times(total.total - repeated.total - rejected.total, factor)
    if output != due:
        total = exact_sum(table, raw, slot)
        output = exact_output(outputs, slot)
        repeated = _sum_of_repeated(slot, stages, raw) if repeated.values else repeated
        due = _times(total.total - repeated.total - rejected.total, factor)
    return _told(
        slot, total, output, _beyond_floats(output - due, values), values, repeated, rejected, exact=True
    )


def findings_of(totals: Iterable[MeasureTotals]) -> list[Finding]:
    """An error for each amount that did not arrive."""
    return [
        Finding(
            "conservation.difference",
            "error",
            f"«{each.source_field}» makes {each.output_total} in {each.target}, which is off by {each.difference}.",
            (each.source_field,),
            each.rows,
            (),
            "Do not use these rows. Check the rule of this column.",
        )
        for each in totals
        if float(each.difference)
    ]


def invented(plan: Plan, sums: Mapping[str, Any]) -> list[Finding]:
    """An error for each measure that has more values than its source: a blank became a number."""
    found = []
    for slot in measures(plan):
        more = int(sums[f"{slot.name}.values"]) - int(sums[f"{slot.name}.given"])
        if more > 0:
            field = slot.cell.rule.source_field
            said = f"{slot.target} has {counted(more, 'value')} where «{field}» is blank."
            step = "Do not use these rows. Check the rule of this column."
            found.append(Finding("conservation.invented", "error", said, (field,), more, (), step))
    return found


def check_rows(rows: pl.LazyFrame, plan: Plan, sums: Mapping[str, Any]) -> list[Finding]:
    """Whether the rows that were written hold the amounts of columns that several rules fill, or that were summed."""
    known = {slot.name for slot in told_by_rows(plan)}
    slots = [slot for slot in measures(plan) if slot.apart is None and slot.name not in known]
    places = {slot.target: max(places_of(s) for s in slots if s.target == slot.target) for slot in slots}
    even = {target for target in places if len({places_of(s) for s in slots if s.target == target}) == 1}
    if not even:
        return []
    wanted = {slot.target: _units(pl.col(slot.target), slot) for slot in slots if slot.target in even}
    found = rows.select(**wanted).collect(engine="streaming").row(0, named=True)
    off = []
    for target, units in found.items():
        computed = sum(int(sums[f"{slot.name}.units"] or 0) for slot in slots if slot.target == target)
        allowed = int(sums["rows_in"]) if plan.sum_over else 0
        if abs(int(units or 0) - computed) > allowed:
            said = f"The rows that were written do not hold the amounts of {target} that were computed."
            off.append(Finding("conservation.written", "error", said, (target,), 0, (), "Run it again."))
    return off


def _sum_of_repeated(slot: Slot, stages: Stages, raw: pl.Expr) -> Sums:
    return exact_sum(stages.base.filter(pl.col(LINE).is_in(stages.repeated.implode())), raw, slot)


def _by_column(
    slot: Slot, plan: Plan, stages: Stages, total: Sums, output: Decimal, rejected: Sums, values: int
) -> MeasureTotals:
    """A factor that stands in every row: row by row with decimals, to the millionth."""
    by = pl.col(slot.cell.rule.transform.by_field or "").cast(pl.String)
    pairs = stages.wide.filter(pl.col(slot.name).is_not_null()).select(raw=raw_of(slot, plan), by=by)
    due = exact_pairs(pairs, divided=slot.cell.rule.transform.op is TransformOp.DIVIDE)
    difference = (output - due).quantize(_MILLIONTH, context=numbers.EXACT)
    return _told(slot, total, output, difference, values, Sums(), rejected, exact=False)


def _times(total: Decimal, factor: Fraction) -> Decimal:
    up = numbers.EXACT.multiply(total, Decimal(factor.numerator))
    return numbers.EXACT.divide(up, Decimal(factor.denominator))


def _beyond_floats(difference: Decimal, values: int) -> Decimal:
    """Nothing, where the difference is less than what the last of 17 digits of each value can hold.

    A value such as 0.5600000023841858 / 3 has no end as a decimal; amounts of up to 15 digits are exact.
    """
    return Decimal(0) if abs(difference) <= Decimal("1e-9") * max(values, 1) / 1000 else difference


def _is_whole(slot: Slot) -> bool:
    return slot.cell.column.dtype is FactType.INTEGER


def _told(
    slot: Slot,
    total: Sums,
    output: Decimal,
    difference: Decimal,
    values: int,
    repeated: Sums,
    rejected: Sums,
    *,
    exact: bool,
) -> MeasureTotals:
    whole = _is_whole(slot)
    return MeasureTotals(
        target=slot.target,
        qualifiers=dict(slot.cell.rule.qualifiers),
        source_field=slot.cell.rule.source_field,
        input_total=plain(total.total, whole=whole),
        output_total=plain(output, whole=whole),
        difference=plain(difference, whole=whole),
        rows=values,
        exact=exact,
        duplicates_total=plain(repeated.total, whole=whole),
        rejected_total=plain(rejected.total, whole=whole),
        rejected_rows=rejected.values,
        apart=slot.apart is not None,
    )
