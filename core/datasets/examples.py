"""A training file read from front to back: its outline, its examples and its faults."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Literal, overload

from core.datasets.formats import read_rows
from core.datasets.layout_rows import Parsed, parse_row
from core.datasets.layouts import Outline, outline_of
from core.datasets.records import DatasetKind, Example, Preference
from core.datasets.rows import Fault, FileLimits, Row
from core.errors import InvalidInputError

SHOWN_FAULTS = 10


@dataclass(slots=True)
class Census:
    """Counts of a training file, taken while it is read."""

    rows: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    slices: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    fault_count: int = 0

    def add(self, item: Parsed | Fault) -> None:
        """Count one row; only the first faults are kept."""
        if isinstance(item, Fault):
            self.fault_count += 1
            if len(self.faults) < SHOWN_FAULTS:
                self.faults.append(item)
            return
        self.rows += 1
        self.splits[str(item.split)] += 1
        if item.slice is not None:
            self.slices[item.slice] += 1


@overload
def open_examples(
    path: Path, limits: FileLimits = ..., *, name: str = ..., to_train: Literal[True] = ...
) -> tuple[Outline, Iterator[Example | Preference | Fault]]: ...


@overload
def open_examples(
    path: Path, limits: FileLimits = ..., *, name: str = ..., to_train: bool
) -> tuple[Outline, Iterator[Parsed | Fault]]: ...


def open_examples(
    path: Path, limits: FileLimits = FileLimits(), *, name: str = "", to_train: bool = True
) -> tuple[Outline, Iterator[Parsed | Fault]]:
    """The outline of a training file and its rows in order. Holds one row at a time; errors call the file `name`.

    With `to_train` only what a run here can learn from is accepted: a set of thumbs is refused. Without it such
    rows are read too, to be examined or converted.
    Raises RefusedFileError or InvalidInputError when it is no training file at all.
    """
    name = name or path.name
    rows = read_rows(path, limits, name=name)
    faults: list[Fault] = []
    for row in rows:
        if isinstance(row, Row):
            outline = outline_of(row)
            if to_train and outline.kind is DatasetKind.KTO:
                raise _thumbs(name)
            return outline, chain(faults, (_parsed(outline, each) for each in chain([row], rows)))
        faults.append(row)
        if len(faults) > SHOWN_FAULTS:
            break
    if faults:
        raise unreadable_rows(name, faults, len(faults))
    raise InvalidInputError(f"The file {name} has no rows.", "", "Give a file with at least one example.")


def take_census(rows: Iterable[Parsed | Fault]) -> Census:
    """Count all rows without keeping them."""
    census = Census()
    for row in rows:
        census.add(row)
    return census


def unreadable_rows(name: str, faults: Iterable[Fault], count: int) -> InvalidInputError:
    """The error that lists the rows that cannot be used."""
    listed = "; ".join(f"line {fault.line}: {fault.reason}" for fault in faults)
    more = f"; and {count - SHOWN_FAULTS} more" if count > SHOWN_FAULTS else ""
    what = "1 row" if count == 1 else f"{count:,} rows"
    return InvalidInputError(
        f"{what} of {name} cannot be used.",
        f"{listed}{more}.",
        "Correct or remove these lines, then import it again.",
    )


def _parsed(outline: Outline, row: Row | Fault) -> Parsed | Fault:
    return row if isinstance(row, Fault) else parse_row(outline, row)


def _thumbs(name: str) -> InvalidInputError:
    return InvalidInputError(
        f"{name} holds answers with a thumb up or down.",
        "Such a set can be examined; no run here learns from it yet.",
        "Leave the label column out to learn from the liked answers, or give preference pairs.",
    )
