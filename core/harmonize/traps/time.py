"""Clocks that are not what they say: local times marked Z, UTC read as local, hours that the zone did not have.

People sleep at night. Where single events fall into a night hole, its place on the clock tells which zone the clock
shows. A second column with the local day or hour tells it exactly.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from core.harmonize.counted import agree
from core.harmonize.traps.evidence import Evidence, Finding, listed
from core.harmonize.traps.moments import Moments
from core.harmonize.traps.roles import plain_words
from core.rmis.vocabularies import TransformOp

MIN_EVENTS = 400
NIGHT_HOURS = 5
#: The quiet hours of people lie around half past three; further away than this from it is no night.
NIGHT_MIDDLE, NIGHT_REACH = 3.5, 2.75
#: The quiet hours hold less than this share of all events (even traffic: 0.21), else there is no hole to judge by.
HOLE = 0.09
AGREES, DISAGREES = 0.995, 0.01
MIN_DISAGREEING = 5


@dataclass(frozen=True, slots=True)
class Clock:
    """How the mapping (or the text itself) reads a column: as UTC, or as the local time of `zone`."""

    moments: Moments
    as_utc: bool
    zone: ZoneInfo


def clock_traps(evidence: Evidence, moments: list[Moments]) -> Iterator[Finding]:
    """Clocks of this file that show another zone than the one they are read in."""
    for each in moments:
        clock = read_clock(evidence, each)
        if clock is None or not each.has_clock:
            continue
        witnessed = list(_witnesses(evidence, clock, moments))
        yield from witnessed
        if not witnessed:
            yield from _night(clock)
        if not clock.as_utc:
            yield from _hours_of_the_zone(evidence, clock)


def unknown_clock(evidence: Evidence, moments: list[Moments]) -> Iterator[Finding]:
    """Local times and days that are read in the account's zone, where nobody has said which that is."""
    if evidence.mapping is None or evidence.zone_known:
        return
    names = [each.column for each in moments if _is_local(evidence, each)]
    if names:
        said = (
            f"The clock of {listed(names)} is unknown: its values say no time zone and neither does the card. "
            "UTC was assumed; if the account lives elsewhere, every row is off by hours and days begin at the wrong time."
        )
        step = "Name account_timezone on the card (UTC, if it is that), or source_tz in the rule."
        yield Finding("time.unknown_zone", "warning", said, tuple(names), 0, (), step)


def _is_local(evidence: Evidence, moments: Moments) -> bool:
    rule = evidence.rule(moments.column)
    if rule is None or rule.dropped or rule.target not in ("ts", "as_of", "ingested_at"):
        return False
    if rule.transform.source_tz not in (None, "account_timezone") or moments.format.startswith("epoch"):
        return False
    told = moments.wall.is_not_null()
    return bool((told & moments.zone.is_null()).any())


def read_clock(evidence: Evidence, moments: Moments) -> Clock | None:
    """None where every cell says its own offset, which is believed, or the account's zone is not known."""
    rule = evidence.rule(moments.column)
    told = rule.transform.source_tz if rule and rule.transform.op is TransformOp.TO_UTC else None
    account = zone_of(evidence.account_timezone)
    marked_utc = moments.zone.drop_nulls().is_in(["Z", "UTC", "+00:00", "+0000"]).all() and moments.zoned
    if moments.zoned and not marked_utc:
        return None
    zone = account if told in (None, "UTC", "account_timezone") else zone_of(told or "")
    if zone is None:
        return None
    as_utc = marked_utc if told is None else told == "UTC"
    if told is None and not marked_utc and moments.format.startswith("epoch"):
        as_utc = True
    if told not in (None, "UTC") and marked_utc and moments.format == "iso":
        as_utc = True
    return Clock(moments, as_utc, zone)


def _night(clock: Clock) -> Iterator[Finding]:
    wall = clock.moments.wall.drop_nulls()
    offset = _usual_offset(wall, clock.zone)
    if wall.len() < MIN_EVENTS or abs(offset) < 2 or not _is_spread(wall):
        return
    middle, share = quiet_hours(wall.dt.hour())
    if share > HOLE:
        return
    local_as_read = (middle + offset) % 24 if clock.as_utc else middle
    local_otherwise = middle if clock.as_utc else (middle + offset) % 24
    if _is_night(local_as_read) or not _is_night(local_otherwise):
        return
    name, zone = clock.moments.column, clock.zone.key
    if clock.as_utc:
        sentence = (
            f"{listed([name])} is read as UTC, yet it looks like the local time of {zone}: its quietest hours are "
            f"around {_hour(middle)} as written ({share:.0%} of {wall.len():,} events), which would be "
            f"{_hour(local_as_read)} there."
        )
        rule, step = (
            "time.local_marked_utc",
            f"Ask the retailer; if so, read {listed([name])} in {zone}, not as UTC.",
        )
    else:
        sentence = (
            f"{listed([name])} is read as the local time of {zone}, yet it looks like UTC: its quietest hours are "
            f"around {_hour(middle)} as written ({share:.0%} of {wall.len():,} events); as UTC they are "
            f"{_hour(local_otherwise)} there."
        )
        rule, step = "time.utc_read_as_local", f"Ask the retailer; if so, read {listed([name])} as UTC."
    yield Finding(rule, "warning", sentence, (name,), wall.len(), (), step)


