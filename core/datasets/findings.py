"""What a rule found: which rows, how it is told, and what can be done with one click."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.datasets.records import Fix, Problem

ERROR = "error"
WARNING = "warning"
SHOWN_LINES = 10

Places = NDArray[np.int64]
NOWHERE: Places = np.zeros(0, np.int64)
NOWHERE.setflags(write=False)


@dataclass(frozen=True, slots=True, eq=False)
class Hit:
    """Rows that a rule found, by their place in the table, or a finding about the set as a whole.

    `counted` is the number of rows to tell where that is not the number of places.
    """

    rule: str
    severity: str
    message: str
    places: Places
    fix: Fix = Fix.NONE
    of_set: bool = False
    counted: int | None = None

    def problem(self, lines: Places) -> Problem:
        """As people are told; `lines` gives the line of every row of the table."""
        shown = tuple(int(line) for line in lines[self.places[:SHOWN_LINES]])
        rows = len(self.places) if self.counted is None else self.counted
        return Problem(self.rule, self.severity, self.message, rows, shown, str(self.fix))


def hit(
    rule: str, severity: str, places: Iterable[int] | Places, one: str, many: str, fix: Fix = Fix.NONE
) -> Hit | None:
    """The rows at `places`, or None when there are none. `many` has {rows} for their number."""
    concerned = np.unique(np.fromiter(places, np.int64))
    if not len(concerned):
        return None
    message = one if len(concerned) == 1 else many.replace("{rows}", f"{len(concerned):,}")
    return Hit(rule, severity, message, concerned, fix)


def hit_of_set(
    rule: str,
    severity: str,
    message: str,
    places: Iterable[int] | Places = NOWHERE,
    *,
    counted: int | None = None,
    fix: Fix = Fix.NONE,
) -> Hit:
    """A finding about the set as a whole; `places` are rows that show it."""
    return Hit(rule, severity, message, np.unique(np.fromiter(places, np.int64)), fix, True, counted)


def rows_word(rows: int) -> str:
    """1 row, 2 rows, 1,200 rows."""
    return f"{rows:,} row{'' if rows == 1 else 's'}"


def finding_of_set(
    rule: str, severity: str, message: str, rows: int = 0, lines: Iterable[int] = ()
) -> Problem:
    """A problem of a file that is no training set."""
    return Problem(rule, severity, message, rows, tuple(lines)[:SHOWN_LINES])
