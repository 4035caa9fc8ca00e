"""What columns have to do with each other: which is a quotient of two others, which repeat, which add up.

A column that equals clicks ÷ impressions in every row is a rate whatever it is called, and it says what the
other two are.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.harmonize.suggest.profile import ColumnProfile, Numbers, ValueKind

#: Rows that are compared, and the most columns on either side of a quotient.
ROWS = 12
MOST_PARTS = 48
MOST_QUOTIENTS = 64
FACTORS = (1.0, 100.0, 1_000.0, 1e-6, 1e6)
#: Decimal digits that must agree over all rows before an equality is no accident.
DIGITS = 7.0


@dataclass(frozen=True, slots=True)
class Quotient:
    """`result` = `factor` × `top` ÷ `bottom` in every row, to its own rounding."""

    result: str
    top: str
    bottom: str
    factor: float


@dataclass(frozen=True, slots=True)
class Relations:
    """`quotients` by result; `twins`: column → the first column with the same values; `sums`: total → parts."""

    quotients: dict[str, tuple[Quotient, ...]]
    twins: dict[str, str]
    sums: dict[str, tuple[str, str]]


def find_relations(columns: Sequence[ColumnProfile]) -> Relations:
    """Quotients, repeats and sums among the columns, from at most 12 rows that say most."""
    numeric = [column for column in columns if column.numeric and column.numbers is not None]
    return Relations(_quotients(numeric), _twins(columns), _sums(numeric))


def _rows(numeric: Sequence[ColumnProfile]) -> NDArray[np.intp]:
    """The rows in which most columns hold a number other than zero."""
    table = np.array([column.numbers for column in numeric])
    filled = (np.isfinite(table) & (table != 0)).sum(axis=0)
    return np.argsort(-filled, kind="stable")[:ROWS]


def _quotients(numeric: Sequence[ColumnProfile]) -> dict[str, tuple[Quotient, ...]]:
    if len(numeric) < 3:
        return {}
    rows = _rows(numeric)
    parts = [column for column in numeric if _can_be_part(column)][:MOST_PARTS]
    results = [column for column in numeric if _can_be_result(column)][:MOST_QUOTIENTS]
    if len(parts) < 2 or not results:
        return {}
    table = np.array([_of(column)[rows] for column in parts])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = table[:, None, :] / table[None, :, :]
    ratios[~np.isfinite(ratios)] = np.nan
    names = [column.name for column in parts]
    found: dict[str, tuple[Quotient, ...]] = {}
    for column in results:
        matches = _matches(column, _of(column)[rows], ratios, names)
        if matches:
            found[column.name] = matches
    return found


def _matches(
    column: ColumnProfile, values: Numbers, ratios: Numbers, names: list[str]
) -> tuple[Quotient, ...]:
    tolerance = 0.51 * 10.0**-column.decimals
    usable = np.isfinite(values) & (values != 0)
    digits = float(np.sum(np.log10(np.maximum(np.abs(values[usable]) / tolerance, 1.0))))
    if len(set(values[usable].tolist())) < 3 or digits < DIGITS:
        return ()
    found = []
    for factor in FACTORS:
        near = np.abs(ratios * factor - values) <= tolerance + 1e-6 * np.abs(values)
        # Where a part is zero or blank the row says nothing, but most rows must speak.
        said = np.isfinite(ratios) & usable
        agrees = (near | ~said).all(axis=2) & (said.sum(axis=2) >= max(3, 0.6 * usable.sum()))
        for top, bottom in zip(*np.nonzero(agrees), strict=True):
            if top != bottom and column.name not in (names[top], names[bottom]):
                found.append(Quotient(column.name, names[top], names[bottom], factor))
    return tuple(found[:24])


def _can_be_part(column: ColumnProfile) -> bool:
    return column.kind is not ValueKind.PERCENT and column.high > 0 and "leading_zeros" not in column.marks


def _can_be_result(column: ColumnProfile) -> bool:
    return column.kind in (ValueKind.DECIMAL, ValueKind.PERCENT, ValueKind.MONEY) or column.high > 1000


def _of(column: ColumnProfile) -> Numbers:
    return column.numbers if column.numbers is not None else np.array([])


def _twins(columns: Sequence[ColumnProfile]) -> dict[str, str]:
    first: dict[tuple[object, ...], str] = {}
    twins: dict[str, str] = {}
    for column in columns:
        if column.distinct < 2 or column.kind is ValueKind.EMPTY:
            continue
        key = _content(column)
        if key in first:
            twins[column.name] = first[key]
        else:
            first[key] = column.name
    return twins


def _content(column: ColumnProfile) -> tuple[object, ...]:
    if column.numbers is not None and column.numeric:
        return (np.round(column.numbers, 6).tobytes(),)
    return column.texts


def _sums(numeric: Sequence[ColumnProfile]) -> dict[str, tuple[str, str]]:
    """Columns that are the sum of two others in every row; only those with enough different values."""
    if len(numeric) < 3:
        return {}
    rows = _rows(numeric)
    parts = [column for column in numeric if column.kind is not ValueKind.PERCENT and column.distinct > 2][
        :MOST_PARTS
    ]
    if len(parts) < 3:
        return {}
    table = np.array([_of(column)[rows] for column in parts])
    pairs = table[:, None, :] + table[None, :, :]
    found: dict[str, tuple[str, str]] = {}
    for index, column in enumerate(parts):
        near = np.abs(pairs - table[index]) <= 0.011 + 1e-9 * np.abs(table[index])
        agrees = near.all(axis=2)
        agrees[index, :] = agrees[:, index] = False
        empty = ~np.isfinite(table).all(axis=1) | (np.nan_to_num(table) == 0).all(axis=1)
        agrees[empty, :] = agrees[:, empty] = False
        where = np.argwhere(np.triu(agrees, 1))
        if len(where) and math.log10(max(column.high, 1)) * min(len(rows), column.distinct) >= DIGITS:
            found[column.name] = (parts[where[0][0]].name, parts[where[0][1]].name)
    return dict(_grouped_once(found))


def _grouped_once(found: dict[str, tuple[str, str]]) -> list[tuple[str, tuple[str, str]]]:
    seen: dict[frozenset[str], str] = defaultdict(str)
    kept = []
    for total, parts in found.items():
        if not seen[frozenset((total, *parts))]:
            seen[frozenset((total, *parts))] = total
            kept.append((total, parts))
    return kept
