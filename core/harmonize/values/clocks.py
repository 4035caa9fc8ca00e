"""Times of any clock as UTC: ISO text with offset, Z or none, strptime patterns, epochs, spreadsheet serials.

A wall time that a daylight-saving change made ambiguous is the first of the two; one that never was is moved forward
by the hour that was skipped. Both are counted. Values that are no time become null.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import polars as pl

from core.errors import InvalidInputError
from core.harmonize.values.staged import Steps, looked_up, or_else, with_steps
from core.harmonize.values.zones import by_zone, wall_of, zone_named

INSTANT = pl.Datetime("us", "UTC")
WALL = pl.Datetime("us")
_SPACES = " \t\r\n\u00a0\u202f\ufeff"
_EPOCHS = {"epoch_s": 1_000_000.0, "epoch_ms": 1_000.0, "epoch_us": 1.0}
_ALIASES = {
    "epoch": "epoch_s",
    "unix": "epoch_s",
    "%s": "epoch_s",
    "epoch_seconds": "epoch_s",
    "epoch_millis": "epoch_ms",
    "unix_ms": "epoch_ms",
    "epoch_micros": "epoch_us",
    "excel": "excel_serial",
    "iso8601": "iso",
    "iso_8601": "iso",
    "": "iso",
}
_ISO = (
    r"^(?P<year>\d{4})-?(?P<month>\d{2})-?(?P<day>\d{2})"
    r"(?:[Tt ]\s*(?P<hour>\d{2})(?::?(?P<minute>\d{2})(?::?(?P<second>\d{2})(?P<part>[.,]\d{1,9})?)?)?"
    r"\s*(?P<zone>[Zz]|UTC|GMT|[+\-]\d{2}(?::?\d{2})?)?)?$"
)
_WITH_OFFSET = re.compile(r"%[#:]*z|%\+")
Grain = Literal["event", "hour", "day", "aggregate"]


@dataclass(frozen=True)
class TimeExprs:
    """`ts` in UTC, `date_local` in the account's zone; `ambiguous` and `nonexistent` mark wall times of changed clocks.

    The last two are None where the clock never changes or says its offset.
    """

    ts: pl.Expr
    date_local: pl.Expr
    ambiguous: pl.Expr | None = None
    nonexistent: pl.Expr | None = None
    steps: Steps = ()

    def of(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """The frame with the columns that these expressions name."""
        return with_steps(frame, [self.steps])


@dataclass(frozen=True)
class _Read:
    """`wall` as written, `offset` of it in microseconds where the text says one (null: it does not)."""

    wall: pl.Expr
    offset: pl.Expr | None
    steps: Steps = ()


def to_utc(
    value: pl.Expr,
    format: str | None = None,
    source_tz: str | None = None,
    grain: str | None = None,
    account_timezone: str = "UTC",
    *,
    dtype: pl.DataType | None = None,
    name: str = "__time_",
) -> TimeExprs:
    """Times of a column (text, unless `dtype` says otherwise) as UTC.

    An offset in the value counts for more than `source_tz`, which defaults to the account's zone. At day grain `ts`
    is the local midnight and `date_local` the day as it is written. Raises InvalidInputError for an unknown zone or
    a pattern that is none.
    """
    account = zone_named(account_timezone)
    zone = account if source_tz in (None, "", "account_timezone") else zone_named(str(source_tz))
    kind = kind_of_format(format)
    read = _read(value, kind, dtype or pl.String(), name)
    if grain == "day" and _is_instant(kind, dtype):
        read = _Read(wall_of(read.wall, zone), None, read.steps)
    wall, ts = pl.col(f"{name}wall"), pl.col(f"{name}ts")
    midnight = read.wall.dt.date().cast(WALL) if grain == "day" else read.wall
    unsaid = wall if read.offset is None else pl.when(read.offset.is_null()).then(wall)
    told = by_zone(pl.col(f"{name}unsaid"), zone)
    steps = (
        *read.steps,
        {f"{name}wall": midnight},
        {f"{name}unsaid": unsaid},
        {f"{name}ts": _by_offset(told.ts, wall, read.offset)},
    )
    day = wall.dt.date() if grain == "day" else wall_of(ts, account).dt.date()
    return TimeExprs(ts, day, told.ambiguous, told.nonexistent, steps)


def local_date(
    value: pl.Expr, format: str | None = None, *, dtype: pl.DataType | None = None, name: str = "__day_"
) -> TimeExprs:
    """The day as it is written, without any change of clock; `ts` is that day's midnight, as if in UTC."""
    read = _read(value, kind_of_format(format), dtype or pl.String(), name)
    wall = pl.col(f"{name}wall")
    steps = (*read.steps, {f"{name}wall": read.wall})
    return TimeExprs(wall.dt.date().cast(WALL).dt.replace_time_zone("UTC"), wall.dt.date(), steps=steps)