def quiet_hours(hours: pl.Series) -> tuple[float, float]:
    """Middle (0 to 24) of the five hours in a row with the fewest events, and their share of all."""
    counts = [0] * 24
    for hour, count in hours.value_counts().iter_rows():
        counts[int(hour)] = int(count)
    sums = [sum(counts[(start + i) % 24] for i in range(NIGHT_HOURS)) for start in range(24)]
    lowest = min(sums)
    # Several windows may be equally quiet; their middle is the middle of the night.
    angles = [2 * math.pi * (start + NIGHT_HOURS / 2) / 24 for start in range(24) if sums[start] == lowest]
    angle = math.atan2(sum(map(math.sin, angles)), sum(map(math.cos, angles)))
    return (angle / (2 * math.pi) * 24) % 24, lowest / max(sum(counts), 1)


def _witnesses(evidence: Evidence, clock: Clock, moments: list[Moments]) -> Iterator[Finding]:
    """Another column tells the local day or hour: it agrees with the clock in one reading and not in the other."""
    wall = clock.moments.wall
    local, utc = in_zone(wall, clock.zone), wall
    if local is None:
        return
    as_read, otherwise = (local, utc) if clock.as_utc else (utc, local)
    for other, told, part in _local_columns(evidence, clock, moments):
        expected, other_way = (
            (as_read.dt.date(), otherwise.dt.date())
            if part == "day"
            else (
                as_read.dt.hour().cast(pl.Float64),
                otherwise.dt.hour().cast(pl.Float64),
            )
        )
        known = told.is_not_null() & wall.is_not_null()
        wrong = known & (told != expected).fill_null(value=True)
        right_otherwise = (told == other_way).filter(known).mean()
        rows, count = int(known.sum()), int(wrong.sum())
        if not isinstance(right_otherwise, float) or count < MIN_DISAGREEING:
            continue
        if right_otherwise < AGREES or count < DISAGREES * rows:
            continue
        yield _disagreement(evidence, clock, other, part, wrong)
        return


def _disagreement(evidence: Evidence, clock: Clock, other: str, part: str, wrong: pl.Series) -> Finding:
    name, zone, count = clock.moments.column, clock.zone.key, int(wrong.sum())
    read, truth = (
        ("UTC", f"the local time of {zone}") if clock.as_utc else (f"the local time of {zone}", "UTC")
    )
    rule = "time.local_marked_utc" if clock.as_utc else "time.utc_read_as_local"
    sentence = (
        f"{listed([name])} is read as {read}, but then the {part} in {listed([other])} is wrong in "
        f"{evidence.share(count)}; read as {truth} it is right."
    )
    step = f"Read {listed([name])} as {truth}."
    return Finding(rule, "warning", sentence, (name, other), count, evidence.lines_where(wrong), step)


def _local_columns(
    evidence: Evidence, clock: Clock, moments: list[Moments]
) -> Iterator[tuple[str, pl.Series, str]]:
    for each in moments:
        days_only = each.column != clock.moments.column and not each.has_clock
        if days_only and not each.zoned and not each.format.startswith("epoch"):
            yield each.column, each.wall.dt.date(), "day"
    for name in evidence.columns:
        words = plain_words(name).split()
        if (
            "hour" in words
            and not {"utc", "gmt", "z"} & set(words)
            and (hours := evidence.number(name)) is not None
        ):
            told = hours.drop_nulls()
            if told.len() and told.is_between(0, 23).all() and told.n_unique() > 6:
                yield name, hours, "hour"


def _hours_of_the_zone(evidence: Evidence, clock: Clock) -> Iterator[Finding]:
    """Local times in the hour that the clock skipped or went through twice."""
    wall, name = clock.moments.wall, clock.moments.column
    zoned = wall.dt.replace_time_zone(clock.zone.key, non_existent="null", ambiguous="earliest")
    missing = wall.is_not_null() & zoned.is_null()
    if count := int(missing.sum()):
        sentence = (
            f"{evidence.share(count)} in {listed([name])} "
            f"{agree(count, 'lie')} in an hour that {clock.zone.key} did not have "
            "(the clock was put forward)."
        )
        step = "These times are moved forward by an hour; if there are many, the clock is probably UTC."
        yield Finding(
            "time.missing_hour", "warning", sentence, (name,), count, evidence.lines_where(missing), step
        )
    late = wall.dt.replace_time_zone(clock.zone.key, non_existent="null", ambiguous="latest")
    twice = (zoned != late).fill_null(value=False)
    if count := int(twice.sum()):
        sentence = (
            f"{evidence.share(count)} in {listed([name])} "
            f"{agree(count, 'lie')} in the hour that {clock.zone.key} went through twice; "
            "which of the two is meant is not said, the first is taken."
        )
        yield Finding("time.repeated_hour", "note", sentence, (name,), count, evidence.lines_where(twice))


def in_zone(wall: pl.Series, zone: ZoneInfo) -> pl.Series | None:
    """The wall clock of a UTC column in another zone."""
    return wall.dt.replace_time_zone("UTC").dt.convert_time_zone(zone.key).dt.replace_time_zone(None)


def zone_of(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _usual_offset(wall: pl.Series, zone: ZoneInfo) -> float:
    middle = wall.median()
    moment = middle if isinstance(middle, datetime) else datetime(2026, 1, 1)
    offset = moment.replace(tzinfo=UTC).astimezone(zone).utcoffset()
    hours = offset.total_seconds() / 3600 if offset else 0.0
    return hours - 24 if hours > 12 else hours


def _is_spread(wall: pl.Series) -> bool:
    """Events, not hourly report rows: many different minutes, and several days."""
    return wall.dt.minute().n_unique() > 10 and wall.dt.date().n_unique() >= 2


def _is_night(hour: float) -> bool:
    distance = abs(hour - NIGHT_MIDDLE) % 24
    return min(distance, 24 - distance) <= NIGHT_REACH


def _hour(hour: float) -> str:
    minutes = round(hour * 2) * 30 % (24 * 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
