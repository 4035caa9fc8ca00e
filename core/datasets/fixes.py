"""One-click fixes: what a rule of the doctor found, mended in a new file. The old file stays as it is.

Rows keep their layout and all their columns. A row that is removed is listed with what it held.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from core.datasets.doctor import Examination, examine
from core.datasets.examples import open_examples
from core.datasets.formats import read_rows
from core.datasets.pii import mask_personal_data
from core.datasets.records import Fix, Split
from core.datasets.rows import Fault, Row
from core.datasets.split_plan import SplitOutcome, SplitPlan, plan_splits
from core.datasets.table import table_of
from core.errors import InvalidInputError

SHOWN_EXAMPLES = 5
#: Signs that UTF-8 leaves when it is read as Windows-1252: an accent or quote becomes two or three of them.
_MISREAD = ("Ã", "Â", "â€", "ðŸ")

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FixExample:
    """One row before and after; `after` is None when it is removed."""

    line: int
    before: Values
    after: Values | None


@dataclass(frozen=True, slots=True)
class FixPreview:
    """What a fix would do: rows changed and removed, with the first examples."""

    rule: str
    fix: Fix
    rows_changed: int
    rows_removed: int
    examples: tuple[FixExample, ...]


@dataclass(frozen=True, slots=True)
class Mended:
    """The rows after a fix, in order, and every row that it changed or removed."""

    rule: str
    fix: Fix
    rows: tuple[Values, ...]
    touched: tuple[FixExample, ...]

    @property
    def preview(self) -> FixPreview:
        removed = sum(each.after is None for each in self.touched)
        return FixPreview(
            self.rule, self.fix, len(self.touched) - removed, removed, self.touched[:SHOWN_EXAMPLES]
        )


def mend(path: Path, rule: str, *, name: str = "", seed: int = 0, seen: Examination | None = None) -> Mended:
    """Do what the fix of that rule does. `seen` is the file's examination, made anew without it.

    Raises InvalidInputError when the rule found nothing here, or has no fix.
    """
    name = name or path.name
    seen = examine(path, name=name) if seen is None else seen
    problem = next((each for each in seen.problems if each.rule == rule), None)
    if problem is None or not problem.fix:
        why = f"The rule «{rule[:60]}» finds nothing in it." if problem is None else "No click can mend that."
        offered = sorted({each.rule for each in seen.problems if each.fix})
        raise InvalidInputError(
            f"«{name}» cannot be mended so.",
            why,
            f"Choose one of {', '.join(offered)}." if offered else "Correct the file and import it again.",
        )
    fix = Fix(problem.fix)
    rows = list(enumerate(read_rows(path, name=name), start=1))
    if fix is Fix.RELABEL_SPLIT:
        return _relabelled(path, rule, rows, name, seed)
    concerned = frozenset(seen.rows_of.get(rule, ()))
    return _mended(
        rule, fix, rows, lambda number, row: _after(fix, row) if number in concerned else row.values
    )


def _mended(
    rule: str,
    fix: Fix,
    rows: Sequence[tuple[int, Row | Fault]],
    after: Callable[[int, Row], Values | None],
) -> Mended:
    kept: list[Values] = []
    touched: list[FixExample] = []
    for number, row in rows:
        if isinstance(row, Fault):
            touched.append(FixExample(row.line, {"unreadable": row.reason}, None))
            continue
        values = after(number, row)
        if values is not None:
            kept.append(values)
        if values != row.values:
            touched.append(FixExample(row.line, row.values, values))
    if not kept:
        raise InvalidInputError(
            "This fix would leave no row.", "Every row is concerned.", "Correct the file and import it again."
        )
    return Mended(rule, fix, tuple(kept), tuple(touched))


def _after(fix: Fix, row: Row) -> Values | None:
    """The row as the fix leaves it; None when it goes."""
    if fix is Fix.MOVE_TO_TRAIN:
        return {name: value for name, value in row.values.items() if name != "slice"} | {
            "split": str(Split.TRAIN)
        }
    change = _CHANGES.get(fix)
    return None if change is None else {name: _in_texts(value, change) for name, value in row.values.items()}


def _in_texts(value: Any, change: Callable[[str], str]) -> Any:
    """The value with the change in every text of it."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_in_texts(item, change) for item in value]
    if isinstance(value, dict):
        return {name: _in_texts(inner, change) for name, inner in value.items()}
    return value


def repair_encoding(text: str) -> str:
    """Text whose UTF-8 was read as Windows-1252, put right; other broken signs go.

    A text is put right only where all of it can be: half a repair would break what was whole.
    """
    for _ in range(2):  # some files were spoiled twice
        if not any(sign in text for sign in _MISREAD):
            break
        try:
            text = text.encode("cp1252").decode("utf-8")
        except UnicodeError:
            break
    return "".join(sign for sign in text if sign != "\ufffd" and (sign.isprintable() or sign in "\n\t"))


_CHANGES: Mapping[Fix, Callable[[str], str]] = MappingProxyType(
    {
        Fix.TRIM_TEXT: str.strip,
        Fix.MASK_PERSONAL_DATA: mask_personal_data,
        Fix.REPAIR_ENCODING: repair_encoding,
    }
)


def _relabelled(
    path: Path, rule: str, rows: Sequence[tuple[int, Row | Fault]], name: str, seed: int
) -> Mended:
    """All rows dealt out anew, without leaks."""
    splits = iter(new_splits(path, SplitPlan(seed=seed), name=name).splits)
    return _mended(rule, Fix.RELABEL_SPLIT, rows, lambda _, row: row.values | {"split": str(next(splits))})


def new_splits(path: Path, plan: SplitPlan, *, name: str = "") -> SplitOutcome:
    """The split of every readable row of a file, in order. Raises InvalidInputError."""
    _, parsed = open_examples(path, name=name or path.name, to_train=False)
    return plan_splits(table_of(row for row in parsed if not isinstance(row, Fault)), plan)


def as_lines(rows: Sequence[Values]) -> bytes:
    """Rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows).encode()