def kind_of_format(format: str | None) -> str:
    """iso, epoch_s, epoch_ms, epoch_us, excel_serial or a strptime pattern. Raises InvalidInputError."""
    given = (format or "").strip()
    kind = _ALIASES.get(given.lower(), given)
    if kind.lower() in ("iso", "excel_serial", *_EPOCHS):
        return kind.lower()
    if "%" not in kind or len(kind) > 100 or re.search(r"%(?:$|[^A-Za-z%.0-9:_#+\-])", kind):
        raise InvalidInputError(
            f"«{given[:60]}» is no pattern of a time.",
            "A pattern is written with %Y, %m, %d, %H, %M, %S.",
            "Write a strptime pattern, iso, epoch_s, epoch_ms, epoch_us or excel_serial.",
        )
    return kind


def says_the_time(format: str | None) -> bool:
    """Whether values of a pattern hold a time of the day, not the day alone."""
    kind = kind_of_format(format)
    return "%" not in kind or bool(re.search(r"%[-_0#]?[HIklTRrXcsp+]", kind))


def _is_instant(kind: str, dtype: pl.DataType | None) -> bool:
    """Whether values are points in time that say nothing of a wall clock."""
    aware = isinstance(dtype, pl.Datetime) and dtype.time_zone is not None
    return aware or kind in _EPOCHS or bool(_WITH_OFFSET.search(kind))


def _read(value: pl.Expr, kind: str, dtype: pl.DataType, name: str) -> _Read:
    if isinstance(dtype, pl.Datetime):
        if dtype.time_zone is None:
            return _Read(value.cast(WALL), None)
        return _Read(value.dt.convert_time_zone("UTC").dt.replace_time_zone(None).cast(WALL), pl.lit(0))
    if dtype == pl.Date:
        return _Read(value.cast(WALL), None)
    if kind in _EPOCHS or kind == "excel_serial":
        number = (
            value.str.strip_chars(_SPACES).cast(pl.Float64, strict=False) if dtype == pl.String else value
        )
        return _counted(number.cast(pl.Float64, strict=False), kind)
    text = value if dtype == pl.String else value.cast(pl.String)
    return _iso(text, name) if kind == "iso" else _patterned(text, kind)


def _counted(number: pl.Expr, kind: str) -> _Read:
    """Epochs are UTC; a spreadsheet counts days of the wall clock since 1899-12-30, to about a millisecond."""
    if kind == "excel_serial":
        micros = ((number - 25569.0) * 86_400_000.0).round() * 1000.0
        return _Read(_from_micros(micros), None)
    return _Read(_from_micros((number * _EPOCHS[kind]).round()), pl.lit(0))


def _from_micros(micros: pl.Expr) -> pl.Expr:
    """Between the years 1900 and 2200; other numbers are no times."""
    possible = micros.is_between(-2_208_988_800_000_000, 7_258_118_400_000_000)
    return pl.when(possible).then(micros).cast(pl.Int64, strict=False).cast(WALL)


def _patterned(text: pl.Expr, pattern: str) -> _Read:
    """By a strptime pattern. What Python writes %f is the fraction of a second."""
    pattern = re.sub(r"([.,])%f", r"%.f", pattern)
    bare = text.str.strip_chars(_SPACES)
    if _WITH_OFFSET.search(pattern):
        instant = bare.str.to_datetime(pattern, time_unit="us", time_zone="UTC", strict=False)
        wall = instant.dt.replace_time_zone(None)
        return _Read(wall, pl.lit(0))
    if not says_the_time(pattern):
        return _Read(bare.str.to_date(pattern, strict=False).cast(WALL), None)
    if not re.search(r"%[-_0#]?M|%[TRrXcs]", pattern):  # an hour without minutes is not read otherwise
        return _Read((bare + " :00").str.to_datetime(f"{pattern} :%M", time_unit="us", strict=False), None)
    return _Read(bare.str.to_datetime(pattern, time_unit="us", strict=False), None)


