"""Time zones: what a wall clock says as UTC, and the hours in which a clock was changed."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from core.errors import InvalidInputError
from core.harmonize.values.staged import looked_up

_FIRST_YEAR, _LAST_YEAR = 1970, 2100
_BUCKET_US = 900_000_000  # changes of clocks begin and end at quarters of an hour


@dataclass(frozen=True)
class Settled:
    """`ts` in UTC; the marks are None for a clock that never changes."""

    ts: pl.Expr
    ambiguous: pl.Expr | None = None
    nonexistent: pl.Expr | None = None


def zone_named(name: str) -> ZoneInfo:
    """Raises InvalidInputError for what is no zone of the IANA list."""
    try:
        zone = ZoneInfo("UTC" if name in ("Z", "GMT", "utc") else name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidInputError(
            f"There is no time zone «{name[:60]}».",
            "Names are those of the IANA list.",
            "Write for example America/Los_Angeles, Europe/Berlin or UTC.",
        ) from None
    return zone


def by_zone(wall: pl.Expr, zone: ZoneInfo) -> Settled:
    """A fixed clock is a subtraction; only hours in which a clock changed are looked at closely."""
    changes = _changes(zone.key)
    if not changes:
        return Settled((wall - pl.lit(_fixed_offset(zone))).dt.replace_time_zone("UTC"))
    repeated, skipped = _quarters(changes)
    quarter = wall.cast(pl.Int64) // _BUCKET_US
    ambiguous = quarter.is_in(repeated)
    nonexistent = quarter.is_in(list(skipped))
    gap = looked_up(quarter, skipped, pl.Int64()).fill_null(0)
    forward = wall + gap.cast(pl.Duration("us"))
    ts = forward.dt.replace_time_zone(zone.key, ambiguous="earliest", non_existent="null")
    return Settled(ts.dt.convert_time_zone("UTC"), ambiguous, nonexistent)


def wall_of(instant: pl.Expr, zone: ZoneInfo) -> pl.Expr:
    """The wall clock of a zone at an instant in UTC (with or without that said)."""
    if not _changes(zone.key):
        return instant.dt.replace_time_zone(None) + pl.lit(_fixed_offset(zone))
    return instant.dt.replace_time_zone("UTC").dt.convert_time_zone(zone.key).dt.replace_time_zone(None)


def _fixed_offset(zone: ZoneInfo) -> timedelta:
    return zone.utcoffset(datetime(2000, 1, 1)) or timedelta(0)


@lru_cache(maxsize=64)
def _changes(key: str) -> tuple[tuple[datetime, timedelta, timedelta], ...]:
    """(instant in UTC, offset before, offset after) of each change of a zone's clock, found to the minute."""
    return tuple(_look_for_changes(ZoneInfo(key)))


def _look_for_changes(zone: ZoneInfo) -> Iterator[tuple[datetime, timedelta, timedelta]]:
    """No zone has changed its clock twice within two weeks."""
    at = datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC)
    end = datetime(_LAST_YEAR, 1, 1, tzinfo=UTC)
    before = at.astimezone(zone).utcoffset()
    while at < end:
        later = at + timedelta(days=14)
        after = later.astimezone(zone).utcoffset()
        if before is not None and after is not None and before != after:
            low, high = at, later
            while high - low > timedelta(minutes=1):
                middle = low + (high - low) / 2
                middle = middle.replace(second=0, microsecond=0)
                if middle <= low:
                    break
                low, high = (middle, high) if middle.astimezone(zone).utcoffset() == before else (low, middle)
            yield high, before, after
        at, before = later, after


def _quarters(
    changes: tuple[tuple[datetime, timedelta, timedelta], ...],
) -> tuple[list[int], dict[int, int]]:
    """Quarters of an hour of the wall clock (since 1970): those that came twice, and those skipped → by how much."""
    repeated: list[int] = []
    skipped: dict[int, int] = {}
    for instant, before, after in changes:
        naive = instant.replace(tzinfo=None) - datetime(1970, 1, 1)
        first, last = sorted(
            int((naive + offset) / timedelta(microseconds=_BUCKET_US)) for offset in (before, after)
        )
        if after < before:
            repeated.extend(range(first, last))
        else:
            skipped.update(
                dict.fromkeys(range(first, last), int((after - before) / timedelta(microseconds=1)))
            )
    return repeated, skipped
