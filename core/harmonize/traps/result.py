"""Traps that show in harmonized rows: rates that nobody pays, rows of the future, days that will be restated.

One pass of aggregates over the whole table, streamed, which a caller may take together with its own; another one only
for the first lines of what was found, and to count young days where nothing but the rows says what day it is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Protocol

import polars as pl

from core.harmonize.counted import agree, counted
from core.harmonize.traps.evidence import FIRST_LINES, Finding
from core.harmonize.traps.units import PER_DOLLAR
from core.rmis.comparability import ratio

LINE_COLUMN = "lineage.line"
#: Bounds of a rate over all rows, in US dollars: (lowest, highest).
BOUNDS: Mapping[str, tuple[float, float]] = MappingProxyType({"cpc": (0.02, 50.0), "cpm": (0.1, 300.0)})
HIGHEST_ROAS = 200.0
HIGHEST_CTR, IMPOSSIBLE_CTR = 0.5, 1.0
MIN_CLICKS, MIN_IMPRESSIONS = 30, 1000
INT32_LARGEST = 2_147_483_647
EXACT = 2**53
_COUNTED = ("impressions", "clicks", "attributed_units", "attributed_conversions")
#: Before the names of `result_sums`, so that they can stand beside other aggregates.
PREFIX = "result:"
_SUMMED = (*_COUNTED, "cost", "attributed_sales")


class Headline(Protocol):
    """The part of a headline plan that is needed here: qualifiers of each outcome target."""

    @property
    def qualifiers(self) -> Mapping[str, object]: ...


@dataclass(frozen=True)
class _Totals:
    """Sums and counts of the table, by name; a column that is not there is None."""

    found: Mapping[str, object]
    columns: frozenset[str]

    def number(self, name: str) -> float | None:
        value = self.found.get(name)
        return float(value) if isinstance(value, int | float) or hasattr(value, "as_tuple") else None  # type: ignore[arg-type]

    def moment(self, name: str) -> datetime | None:
        value = self.found.get(name)
        return value if isinstance(value, datetime) else None


def find_result_traps(
    frame: pl.LazyFrame | pl.DataFrame,
    plan: Headline | None = None,
    *,
    now: datetime | None = None,
    sums: Mapping[str, object] | None = None,
) -> list[Finding]:
    """Traps in harmonized rows; `plan` names the windows of the outcomes (14 days where it does not).

    `sums`: what `result_sums` gave for these rows, where they were taken already.
    """
    lazy = frame.lazy()
    schema = lazy.collect_schema()
    if sums is None:
        wanted = result_sums(schema, plan, now=now)
        sums = lazy.select(wanted).collect(engine="streaming").row(0, named=True)
    told = {name.removeprefix(PREFIX): value for name, value in sums.items() if name.startswith(PREFIX)}
    totals = _Totals(told, frozenset(schema.names()))
    if not totals.number("rows"):
        return []
    found = [
        *_rates(totals),
        *_currencies(totals),
        *_overflow(lazy, schema, totals),
        *_days(lazy, schema, totals, plan, now),
    ]
    return sorted(found, key=lambda each: (each.severity, each.rule, each.columns))


def result_sums(
    schema: pl.Schema, plan: Headline | None = None, *, now: datetime | None = None
) -> list[pl.Expr]:
    """Aggregates over harmonized rows of this schema, all that the traps need, each named with `PREFIX`."""
    wanted = [pl.len().alias("rows")]
    wanted += [
        pl.col(n).cast(pl.Float64).sum().alias(n) for n in _SUMMED if n in schema and schema[n].is_numeric()
    ]
    wanted += [
        (pl.col(n).abs() == INT32_LARGEST).sum().alias(f"int32.{n}")
        for n in _COUNTED
        if n in schema and schema[n].is_numeric()
    ]
    if "event_type" in schema:
        for word in ("click", "impression"):
            wanted.append((pl.col("event_type").cast(pl.String) == word).sum().alias(f"events.{word}"))
    if "currency" in schema:
        wanted.append(
            pl.col("currency").cast(pl.String).drop_nulls().unique().sort().implode().alias("currencies")
        )
    times = [n for n in ("ts", "as_of", "ingested_at") if isinstance(schema.get(n), pl.Datetime)]
    wanted += [pl.col(name).max().alias(name) for name in times]
    if now is not None and "ts" in times and _outcomes(schema):
        wanted.append((pl.col("ts") > _young_since(now, plan)).sum().alias("young"))
    return [each.name.prefix(PREFIX) for each in wanted]


def _outcomes(schema: pl.Schema) -> list[str]:
    return [name for name in schema if name.startswith(("attributed_", "ntb_"))]


def _young_since(until: datetime, plan: Headline | None) -> datetime:
    return until.astimezone(UTC) - timedelta(days=_window(plan))


def _rates(totals: _Totals) -> Iterator[Finding]:
    scale = PER_DOLLAR.get(_only_currency(totals) or "", 1)
    clicks = _counted(totals, "clicks", "events.click")
    shown = _counted(totals, "impressions", "events.impression")
    cost, sales = totals.number("cost"), totals.number("attributed_sales")
    if cost and cost > 0:
        enough = (clicks or 0) >= MIN_CLICKS
        yield from _bounded("cpc", ratio(cost, clicks), scale, ("cost", "clicks"), enough=enough)
        enough = (shown or 0) >= MIN_IMPRESSIONS
        yield from _bounded("cpm", ratio(cost, shown, 1000), scale, ("cost", "impressions"), enough=enough)
        roas = ratio(sales, cost)
        if roas is not None and roas > HIGHEST_ROAS:
            said = (
                f"Sales over cost are {roas:,.0f} over all rows: sales or cost are probably in another unit."
            )
            yield _implausible("result.roas", said, ("attributed_sales", "cost"), totals)
    rate = ratio(clicks, shown)
    if rate is not None and (shown or 0) >= MIN_IMPRESSIONS and rate > HIGHEST_CTR:
        impossible = (
            "there are more clicks than impressions" if rate > IMPOSSIBLE_CTR else "usual is below 0.1"
        )
        said = f"Clicks over impressions are {rate:.2f} over all rows: {impossible}."
        yield _implausible("result.ctr", said, ("clicks", "impressions"), totals)


def _bounded(
    name: str, rate: float | None, scale: float, columns: tuple[str, ...], *, enough: bool
) -> Iterator[Finding]:
    low, high = BOUNDS[name]
    if rate is None or not enough or low * scale <= rate <= high * scale:
        return
    noun = "A click costs" if name == "cpc" else "A thousand impressions cost"
    said = f"{noun} {rate:,.4g} over all rows; usual is {low * scale:g} to {high * scale:g}."
    step = "Check the unit of the cost (micros, cents) and what the counts count."
    yield Finding(f"result.{name}", "warning", said, columns, 0, (), step)


def _implausible(rule: str, sentence: str, columns: tuple[str, ...], totals: _Totals) -> Finding:
    step = "Check the units and targets of these columns before anyone uses the rows."
    return Finding(rule, "warning", sentence, columns, int(totals.number("rows") or 0), (), step)


def _counted(totals: _Totals, column: str, events: str) -> float | None:
    return totals.number(column) if column in totals.columns else totals.number(events)


def _currencies(totals: _Totals) -> Iterator[Finding]:
    found = totals.found.get("currencies")
    if isinstance(found, list) and len(found) > 1:
        said = f"The rows are in {len(found)} currencies ({', '.join(map(str, found[:5]))})."
        step = "Group by currency; amounts of two currencies are never added."
        yield Finding("money.several_currencies", "note", said, ("currency",), 0, (), step)


def _only_currency(totals: _Totals) -> str | None:
    found = totals.found.get("currencies")
    return str(found[0]) if isinstance(found, list) and len(found) == 1 else None


def _overflow(lazy: pl.LazyFrame, schema: pl.Schema, totals: _Totals) -> Iterator[Finding]:
    for name in _COUNTED:
        if count := int(totals.number(f"int32.{name}") or 0):
            said = f"{name} is {INT32_LARGEST:,} in {counted(count, 'row')}, the largest number of 32 bits: an overflow."
            lines = _lines(lazy, schema, pl.col(name).abs() == INT32_LARGEST)
            yield Finding(
                "result.overflow", "warning", said, (name,), count, lines, "Export these rows again."
            )
        total = totals.number(name)
        if total is not None and abs(total) > EXACT:
            said = f"The sum of {name} is {total:,.0f}, more than floats can hold exactly."
            yield Finding(
                "result.overflow", "warning", said, (name,), 0, (), "Check whether this is a count at all."
            )


def _days(
    lazy: pl.LazyFrame, schema: pl.Schema, totals: _Totals, plan: Headline | None, now: datetime | None
) -> Iterator[Finding]:
    newest = totals.moment("ts")
    if newest is None:
        return
    if now is not None and newest > now + timedelta(days=1):
        future = pl.col("ts") > now + timedelta(days=1)
        count = _count(lazy, future)
        said = f"{counted(count, 'row')} {agree(count, 'lie')} in the future (up to {newest:%Y-%m-%d})."
        step = "Check the format and zone of the time column."
        yield Finding("time.future", "warning", said, ("ts",), count, _lines(lazy, schema, future), step)
    outcomes = _outcomes(schema)
    if not outcomes:
        return
    days = _window(plan)
    read_at = totals.moment("as_of") or totals.moment("ingested_at")
    until = read_at or now or newest + timedelta(days=1)
    recent = pl.col("ts") > _young_since(until, plan)
    counted_already = totals.number("young") if read_at is None else None
    count = _count(lazy, recent) if counted_already is None else int(counted_already)
    if count:
        said = f"{counted(count, 'row')} {agree(count, 'are')} younger than {counted(days, 'day')} on {until:%Y-%m-%d}: "
        said += f"their {', '.join(outcomes)} will be restated."
        step = "Fetch these days again when the window has passed."
        yield Finding(
            "time.immature", "note", said, ("ts", *outcomes), count, _lines(lazy, schema, recent), step
        )


def _window(plan: Headline | None) -> int:
    """The longest window of the headline: qualifiers may be flat, or one set for each outcome column."""
    told = dict(plan.qualifiers) if plan is not None else {}
    sets = [told, *(value for value in told.values() if isinstance(value, Mapping))]
    days = [each.get(name) for each in sets for name in ("window_click_days", "window_view_days")]
    return max((d for d in days if isinstance(d, int) and not isinstance(d, bool)), default=0) or 14


def _count(lazy: pl.LazyFrame, mask: pl.Expr) -> int:
    return int(lazy.select(mask.sum()).collect(engine="streaming").item())


def _lines(lazy: pl.LazyFrame, schema: pl.Schema, mask: pl.Expr) -> tuple[int, ...]:
    numbered = lazy.with_row_index("__row", offset=1)
    line = LINE_COLUMN if LINE_COLUMN in schema and schema[LINE_COLUMN].is_integer() else "__row"
    found = numbered.filter(mask).select(line).head(FIRST_LINES).collect()
    return tuple(int(value) for value in found.to_series().drop_nulls())
