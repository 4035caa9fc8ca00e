"""Cells: what requests add up to by minute, hour and day."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, and_, bindparam, delete, insert, or_, select, tuple_, update
from sqlalchemy.orm import Session

from core.analytics.periods import Grain, Span
from core.analytics.records import Tally
from core.analytics.tallies import CellKey, fewest_errors, merged
from core.stats.sketches import LogSketch
from core.storage.tables import AnalyticsCellRow

Row = AnalyticsCellRow
Group = TypeVar("Group")
NUMBERS = (
    "requests", "successes", "cancelled", "simulated", "reported", "prompt_tokens", "completion_tokens", "cost_nano",
    "memory_bytes", "ratings", "rating_sum", "rating_squares", "thumbs_up", "thumbs_down", "accuracies",
    "accuracy_sum", "accuracy_squares",
)  # fmt: skip
SKETCHES = ("latency", "queued", "composing")
KEYS = ("tenant_id", "kind", "start", "subject", "task")
_COLUMNS = tuple(getattr(Row, name) for name in (*KEYS, *NUMBERS, "errors", *SKETCHES))
_CELL = (Row.tenant_id, Row.grain, Row.kind, Row.start, Row.subject, Row.task, Row.writer)
_CHUNK = 500  # rows that one statement names


def add(s: Session, cells: dict[CellKey, Tally], grain: str, writer: str) -> None:
    """Add to the rows of one writer. Rows that somebody else holds are waited for; what they left counts."""
    known = _held(s, list(cells), grain, writer)
    new, changed = [], []
    for key in sorted(cells):
        found = known.get(key)
        values = _values(cells[key] if found is None else merged((found, cells[key])))
        if found is None:
            new.append({**key._asdict(), "grain": grain, "writer": writer, **values})
        else:
            changed.append({f"key_{name}": part for name, part in key._asdict().items()} | values)
    if new:
        s.execute(insert(Row), new)
    if changed:
        connection = s.connection()
        same = (getattr(Row, name) == bindparam(f"key_{name}") for name in KEYS)
        statement = update(Row.__table__).where(*same, Row.grain == grain, Row.writer == writer)  # type: ignore[arg-type]
        connection.execute(statement, changed)


def take_minutes(s: Session, before: datetime, limit: int) -> dict[CellKey, Tally]:
    """Take minutes that are older out of the table, all writers added up. What others hold is left for another time."""
    query = (
        select(*_CELL, *_COLUMNS)
        .where(Row.grain == Grain.MINUTE, Row.start < before)
        .order_by(Row.start)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = s.execute(query).all()
    for start in range(0, len(rows), _CHUNK):
        keys = [tuple(row)[: len(_CELL)] for row in rows[start : start + _CHUNK]]
        s.execute(delete(Row).where(tuple_(*_CELL).in_(keys)).execution_options(synchronize_session=False))
    taken: dict[CellKey, list[Tally]] = {}
    for row in rows:
        key, tally = _read(tuple(row)[len(_CELL) :])
        taken.setdefault(key, []).append(tally)
    return {key: merged(parts) for key, parts in taken.items()}


def read(
    s: Session,
    tenant_id: str,
    kind: str,
    spans: Sequence[Span],
    group: Callable[[CellKey], Group],
    *,
    subjects: Sequence[str] | None = None,
    task: str | None = None,
) -> dict[Group, Tally]:
    """Cells in any of the spans, added up by what `group` says of each.

    Read by one statement: what moves from one grain to another is neither missed nor met twice.
    """
    where: list[ColumnElement[bool]] = [Row.tenant_id == tenant_id, Row.kind == kind]
    if subjects is not None:
        where.append(Row.subject.in_(subjects))
    if task is not None:
        where.append(Row.task == task)
    times = [and_(Row.grain == each.grain, Row.start >= each.since, Row.start < each.until) for each in spans]
    found: defaultdict[Group, list[Any]] = defaultdict(list)
    for row in s.execute(select(*_COLUMNS).where(*where, or_(*times))):
        found[group(CellKey(*row[: len(KEYS)]))].append(row[len(KEYS) :])
    return {name: _added_up(rows) for name, rows in found.items()}


def forget(s: Session, grain: str, before: datetime) -> int:
    """Delete cells of a grain that began earlier; how many."""
    done = s.execute(delete(Row).where(Row.grain == grain, Row.start < before))
    return int(done.rowcount)  # type: ignore[attr-defined]


def insert_whole(s: Session, cells: Iterable[tuple[CellKey, Tally]], grain: str, writer: str) -> None:
    """Insert cells that are not there yet, many at once."""
    rows = [{**key._asdict(), "grain": grain, "writer": writer, **_values(tally)} for key, tally in cells]
    if rows:
        s.execute(insert(Row), rows)


def _held(s: Session, keys: list[CellKey], grain: str, writer: str) -> dict[CellKey, Tally]:
    """The rows of these cells that are there, locked until the transaction ends."""
    found: dict[CellKey, Tally] = {}
    for tenant_id in sorted({key.tenant_id for key in keys}):
        mine = [key for key in keys if key.tenant_id == tenant_id]
        query = (
            select(*_COLUMNS)
            .where(
                Row.tenant_id == tenant_id,
                Row.grain == grain,
                Row.writer == writer,
                Row.kind.in_(sorted({key.kind for key in mine})),
                Row.start.in_(sorted({key.start for key in mine})),
            )
            .order_by(Row.kind, Row.start, Row.subject, Row.task)
            .with_for_update()
        )
        found |= dict(_read(tuple(row)) for row in s.execute(query))
    return found


def _values(tally: Tally) -> dict[str, Any]:
    numbers = {name: getattr(tally, name) for name in NUMBERS}
    sketches = {name: getattr(tally, name) for name in SKETCHES}
    packed = {name: each.to_bytes() if each.count else None for name, each in sketches.items()}
    return {**numbers, "errors": dict(tally.errors), **packed}


def _read(row: tuple[Any, ...]) -> tuple[CellKey, Tally]:
    """From the columns of `_COLUMNS`."""
    return CellKey(*row[: len(KEYS)]), _added_up([row[len(KEYS) :]])


def _added_up(rows: Sequence[Any]) -> Tally:
    """Of the columns after the key."""
    *numbers, errors, latency, queued, composing = zip(*rows, strict=True)
    counts = {name: sum(column) for name, column in zip(NUMBERS, numbers, strict=True)}
    counts["memory_bytes"] = max(numbers[NUMBERS.index("memory_bytes")])
    kinds: Counter[str] = Counter()
    for each in errors:
        if each:
            kinds.update(each)
    sketches = (
        LogSketch.merged_bytes([part for part in column if part]) for column in (latency, queued, composing)
    )
    times, waits, preparations = sketches
    return Tally(errors=fewest_errors(kinds), latency=times, queued=waits, composing=preparations, **counts)
