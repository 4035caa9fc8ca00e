"""What the values of each column look like: type, range, pattern, how many differ, how much is blank, which clock."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

import numpy as np
import polars as pl
from numpy.typing import NDArray

from core.harmonize.suggest.times import TimeShape, find_time_shape
from core.harmonize.values.separators import (
    NOTHING_SEEN,
    Separators,
    decimal_of_file,
    decimal_sign,
    separators_of,
)

#: Rows and different values that are looked at; more would not change what a column is.
ROWS = 1_000
NUMBER_ROWS = 400
DISTINCT = 400
SAMPLES = 12
#: Letters of a value that are looked at: enough to know what it is, however long it goes on.
LETTERS = 500

Numbers = NDArray[np.float64]

_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE)
_HASH = re.compile(r"[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}", re.IGNORECASE)
_URL = re.compile(r"https?://|www\.", re.IGNORECASE)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[a-z]{2,}", re.IGNORECASE)
_CURRENCY_SIGN = re.compile(
    r"[$€£¥₹₽₩₺₫฿₴₪₱]|R\$|\b(?:USD|EUR|GBP|JPY|PLN|INR|BRL|MXN|CAD|AUD|CHF|SEK|RUB|Rs|zł|kr)\b\.?|руб\.?"
)
_NUMBER = re.compile(r"\(?[-+−]?\d[\d.,\s'’\u00a0\u202f]*\)?-?|[-+−]?\.\d+")
_PLAIN = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_CODE = re.compile(r"[\w.:/#|-]+")
_BOOLEANS = frozenset(["true", "false", "yes", "no", "y", "n", "t", "f"])
_NOT_COUNTED: Mapping[str, Separators] = MappingProxyType({})


class ValueKind(StrEnum):
    EMPTY = "empty"
    BOOLEAN = "boolean"
    WHOLE = "whole"
    DECIMAL = "decimal"
    PERCENT = "percent"
    MONEY = "money"  # numbers with a currency sign
    TIME = "time"
    UUID = "uuid"
    CODE = "code"  # no spaces, has a digit: an identifier
    WORD = "word"  # few different short texts
    TEXT = "text"
    LIST = "list"  # JSON lists or objects
    URL = "url"


NUMERIC = frozenset({ValueKind.WHOLE, ValueKind.DECIMAL, ValueKind.PERCENT, ValueKind.MONEY})


@dataclass(frozen=True, slots=True, eq=False)
class ColumnProfile:
    """One source column.

    `texts`, `numbers`: the first 400 values row by row; a number is NaN where blank, and `numbers` is None where
    the column holds none. `values`: different texts in the order of appearance, at most 400.
    `decimals`: most digits after the point.
    `marks`: currency_sign, percent, grouped, decimal_comma, leading_zeros, negative, parentheses, and either_way
    where nothing tells whether «1.007» is a thousand and seven. `separators`: what its cells show of that.
    """

    name: str
    kind: ValueKind
    rows: int = 0
    blank_share: float = 0.0
    distinct: int = 0
    values: tuple[str, ...] = ()
    texts: tuple[str | None, ...] = ()
    numbers: Numbers | None = None
    decimals: int = 0
    marks: frozenset[str] = frozenset()
    signs: str = ""
    time: TimeShape | None = None
    low: float = float("nan")
    high: float = float("nan")
    lengths: tuple[int, int] = (0, 0)
    samples: tuple[str, ...] = field(default=())
    separators: Separators = NOTHING_SEEN

    @property
    def numeric(self) -> bool:
        return self.kind in NUMERIC

    @property
    def whole(self) -> bool:
        """Whether every number is a whole one."""
        return self.numbers is not None and self.kind is not ValueKind.PERCENT and self._is_whole()

    def _is_whole(self) -> bool:
        if self.numbers is None:
            return False
        known = self.numbers[np.isfinite(self.numbers)]
        return bool(known.size) and bool(np.all(known == np.floor(known)))


def profile_columns(
    frame: pl.DataFrame, seen: Mapping[str, Separators] = _NOT_COUNTED, *, point: bool = False
) -> list[ColumnProfile]:
    """Profile every column of a frame, of which the first 1,000 rows are enough.

    `seen`: the separators of number columns over all rows, where more was read; `point`: the format of the file
    writes numbers with a point. A column that does not say how its numbers are written goes by the others.
    """
    head = frame.head(ROWS)
    columns = [_profile(name, head.get_column(name), seen.get(name)) for name in head.columns]
    sign = decimal_of_file(each.separators for each in columns if each.numeric) or ("." if point else "")
    return [
        _profile(each.name, head.get_column(each.name), seen.get(each.name), sign)
        if sign and each.numeric and each.separators.open
        else each
        for each in columns
    ]


def profile_values(name: str, values: Sequence[str | None]) -> ColumnProfile:
    """Profile one column that is given as texts."""
    storable = [None if value is None else value.encode("utf-8", "replace").decode() for value in values]
    return _profile(name, pl.Series(storable, dtype=pl.String))


def _profile(
    name: str, column: pl.Series, seen: Separators | None = None, of_file: str = ""
) -> ColumnProfile:
    texts = _as_text(column)
    stripped = texts.str.head(LETTERS).str.strip_chars()
    stripped = stripped.replace("", None) if stripped.dtype == pl.String else stripped
    known = stripped.drop_nulls()
    rows = len(texts)
    if known.is_empty():
        return ColumnProfile(name, ValueKind.EMPTY, rows=rows, blank_share=1.0)
    different = known.unique(maintain_order=True)
    values = tuple(different.head(DISTINCT).to_list())
    first = stripped.head(NUMBER_ROWS)
    separators = seen or (separators_of(different.head(DISTINCT)) if _maybe_numbers(values) else NOTHING_SEEN)
    numbers, marks, signs, decimals = _numbers(first, values, separators, of_file)
    shape = find_time_shape(values)
    kind = _kind(values, len(different), len(known), numbers is not None, marks, decimals, shape)
    if kind not in NUMERIC and kind is not ValueKind.TIME:
        numbers = None
    finite = numbers[np.isfinite(numbers)] if numbers is not None else np.array([])
    lengths = [len(value) for value in values]
    return ColumnProfile(
        name=name,
        kind=kind,
        rows=rows,
        blank_share=1 - len(known) / rows,
        distinct=len(different),
        values=values,
        texts=tuple(first.to_list()),
        numbers=numbers,
        decimals=decimals,
        marks=marks,
        signs=signs,
        time=shape,
        low=float(finite.min()) if finite.size else float("nan"),
        high=float(finite.max()) if finite.size else float("nan"),
        lengths=(min(lengths), max(lengths)),
        samples=values[:SAMPLES],
        separators=separators if numbers is not None else NOTHING_SEEN,
    )


def _maybe_numbers(values: tuple[str, ...]) -> bool:
    return any(sign in value for value in values for sign in ".,") and values[0][-1:] not in "]}"


def _as_text(column: pl.Series) -> pl.Series:
    if column.dtype == pl.String:
        return column
    if column.dtype == pl.Boolean:
        return column.cast(pl.String)
    if column.dtype.is_nested():
        plain = [None if each is None else json.dumps(each, default=str)[:2000] for each in column.to_list()]
        return pl.Series(column.name, plain, dtype=pl.String)
    if column.dtype == pl.Binary:
        return pl.Series(
            column.name, [None if each is None else each.hex() for each in column], dtype=pl.String
        )
    if isinstance(column.dtype, pl.Datetime):
        text = column.dt.to_string("%Y-%m-%dT%H:%M:%S")
        return text + "Z" if column.dtype.time_zone else text
    return column.cast(pl.String, strict=False)


def _numbers(
    texts: pl.Series, values: tuple[str, ...], separators: Separators, of_file: str
) -> tuple[Numbers | None, frozenset[str], str, int]:
    """Numbers row by row with how they are written; None where fewer than 95 % of the values are numbers."""
    sign, asked = decimal_sign(separators, of_file)
    if sign != "," and all(_PLAIN.fullmatch(value) for value in values[:20]):
        cast = texts.cast(pl.Float64, strict=False)
        if cast.null_count() <= texts.null_count() + 0.05 * len(texts):
            marks = {"negative"} if (cast.min() or 0) < 0 else set()  # type: ignore[operator]
            if any(len(v) > 1 and v[0] == "0" and v.isdecimal() for v in values):
                marks.add("leading_zeros")
            decimals = max((len(v.partition(".")[2]) for v in values if "." in v), default=0)
            return _array(cast), frozenset(marks | _told(separators, sign, asked)), "", decimals
    numbers, found, signs, decimals = _written_numbers(texts, values, sign)
    told = _told(separators, sign, asked) if numbers is not None else set()
    return numbers, found | told, signs, decimals


def _told(separators: Separators, sign: str, asked: bool) -> set[str]:
    """Marks of what cells further down show, although the values that were looked at do not."""
    marks = {"either_way"} if asked else set()
    if sign == "," and separators.commas:
        marks.add("decimal_comma")
    if (sign == "," and separators.points) or (sign == "." and separators.commas):
        marks.add("grouped")
    return marks


def _array(column: pl.Series) -> Numbers:
    return column.fill_null(float("nan")).to_numpy().astype(np.float64)


def _written_numbers(
    texts: pl.Series, values: tuple[str, ...], sign: str = ""
) -> tuple[Numbers | None, frozenset[str], str, int]:
    marks: set[str] = set()
    bare: dict[str, str] = {}
    signs: set[str] = set()
    for value in values:
        text, extra = _CURRENCY_SIGN.sub("", value), ""
        if text != value:
            extra = "currency_sign"
            signs.update(_CURRENCY_SIGN.findall(value))
        if text.rstrip().endswith(("%", "％")) or text.lstrip().startswith("%"):
            text, extra = text.strip(" \u00a0%％"), "percent"
        text = text.strip(" \u00a0\u202f")
        if _NUMBER.fullmatch(text):
            bare[value] = text
            if extra:
                marks.add(extra)
    if len(bare) < 0.95 * len(values):
        return None, frozenset(), "", 0
    comma = sign == "," if sign else _decimal_comma(bare.values())
    read = {value: _to_float(text, comma) for value, text in bare.items()}
    if comma and (sign or any("," in text for text in bare.values())):
        marks.add("decimal_comma")
    point = "," if comma else "."
    if any(
        set(text) & ({"'", "’", " ", "\u00a0", "\u202f"} | {"." if comma else ","}) for text in bare.values()
    ):
        marks.add("grouped")
    if any(text.startswith("(") for text in bare.values()):
        marks.add("parentheses")
    if any(number < 0 for number in read.values()):
        marks.add("negative")
    decimals = max(
        (len(text.rpartition(point)[2].strip(" )-")) for text in bare.values() if point in text), default=0
    )
    column = texts.replace_strict(list(read), list(read.values()), default=None, return_dtype=pl.Float64)
    return _array(column), frozenset(marks), "".join(sorted(signs)), decimals


def _decimal_comma(texts: object) -> bool:
    """Whether the comma is the decimal sign: it stands last, or it stands alone before other than three digits."""
    votes = 0
    for text in texts:  # type: ignore[attr-defined]
        comma, point = text.rfind(","), text.rfind(".")
        if comma < 0:
            votes -= point >= 0 and text.count(".") == 1 and len(text) - point - 1 != 3
            votes += text.count(".") > 1
        elif point >= 0:
            votes += 2 if comma > point else -2
        else:
            after = len(text.rstrip(")- ")) - comma - 1
            votes += 1 if after != 3 and text.count(",") == 1 else -1
    return votes > 0


def _to_float(text: str, comma: bool) -> float:
    negative = text.startswith(("(", "-", "−")) or text.endswith("-")
    digits = re.sub(r"[^\d.,]", "", text)
    digits = digits.replace(".", "").replace(",", ".") if comma else digits.replace(",", "")
    try:
        number = float(digits)
    except ValueError:
        return float("nan")
    return -number if negative else number


def _kind(
    values: tuple[str, ...],
    different: int,
    known: int,
    numeric: bool,
    marks: frozenset[str],
    decimals: int,
    shape: TimeShape | None,
) -> ValueKind:
    if shape is not None and (shape.certain or not numeric):
        return ValueKind.TIME
    if numeric:
        if "percent" in marks:
            return ValueKind.PERCENT
        if "currency_sign" in marks:
            return ValueKind.MONEY
        return ValueKind.DECIMAL if decimals else ValueKind.WHOLE
    some = values[:60]

    def mostly(pattern: re.Pattern[str]) -> bool:
        return sum(pattern.fullmatch(value) is not None for value in some) >= 0.9 * len(some)

    if {value.casefold() for value in values} <= _BOOLEANS:
        return ValueKind.BOOLEAN
    if mostly(_UUID) or mostly(_HASH) or mostly(_EMAIL):
        return ValueKind.UUID
    if all(value[0] in "[{" and value[-1] in "]}" for value in some):
        return ValueKind.LIST
    if all(_URL.match(value) for value in some):
        return ValueKind.URL
    coded = sum(any(sign.isdigit() for sign in value) for value in some)
    if mostly(_CODE) and coded >= 0.8 * len(some):
        return ValueKind.CODE
    few = different <= 12 or different <= 0.05 * known
    if few and max(map(len, values)) <= 40:
        return ValueKind.WORD
    return ValueKind.TEXT
