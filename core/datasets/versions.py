"""Versions of a dataset: the same name with other content. Each is a file that never changes; one of them is current."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from core.datasets.fixes import FixExample, Values
from core.datasets.formats import read_rows
from core.datasets.records import Dataset, Fix
from core.datasets.registration import REPLACED
from core.datasets.rows import Fault

PARENT, CHANGE = "parent", "change"
SHOWN_CHANGES = 20
#: Columns that say what a row asks; a row with the same question and another answer was changed, not replaced.
_ASKED = ("prompt", "instruction", "input", "source_field")


@dataclass(frozen=True, slots=True)
class Version:
    """One version; `number` counts from 1, the oldest. `change` says in words how it came about."""

    dataset: Dataset
    number: int
    current: bool
    change: str


@dataclass(frozen=True, slots=True)
class RowChange:
    """One row that differs: added (no before), removed (no after) or changed."""

    kind: str
    before: Values | None
    after: Values | None


@dataclass(frozen=True, slots=True)
class VersionDiff:
    """Rows by what became of them, with the first of those that differ."""

    added: int
    removed: int
    changed: int
    kept: int
    examples: tuple[RowChange, ...]


def number_versions(newest_first: Sequence[Dataset]) -> list[Version]:
    """Versions of one name, newest first."""
    total = len(newest_first)
    return [
        Version(dataset, total - place, REPLACED not in dataset.card, change_in_words(dataset))
        for place, dataset in enumerate(newest_first)
    ]


def change_in_words(dataset: Dataset) -> str:
    """How a version came about."""
    change = dataset.card.get(CHANGE)
    if not isinstance(change, dict):
        return "Imported" if not dataset.simulated else "Shipped"
    return str(change.get("words", "Changed"))


def describe_fix(fix: Fix, rule: str, changed: int, removed: int) -> str:
    """A fix in words, with its numbers."""
    done = [f"{changed:,} row{'' if changed == 1 else 's'} changed"] if changed else []
    done += [f"{removed:,} row{'' if removed == 1 else 's'} removed"] if removed else []
    return f"{_FIX_WORDS[fix]} ({rule}): {', '.join(done) or 'nothing to do'}"


_FIX_WORDS = {
    Fix.DROP_ROWS: "Rows removed",
    Fix.KEEP_FIRST_DUPLICATE: "Repeats removed",
    Fix.MOVE_TO_TRAIN: "Moved to training",
    Fix.TRIM_TEXT: "White space trimmed",
    Fix.MASK_PERSONAL_DATA: "Personal data masked",
    Fix.REPAIR_ENCODING: "Encoding repaired",
    Fix.DROP_CONTRADICTIONS: "Contradictions removed",
    Fix.RELABEL_SPLIT: "Split anew",
}


def list_changes(touched: Iterable[FixExample], *, secret: bool) -> bytes:
    """Every row that a fix changed or removed, as JSON lines. With `secret`, what a row held is left out."""
    return "".join(
        json.dumps(
            {"line": each.line, "removed": each.after is None}
            | ({} if secret else {"before": each.before, "after": each.after}),
            ensure_ascii=False,
            default=str,
        )
        + "\n"
        for each in touched
    ).encode()


def diff_files(old: Path, new: Path, *, old_name: str = "", new_name: str = "") -> VersionDiff:
    """What became of the rows of one file in another, whatever their order. Raises RefusedFileError.

    A row whose question stayed is changed where its answer or split did not; so are rows that stand in the same
    place between rows that stayed.
    """
    before, after = _read(old, old_name), _read(new, new_name)
    stays = _counted(before) & _counted(after)
    left, right = _unmatched(before, stays), _unmatched(after, stays)
    pairs = [*_paired(left, right, by_question=True), *_paired(left, right, by_question=False)]
    changes = [RowChange("changed", one, other) for one, other in pairs]
    changes += [RowChange("removed", values, None) for _, values in left]
    changes += [RowChange("added", None, values) for _, values in right]
    return VersionDiff(len(right), len(left), len(pairs), sum(stays.values()), tuple(changes[:SHOWN_CHANGES]))


_Placed = tuple[int, Values]  # (rows that stayed before it, the row)


def _read(path: Path, name: str) -> list[tuple[bytes, Values]]:
    rows = (row.values for row in read_rows(path, name=name) if not isinstance(row, Fault))
    return [(_digest(values), values) for values in rows]


def _digest(values: Any) -> bytes:
    text = json.dumps(values, ensure_ascii=False, sort_keys=True, default=str)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _counted(rows: Sequence[tuple[bytes, Values]]) -> Counter[bytes]:
    return Counter(digest for digest, _ in rows)


def _unmatched(rows: Sequence[tuple[bytes, Values]], stays: Counter[bytes]) -> list[_Placed]:
    open_places, stayed, found = Counter(stays), 0, []
    for digest, values in rows:
        if open_places[digest]:
            open_places[digest] -= 1
            stayed += 1
        else:
            found.append((stayed, values))
    return found


def _paired(left: list[_Placed], right: list[_Placed], *, by_question: bool) -> list[tuple[Values, Values]]:
    """Rows of both sides that belong together; they are taken out of the lists."""
    waiting: dict[object, list[_Placed]] = defaultdict(list)
    for each in reversed(right):
        waiting[_key(each, by_question)].append(each)
    pairs, alone = [], []
    taken: set[int] = set()
    for each in left:
        others = waiting[_key(each, by_question)]
        if others:
            other = others.pop()
            taken.add(id(other))
            pairs.append((each[1], other[1]))
        else:
            alone.append(each)
    left[:] = alone
    right[:] = [each for each in right if id(each) not in taken]
    return pairs


def _key(placed: _Placed, by_question: bool) -> object:
    stayed, values = placed
    if not by_question:
        return stayed
    asked: list[Any] = [values.get(name) for name in _ASKED]
    for name in ("messages", "conversations"):
        turns = values.get(name)
        asked.append(turns[:-1] if isinstance(turns, list) else None)
    return _digest(asked)