def _iso(text: pl.Expr, name: str) -> _Read:
    """ISO 8601 with offset, Z or none. Texts of 19 to 25 letters are read by their places, four times as fast."""
    local, tail, read = (f"{name}{part}" for part in ("local", "tail", "read"))
    by_place = text.str.slice(0, 19).str.to_datetime(
        "%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False, cache=False
    )
    offset = looked_up(text.str.slice(19), _offsets(), pl.Int64())
    shape = pl.Struct({"wall": WALL, "zone": pl.Int64()})
    both = pl.col(local).is_not_null() & pl.col(tail).is_not_null()
    quick = pl.when(both).then(pl.struct(wall=pl.col(local), zone=pl.col(tail)))
    steps: Steps = ({local: by_place, tail: offset}, {read: or_else(quick, text, _odd_iso, shape)})
    zone = pl.col(read).struct.field("zone")
    return _Read(pl.col(read).struct.field("wall"), pl.when(zone != _NAIVE).then(zone), steps)


def _odd_iso(text: pl.Expr) -> pl.Expr:
    """Wall clock and offset of a text in any other form of ISO 8601."""
    parts = text.str.strip_chars(_SPACES).str.extract_groups(_ISO)
    zone = _offset_of(parts.struct.field("zone"))
    wall = _wall_of_parts(parts)
    return pl.when(zone.is_not_null() & wall.is_not_null()).then(pl.struct(wall=wall, zone=zone))


_NAIVE = -1  # microseconds: no clock is off by one of them


@lru_cache(maxsize=1)
def _offsets() -> dict[str, int]:
    """What may follow the seconds → its offset in microseconds."""
    minutes = [sign * quarter * 15 for quarter in range(4 * 14 + 1) for sign in (1, -1)]
    written = {"": _NAIVE, "Z": 0, "z": 0}
    for offset in minutes:
        hours, rest = divmod(abs(offset), 60)
        sign = "-" if offset < 0 else "+"
        written[f"{sign}{hours:02}:{rest:02}"] = offset * 60_000_000
        written[f"{sign}{hours:02}{rest:02}"] = offset * 60_000_000
    return {**written, "-00:00": 0, "-0000": 0, ".000Z": 0}


def _offset_of(zone: pl.Expr) -> pl.Expr:
    digits = zone.str.replace(":", "", literal=True)
    hours = digits.str.slice(1, 2).cast(pl.Int64, strict=False)
    minutes = digits.str.slice(3, 2).cast(pl.Int64, strict=False).fill_null(0)
    named = zone.str.to_uppercase().is_in(["Z", "UTC", "GMT"])
    silent = zone.is_null() | (zone == "")
    total = (hours * 60 + minutes) * 60_000_000
    possible = (hours <= 15) & (minutes < 60)
    return (
        pl.when(silent)
        .then(_NAIVE)
        .when(named)
        .then(0)
        .when(possible)
        .then(pl.when(zone.str.starts_with("-")).then(-total).otherwise(total))
    )


def _wall_of_parts(parts: pl.Expr) -> pl.Expr:
    def part(name: str) -> pl.Expr:
        return parts.struct.field(name).cast(pl.Int32, strict=False)

    day = pl.concat_str(*(parts.struct.field(name) for name in ("year", "month", "day")), separator="-")
    hour, minute, second = (part(name).fill_null(0) for name in ("hour", "minute", "second"))
    fraction = parts.struct.field("part").str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
    seconds = hour.cast(pl.Int64) * 3600 + minute * 60 + second
    micros = seconds * 1_000_000 + (fraction.fill_null(0) * 1e6).round().cast(pl.Int64)
    possible = (hour < 24) & (minute < 60) & (second < 60)
    wall = day.str.to_date("%Y-%m-%d", strict=False).cast(WALL) + micros.cast(pl.Duration("us"))
    return pl.when(possible).then(wall)


def _by_offset(by_zone: pl.Expr, wall: pl.Expr, offset: pl.Expr | None) -> pl.Expr:
    """By the offset that is written, else by the zone."""
    if offset is None:
        return by_zone
    said = (wall - offset.cast(pl.Duration("us"))).dt.replace_time_zone("UTC")
    return said.fill_null(by_zone)
