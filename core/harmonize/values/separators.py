"""Which sign divides the whole from the fraction in a column of numbers, as far as its cells prove it.

«12,50» proves a comma and «1,234.50» a point; «1.007» alone proves nothing: it may be a thousand and seven, or little
more than one. What cannot be told from the column or from the columns beside it is asked, never guessed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import polars as pl

_BEFORE, _BEHIND = r"^(?:[^.,]*[^\d.,])?", r"(?:[^\d.,].*)?$"
_SPACE = "[ \u00a0\u2009\u202f'’]"


def _proof(sign: str, other: str) -> str:
    """A pattern of cells that can only be read with `sign` as the decimal sign (both are escaped)."""
    shapes = (
        rf"\d{{1,3}}(?:{other}\d{{2,3}})*{other}\d{{3}}{sign}\d*",  # 1.234,5
        rf"\d{{1,3}}(?:{other}\d{{2,3}})+{other}\d{{3}}",  # 12.345.678
        rf"\d*{sign}(?:\d{{1,2}}|\d{{4,}})",  # 12,5
        rf"(?:0\d*|\d{{4,}})?{sign}\d{{3}}",  # 0,125 and 1234,125
    )
    spaced = rf"\d{_SPACE}\d{{3}}{sign}\d+"
    return rf"{_BEFORE}(?:{'|'.join(shapes)}){_BEHIND}|{spaced}"


#: Field of `Separators` → the cells that it counts. `_three`: a single sign before three digits.
PATTERNS: Mapping[str, str] = {
    "comma": _proof(",", r"\."),
    "point": _proof(r"\.", ","),
    "comma_three": rf"{_BEFORE}[1-9]\d{{0,2}},\d{{3}}{_BEHIND}",
    "point_three": rf"{_BEFORE}[1-9]\d{{0,2}}\.\d{{3}}{_BEHIND}",
    "commas": ",",
    "points": r"\.",
    "bare": r"^[^\d.,]*[1-9]\d{0,2}(?:[^\d.,]+)?$",
    "bare_long": r"^[^\d.,]*[1-9]\d{3,}(?:[^\d.,]+)?$",
}


@dataclass(frozen=True, slots=True)
class Separators:
    """How many cells of a column prove a decimal comma or a point, or can be read either way (`_three`).

    `commas`, `points`: cells that hold the sign at all; `bare`, `bare_long`: of up to three digits, of more, without.
    """

    comma: int = 0
    point: int = 0
    comma_three: int = 0
    point_three: int = 0
    commas: int = 0
    points: int = 0
    bare: int = 0
    bare_long: int = 0

    @property
    def proved(self) -> str:
        """«,» or «.» where cells prove that it is the decimal sign and none the other, else nothing."""
        if self.comma and not self.point:
            return ","
        return "." if self.point and not self.comma else ""

    @property
    def mixed(self) -> bool:
        """Whether cells contradict each other, so that no one rule reads the column."""
        three = self.comma_three and self.point_three and not self.comma and not self.point
        return bool(self.comma and self.point) or bool(three)

    @property
    def open(self) -> bool:
        """Whether cells can be read either way, and none proves how."""
        return not (self.comma or self.point) and bool(self.comma_three or self.point_three)

    @property
    def by_thousands(self) -> str:
        """The decimal sign where every cell of a thousand and more has the other one, and no smaller cell has any."""
        if not self.open or self.mixed or not self.bare or self.bare_long:
            return ""
        return "," if self.point_three else "."


NOTHING_SEEN = Separators()


def decimal_sign(column: Separators, of_file: str) -> tuple[str, bool]:
    """(the decimal sign of a column or nothing, whether a person has to be asked). `of_file`: what others prove."""
    if column.proved or not (column.open or column.mixed):
        return column.proved, False
    if column.mixed:
        return "", True
    thousands = column.by_thousands
    return of_file or thousands, (not of_file and not thousands) or bool(
        of_file and thousands and of_file != thousands
    )


def decimal_of_file(columns: Iterable[Separators]) -> str:
    """The decimal sign that columns of numbers prove for the file they stand in; nothing where they disagree."""
    signs = {each.proved for each in columns} - {""}
    return next(iter(signs)) if len(signs) == 1 else ""


def count_separators(frame: pl.LazyFrame, columns: Sequence[str]) -> dict[str, Separators]:
    """The counts of text columns over all rows, streamed; a second look only at columns with a comma or a point."""
    if not columns:
        return {}
    signs = frame.select(
        pl.col(name).str.contains("[.,]").any().alias(f"{place}") for place, name in enumerate(columns)
    )
    there = signs.collect(engine="streaming").row(0)
    left = [name for name, has in zip(columns, there, strict=True) if has]
    if not left:
        return {}
    wanted = [
        pl.col(name).str.strip_chars().str.contains(pattern).sum().alias(f"{place}.{field}")
        for place, name in enumerate(left)
        for field, pattern in PATTERNS.items()
    ]
    found = frame.select(wanted).collect(engine="streaming").row(0, named=True)
    return {
        name: Separators(*(int(found[f"{place}.{each.name}"] or 0) for each in fields(Separators)))
        for place, name in enumerate(left)
    }


def separators_of(cells: pl.Series) -> Separators:
    """The counts of one column that is in memory."""
    name = cells.name or "cells"
    return count_separators(cells.alias(name).to_frame().lazy(), [name]).get(name, NOTHING_SEEN)
