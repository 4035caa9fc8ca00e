"""Days and times that can be read in two ways, lie in the future, or will still change."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import polars as pl

from core.harmonize.counted import agree
from core.harmonize.traps.evidence import Evidence, Finding, listed, probe_rows
from core.harmonize.traps.moments import PLAUSIBLE, Moments
from core.rmis.facts import FactGroup, fact_column

_DAY_FIRST = r"^(\d{1,2})[./-](\d{1,2})[./-](\d{2}|\d{4})\b"
DENSE, SPARSE = 0.7, 0.35
MIN_DAYS = 5
DEFAULT_WINDOW_DAYS = 14
#: How far the last days' rate has to lie below the earlier ones' before it is told as a fall.
FALLING = 0.6


def date_traps(evidence: Evidence, moments: list[Moments], texts: list[str]) -> Iterator[Finding]:
    """`texts` are the columns of times that hold text; `moments` those of them that could be read."""
    for name in texts:
        yield from _mixed(evidence, name)
        yield from _day_or_month(evidence, name)
    for each in moments:
        yield from _implausible(evidence, each)
    yield from _immature(evidence, moments)


def _mixed(evidence: Evidence, column: str) -> Iterator[Finding]:
    """Several ways of writing a time in one column, or some with a zone and some without."""
    text = evidence.text(column)
    distinct = text.drop_nulls().value_counts(name="rows")
    shaped = distinct.select(
        pl.col("rows"),
        pl.col(column).alias("text"),
        _shape(pl.col(column)).alias("shape"),
    )
    shapes = (
        shaped.group_by("shape").agg(pl.col("rows").sum()).sort("rows", "shape", descending=[True, False])
    )
    written = [(str(shape), int(rows)) for shape, rows in shapes.iter_rows()]
    if len(written) < 2:
        return
    usual = written[0][0]
    odd = sum(rows for _, rows in written[1:])
    zones = {shape.endswith("z") for shape, _ in written}
    rule, said = (
        ("time.mixed_zones", "with a zone and without one")
        if len(zones) > 1
        else (
            "time.mixed_formats",
            f"in {len(written)} different ways",
        )
    )
    unlike = shaped.filter(pl.col("shape") != usual).get_column("text")
    other = text.is_in(unlike.implode()) & text.is_not_null()
    example = text.filter(other).drop_nulls().first()
    sentence = (
        f"{listed([column])} writes times {said}: {evidence.share(odd)} unlike the others, for instance "
        f"«{str(example)[:40]}»."
    )
    step = (
        "Split the file by the way the time is written, or ask for one way; what does not fit is not guessed."
    )
    yield Finding(rule, "warning", sentence, (column,), odd, evidence.lines_where(other), step)


def _shape(text: pl.Expr) -> pl.Expr:
    """A time with every one or two digits as 9, a word as a, a zone as z: how it is written, without what it says."""
    return (
        text.str.replace(r"(:\d{2})[.,]\d{1,9}", "$1")
        .str.replace(r"(?:UTC|(:\d{2})\s?(?:Z|[+-]\d{2}:?\d{2}))$", "${1}z")
        .str.replace_all(r"[A-Za-z]{2,}", "a")
        .str.replace_all(r"\d{1,2}", "9")
    )


def _day_or_month(evidence: Evidence, column: str) -> Iterator[Finding]:
    """`03/04/2026`: which of the two is the day, and does the mapping read it the likely way?"""
    text = evidence.text(column)
    distinct = text.drop_nulls().unique()
    parts = distinct.str.extract_groups(_DAY_FIRST).struct.unnest()
    first, second = (parts.get_column(str(i)).cast(pl.Int32, strict=False) for i in (1, 2))
    both = first.is_not_null() & second.is_not_null()
    if not both.any() or both.sum() < 0.9 * distinct.len():
        return
    if (first > 12).any() or (second > 12).any():
        return
    years = parts.get_column("3").cast(pl.Int32, strict=False)
    day_first, month_first = _density(years, second, first), _density(years, first, second)
    likely = "day" if day_first > month_first else "month"
    clear = max(day_first, month_first) >= DENSE and min(day_first, month_first) <= SPARSE
    rule = evidence.rule(column)
    told = (rule.transform.format or "") if rule else ""
    chosen = "day" if told.startswith("%d") else "month" if told.startswith("%m") else ""
    rows = text.len() - text.null_count()
    example = str(distinct.sort().first())[:20]
    if chosen and clear and chosen != likely and distinct.len() >= MIN_DAYS:
        sentence = (
            f"{listed([column])} is read with the {chosen} first, but then its days are scattered; with the {likely} "
            f"first they follow one another ({evidence.share(rows)}, for instance «{example}»)."
        )
        step = f"Read {listed([column])} with the {likely} first."
        yield Finding("time.day_month_swapped", "warning", sentence, (column,), rows, (), step)
    elif not chosen:
        sentence = (
            f"In {listed([column])} no number is above 12 ({evidence.share(rows)}, for instance «{example}»): day and "
            f"month cannot be told apart{f'; the {likely} first is likelier' if clear else ''}."
        )
        step = "Look up in the report which comes first and say it in the format."
        yield Finding("time.day_or_month", "warning", sentence, (column,), rows, (), step)


def _density(years: pl.Series, months: pl.Series, days: pl.Series) -> float:
    """How many of the days between the first and the last are there."""
    table = pl.DataFrame({"y": years, "m": months, "d": days}).drop_nulls()
    ordinals = table.select(
        (pl.date(pl.col("y") + pl.when(pl.col("y") < 100).then(2000).otherwise(0), "m", "d"))
        .cast(pl.Int32)
        .alias("n")
    ).to_series()
    known = ordinals.drop_nulls().unique()
    low, high = known.min(), known.max()
    if not isinstance(low, int) or not isinstance(high, int):
        return 0.0
    return known.len() / (high - low + 1)


def _implausible(evidence: Evidence, moments: Moments) -> Iterator[Finding]:
    wall, name = moments.wall, moments.column
    if evidence.now is not None:
        # A day of grace: the file's clock may be ahead of UTC.
        limit = evidence.now.astimezone(UTC).replace(tzinfo=None) + timedelta(days=1)
        future = (wall > limit).fill_null(value=False)
        if count := int(future.sum()):
            newest = str(wall.max())[:10]
            sentence = f"{evidence.share(count)} in {listed([name])} {agree(count, 'lie')} in the future (up to {newest})."
            step = "Check the order of day and month, and the year; a forecast does not belong in a report."
            yield Finding(
                "time.future", "warning", sentence, (name,), count, evidence.lines_where(future), step
            )
    odd = ((wall < PLAUSIBLE[0]) | (wall > PLAUSIBLE[1])).fill_null(value=False)
    if count := int(odd.sum()):
        sentence = (
            f"{evidence.share(count)} in {listed([name])} {agree(count, 'lie')} before 2000 or after 2100."
        )
        step = (
            "Check the unit of the time stamp (seconds or milliseconds) and placeholders such as 1970-01-01."
        )
        yield Finding(
            "time.implausible", "warning", sentence, (name,), count, evidence.lines_where(odd), step
        )


def _immature(evidence: Evidence, moments: list[Moments]) -> Iterator[Finding]:
    """The newest days, whose outcomes are still being attributed."""
    outcomes = [name for name in evidence.measures if _is_outcome(evidence.used.get(name))]
    main = next((each for each in moments if evidence.roles.get(each.column) in ("ts", "date_local")), None)
    if main is None or not outcomes:
        return
    read_at = _read_at(evidence, moments)
    days = main.wall.dt.date()
    newest = main.wall.max()
    if not isinstance(newest, datetime):
        return
    window = max((_window(evidence, name) for name in outcomes), default=0) or DEFAULT_WINDOW_DAYS
    until = read_at or newest + timedelta(days=1)
    recent = (days > (until - timedelta(days=window)).date()).fill_null(value=False)
    count = int(recent.sum())
    if not count:
        return
    falling = _falls(evidence, outcomes, recent)
    when = f"{until:%Y-%m-%d}"
    sentence = (
        f"{evidence.share(count)} {agree(count, 'are')} younger than {window} days (counted back from {when}): their "
        f"{listed(outcomes)} will still be restated."
    )
    if falling:
        sentence += f" {falling}"
    step = "Fetch these days again when the window has passed; do not compare them with older ones."
    yield Finding(
        "time.immature",
        "warning" if falling else "note",
        sentence,
        (main.column, *outcomes),
        count,
        evidence.lines_where(recent),
        step,
    )


def _falls(evidence: Evidence, outcomes: list[str], recent: pl.Series) -> str:
    """A sentence where the newest days convert far worse than the older ones did."""
    base = next((c for t in ("clicks", "impressions") for c in evidence.columns_of(t)), None)
    result = evidence.amount(outcomes[0])
    shown = evidence.amount(base) if base else None
    if base is None or result is None or shown is None or recent.all():
        return ""
    rates = []
    for part in (recent, ~recent):
        events, total = float(result.filter(part).sum() or 0), float(shown.filter(part).sum() or 0)
        if total < 100 or events < 0:
            return ""
        rates.append((events / total, events))
    (now, _), (before, many) = rates
    if many < 50 or now >= FALLING * before:
        return ""
    return f"For each of {listed([base])} they show {now:.3g} of {listed(outcomes[:1])}, the days before {before:.3g}."


def _read_at(evidence: Evidence, moments: list[Moments]) -> datetime | None:
    for each in moments:
        if evidence.roles.get(each.column) in ("as_of", "ingested_at"):
            latest = each.wall.max()
            return latest if isinstance(latest, datetime) else None
    return evidence.now.astimezone(UTC).replace(tzinfo=None) if evidence.now else None


def _window(evidence: Evidence, column: str) -> int:
    rule = evidence.rule(column)
    days = [rule.qualifiers.get(n) for n in ("window_click_days", "window_view_days")] if rule else []
    return max((day for day in days if isinstance(day, int) and not isinstance(day, bool)), default=0)


def _is_outcome(target: str | None) -> bool:
    column = fact_column(target) if target else None
    return column is not None and column.group is FactGroup.OUTCOME


def text_times(evidence: Evidence, columns: list[str]) -> list[str]:
    """Those of `columns` that are text and not all digits (an epoch or 20260304 has one shape)."""
    kept = []
    for name in columns:
        if evidence.frame.schema[name] != pl.String:
            continue
        text = evidence.text(name)
        probe = text.gather(probe_rows(text.len(), 200)).drop_nulls()
        if probe.len() and not probe.str.contains(r"^\d+$").all():
            kept.append(name)
    return kept
