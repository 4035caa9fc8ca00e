"""Times in text cells, read for judging: the wall clock as it is written, and what is written of its zone."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

import polars as pl

from core.harmonize.traps.evidence import Evidence, probe_rows
from core.harmonize.traps.roles import is_called_id
from core.rmis.vocabularies import TransformOp

ISO = r"^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?)?\s?(?:Z|[+-]\d{2}:?\d{2}|UTC)?$"
_ZONE = r"(Z|[+-]\d{2}:?\d{2}|UTC)$"
EPOCH_UNITS: Mapping[str, float] = MappingProxyType({"epoch_s": 1, "epoch_ms": 1e3, "epoch_us": 1e6})
#: 1990 to 2100 in seconds: a column of whole numbers in these bounds is one of times.
EPOCH_FIRST, EPOCH_LAST = 631_152_000, 4_102_444_800
#: Formats that are tried in this order; the first that reads nearly all cells is taken.
FORMATS = (
    # Two digits of a year come first: %Y reads «26» as the year 26, while %y does not read «2026».
    "%d/%m/%y %H:%M:%S",
    "%m/%d/%y %H:%M:%S",
    "%d/%m/%y %H:%M",
    "%m/%d/%y %H:%M",
    "%d/%m/%y",
    "%m/%d/%y",
    "%d.%m.%y",
    "%d-%m-%y",
    "%m-%d-%y",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d",
    "%Y%m%d",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y",
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%d/%m/%Y",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d-%b-%Y",
    "%d %b %Y",
    "%b %d, %Y",
    "%B %d, %Y",
)
_READABLE = 0.9
PLAUSIBLE = (datetime(2000, 1, 1), datetime(2100, 1, 1))


@dataclass(frozen=True, slots=True)
class Moments:
    """The times of one column. `wall` is the clock as written (no zone), `zone` the text of the zone or null."""

    column: str
    format: str
    wall: pl.Series
    zone: pl.Series

    @property
    def zoned(self) -> bool:
        """Whether the cells themselves say the zone."""
        return self.zone.null_count() < self.zone.len()

    @property
    def has_clock(self) -> bool:
        """Whether there is a time of day in it, not only days."""
        told = self.wall.drop_nulls()
        return bool((told.dt.truncate("1d") != told).any())


def time_columns(evidence: Evidence) -> list[str]:
    """Columns that hold times or days: by their rule, without one by their cells."""
    if evidence.mapping is not None:
        targets = {"ts", "date_local", "as_of", "ingested_at"}
        ruled = [name for name in evidence.columns if evidence.op(name) is TransformOp.TO_UTC]
        return list(
            dict.fromkeys([*ruled, *(n for n in evidence.columns if evidence.roles.get(n) in targets)])
        )
    return [name for name in evidence.columns if _looks_like_times(evidence, name)]


def read_moments(evidence: Evidence, column: str) -> Moments | None:
    """The times of a column, in the format of its rule or in one that fits; None where too few cells are times."""
    series = evidence.frame.get_column(column)
    if series.dtype.is_temporal():
        return _typed(column, series)
    text = evidence.text(column)
    rule = evidence.rule(column)
    told = rule.transform.format if rule and rule.transform.op is TransformOp.TO_UTC else None
    formats = (told,) if told else ("iso", *EPOCH_UNITS, *FORMATS)
    probe = text.gather(probe_rows(text.len(), 400)).drop_nulls()
    for each in formats:
        if probe.len() and _read(probe, each)[0].null_count() <= (1 - _READABLE) * probe.len():
            wall, zone = _read(text, each)
            return Moments(column, each, wall, zone)
    return None


def _looks_like_times(evidence: Evidence, column: str) -> bool:
    series = evidence.frame.get_column(column)
    if series.dtype.is_temporal():
        return series.dtype in (pl.Date, pl.Datetime)
    text = evidence.text(column)
    probe = text.gather(probe_rows(text.len(), 50)).drop_nulls()
    if not probe.len():
        return False
    letters = probe.str.len_chars()
    if not letters.is_between(8, 40).all():
        return False
    moments = None if is_called_id(column) else read_moments(evidence, column)
    # Eight digits may be a day or an identifier; days lie in our time.
    if moments is None:
        return False
    share = moments.wall.drop_nulls().is_between(*PLAUSIBLE).mean()
    return isinstance(share, float) and share > _READABLE


def _typed(column: str, series: pl.Series) -> Moments | None:
    if series.dtype not in (pl.Date, pl.Datetime):
        return None
    zone = getattr(series.dtype, "time_zone", None)
    wall = (
        series.cast(pl.Datetime("us"))
        if zone is None
        else series.dt.replace_time_zone(None).cast(pl.Datetime("us"))
    )
    return Moments(column, "typed", wall, pl.Series([zone] * series.len(), dtype=pl.String))


def _read(text: pl.Series, format: str) -> tuple[pl.Series, pl.Series]:
    """Wall clock and zone text of every cell; null where the cell is not in this format."""
    nothing = pl.Series(text.name, [None], dtype=pl.String).new_from_index(0, text.len())
    if format in EPOCH_UNITS or format in ("epoch", "unix", "%s"):
        seconds = text.cast(pl.Float64, strict=False) / EPOCH_UNITS.get(format, 1)
        seconds = seconds.set((seconds < EPOCH_FIRST) | (seconds > EPOCH_LAST), None)
        return (seconds * 1e6).cast(pl.Int64, strict=False).cast(pl.Datetime("us")), nothing
    if format == "excel_serial":
        days = text.cast(pl.Float64, strict=False)
        return ((days - 25569) * 86_400_000_000).cast(pl.Int64, strict=False).cast(pl.Datetime("us")), nothing
    if format == "iso":
        return _read_iso(text)
    # What Python writes %f is the fraction of a second with its point, in the words of polars.
    format = re.sub(r"[.,]?%f", "%.f", format)
    if re.search(r"%[HI]", format) and "%M" not in format:
        text, format = text + " :00", f"{format} :%M"  # polars reads no hour without its minutes
    zoned = re.search(r"%:?[zZ]", format) is not None
    zone = text.str.extract(_ZONE) if zoned or format.endswith("Z") else nothing
    try:
        wall = text.str.to_datetime(format, strict=False, time_unit="us")
    except pl.exceptions.PolarsError:
        wall = nothing.cast(pl.Datetime("us"))
    if isinstance(wall.dtype, pl.Datetime) and wall.dtype.time_zone is not None:
        wall = wall.dt.replace_time_zone(
            None
        )  # polars gives UTC here; the clock as written needs its offset back
        wall = wall + _offset(zone)
    return wall, zone


def _read_iso(text: pl.Series) -> tuple[pl.Series, pl.Series]:
    fits = text.str.contains(ISO)
    iso = text.set((~fits).fill_null(value=True), None)
    clock = iso.str.slice(0, 19).str.replace("T", " ", literal=True).str.strip_chars("Z +")
    short = clock.str.len_chars()
    padded = clock.set(short == 10, None)
    wall = padded.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False, time_unit="us")
    if padded.null_count() > iso.null_count():
        days = iso.str.slice(0, 10).set(short != 10, None)
        wall = wall.zip_with(
            wall.is_not_null(), days.str.to_datetime("%Y-%m-%d", strict=False, time_unit="us")
        )
    if wall.null_count() > iso.null_count():
        minutes = iso.str.slice(0, 16).str.replace("T", " ", literal=True)
        wall = wall.zip_with(
            wall.is_not_null(), minutes.str.to_datetime("%Y-%m-%d %H:%M", strict=False, time_unit="us")
        )
    zone = iso.str.slice(10).str.extract(_ZONE) if bool((short > 10).any()) else iso.str.extract("(Z)$")
    return wall, zone


def _offset(zone: pl.Series) -> pl.Series:
    parts = zone.str.replace("Z", "+0000").str.replace("UTC", "+0000").str.replace(":", "", literal=True)
    sign = parts.str.starts_with("-").replace_strict({True: -1, False: 1}, return_dtype=pl.Int64)
    hours = parts.str.slice(1, 2).cast(pl.Int64, strict=False)
    minutes = parts.str.slice(3, 2).cast(pl.Int64, strict=False)
    return (sign * (hours * 60 + minutes) * 60_000_000).cast(pl.Duration("us"))
