"""Which clock format a column is written in: strptime pattern, whether the values carry an offset, how fine they are."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

ISO, EPOCH_S, EPOCH_MS, EPOCH_US, EXCEL = "iso", "epoch_s", "epoch_ms", "epoch_us", "excel_serial"
#: Share of the values that a format must read.
ENOUGH = 0.95
MAX_VALUES = 60

_ISO = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:?\d\d(:?\d\d([.,]\d{1,9})?)?\s?(Z|UTC|[+-]\d\d(:?\d\d)?)?", re.IGNORECASE
)
_OFFSET = re.compile(r"(Z|UTC|GMT|[+-]\d\d:?\d\d)$", re.IGNORECASE)
_DIGIT = re.compile(r"\d")
_DAYS = [
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%d.%m.%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%m/%d/%y",
    "%d/%m/%y",
    "%d.%m.%y",
    "%d-%m-%y",
]
_NAMED_DAYS = [
    "%b %d, %Y",
    "%B %d, %Y",
    "%d %b %Y",
    "%d %B %Y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%b %d %Y",
    "%a, %b %d, %Y",
    "%a %b %d %Y",
    "%A, %B %d, %Y",
    "%d %b, %Y",
    "%Y-%b-%d",
    "%d/%b/%Y",
    "%b-%d-%Y",
    "%d. %B %Y",
]
_TIME_LIKE = re.compile(
    r"(?:[A-Za-z]{3,9}\.?,?\s)?(?:\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|\d{1,2}[-/ .]\s?[A-Za-z]{3,9}[-/ ,.]+\d{2,4}"
    r"|[A-Za-z]{3,9}[ -]\d{1,2},?[ -]\d{2,4}|\d{4}-[A-Za-z]{3}-\d{1,2}|[A-Za-z]{3,9}\s\d{4}|\d{4}-\d\d|\d{1,2}/\d{4}"
    r"|\d{4}年\d{1,2}月\d{1,2}日|\d{8}(?=[ T]))(?:(?P<gap>,?[T ]\s?)(?P<clock>\d{1,2}(?::\d\d){0,2}(?P<part>\.\d{1,6})?"
    r"(?P<half>\s?[AaPp][Mm])?))?"
)
_FIELDS = {
    "%Y": r"\d{4}", "%m": r"\d{1,2}", "%d": r"\d{1,2}", "%y": r"\d{2}", "%b": "[A-Za-z]{3}", "%B": "[A-Za-z]{3,9}",
    "%a": "[A-Za-z]{3}", "%A": "[A-Za-z]{6,9}", "%H": r"\d{2}",
}  # fmt: skip
_LOOSE = ("%Y年%m月%d日", "%Y-%m", "%b %Y", "%B %Y", "%m/%Y")
_MONTHS = frozenset({"%Y-%m", "%b %Y", "%B %Y", "%m/%Y"})
_NUMBERS = {10: EPOCH_S, 13: EPOCH_MS, 16: EPOCH_US}
_EPOCH_UNIT = {EPOCH_S: 1, EPOCH_MS: 1_000, EPOCH_US: 1_000_000}


@dataclass(frozen=True, slots=True)
class TimeShape:
    """How times are written. `rival`: a format that reads the values as well (day and month exchanged).

    `certain` is False where plain numbers could be something else (a ten-digit id).
    """

    format: str
    grain: str
    offset: bool = False
    rival: str = ""
    certain: bool = True


def find_time_shape(values: Sequence[str]) -> TimeShape | None:
    """The format of these texts (distinct, not blank), or None where they are no times."""
    values = [value.strip() for value in values[:MAX_VALUES]]
    if not values or not all(_DIGIT.search(value) and len(value) < 41 for value in values[:5]):
        return None
    if all(value.isdecimal() and value.isascii() for value in values):
        return _of_numbers(values)
    if _share(_ISO.fullmatch(value) is not None for value in values) >= ENOUGH:
        return _of_iso(values)
    return _of_texts(values)


def _share(flags: Iterable[bool]) -> float:
    found = list(flags)
    return sum(found) / len(found)


def _of_numbers(values: list[str]) -> TimeShape | None:
    length = len(values[0])
    if any(len(value) != length for value in values):
        return None
    if length in (8, 14):
        pattern = "%Y%m%d" if length == 8 else "%Y%m%d%H%M%S"
        times = _read(values, pattern)
        if times and all(2000 <= time.year <= 2050 for time in times):
            return TimeShape(pattern, _grain(times, pattern))
        return None
    if length == 10:
        times = _read(values, "%Y%m%d%H")
        if times and all(2010 <= time.year <= 2040 for time in times):
            return TimeShape("%Y%m%d%H", "hour")
    if length == 5 and all(36526 <= int(value) <= 60000 for value in values):
        return TimeShape(EXCEL, "day", certain=False)
    known = _NUMBERS.get(length)
    if known is None:
        return None
    start = datetime(1970, 1, 1, tzinfo=UTC)
    times = [start + timedelta(seconds=int(value) / _EPOCH_UNIT[known]) for value in values]
    if not all(2010 <= time.year <= 2040 for time in times):
        return None
    # A long number can be an identifier; full hours (seconds) and full seconds (milliseconds) are no accident.
    step = 3600 if known == EPOCH_S else _EPOCH_UNIT[known]
    certain = all(int(value) % step == 0 for value in values)
    return TimeShape(known, _grain(times, known), offset=True, certain=certain)


def _of_iso(values: list[str]) -> TimeShape | None:
    times = [time for time in map(_iso, values) if time is not None]
    if len(times) < ENOUGH * len(values):
        return None
    offset = _share(_OFFSET.search(value[10:]) is not None for value in values) >= ENOUGH
    plain = values[0]
    pattern = ISO
    if not offset and "T" not in plain and "." not in plain and "," not in plain:
        pattern = "%Y-%m-%d %H:%M:%S" if plain.count(":") == 2 else "%Y-%m-%d %H:%M"
        if plain.count(":") == 0:
            pattern = "%Y-%m-%d %H"
    elif plain.upper().endswith("UTC"):
        pattern = "%Y-%m-%d %H:%M:%S UTC"
    elif not offset and "." in plain and "T" not in plain:
        pattern = "%Y-%m-%d %H:%M:%S%.f"
    return TimeShape(pattern, _grain(times, pattern), offset=offset)


def _iso(value: str) -> datetime | None:
    text = re.sub(r"\s?UTC$", "Z", value, flags=re.IGNORECASE).replace(",", ".")
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        try:
            return datetime.strptime(text, "%Y-%m-%d %H")
        except ValueError:
            return None


def _of_texts(values: list[str]) -> TimeShape | None:
    first, found = values[0], []
    for pattern in _candidates(first):
        times = _read(values, pattern)
        if times:
            found.append((pattern, times))
    if not found:
        return None
    # Day and month exchanged read the same texts: the reading whose days lie closer together is likelier.
    found.sort(key=lambda each: max(each[1]) - min(each[1]))
    pattern, times = found[0]
    rival = next((other for other, _ in found[1:] if sorted(other) == sorted(pattern)), "")
    return TimeShape(pattern, _grain(times, pattern), rival=rival)


def _candidates(first: str) -> list[str]:
    """Patterns that read the first value: the day's, and the clock's behind it."""
    shape = _TIME_LIKE.fullmatch(first)
    if shape is None:
        return []
    if shape["clock"] is None:
        return [day for day in (*_DAYS, *_NAMED_DAYS, *_LOOSE) if _reads(first, day)]
    hours = "%I" if shape["half"] else "%H"
    clock = ":".join((hours, "%M", "%S")[: shape["clock"].count(":") + 1])
    clock += "%.f" if shape["part"] else ""
    clock += (" %p" if shape["half"][0] == " " else "%p") if shape["half"] else ""
    day_text = first[: shape.start("gap")]
    days = [day for day in (*_DAYS, *_NAMED_DAYS, "%Y%m%d") if _reads(day_text, day)]
    return [f"{day}{shape['gap']}{clock}" for day in days]


@lru_cache(maxsize=128)
def _shape_of(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(%[A-Za-z])", pattern)
    return re.compile("".join(_FIELDS.get(part, re.escape(part)) for part in parts))


def _reads(value: str, pattern: str) -> bool:
    # Python keeps few compiled patterns; most are told apart by their shape before it has to compile one.
    if not _shape_of(pattern).fullmatch(value):
        return False
    try:
        year = datetime.strptime(value, pattern).year
    except ValueError:
        return False
    return 1990 <= year <= 2060


def _read(values: list[str], pattern: str) -> list[datetime]:
    """The times where the pattern reads nearly all values, else nothing."""
    times = []
    for value in values:
        try:
            times.append(datetime.strptime(value, pattern.replace("%.f", ".%f")))
        except ValueError:
            continue
    return times if len(times) >= ENOUGH * len(values) else []


def _grain(times: Sequence[datetime], pattern: str) -> str:
    """month → aggregate; all at midnight → day; all at full hours → hour; else event."""
    if pattern in _MONTHS:
        return "aggregate"
    if all(time.hour == time.minute == time.second == time.microsecond == 0 for time in times):
        return "day"
    if all(time.minute == time.second == time.microsecond == 0 for time in times):
        return "hour"
    return "event"
