"""All SQL about impressions: one row for each event, completed by what comes later of it; each value is folded once."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError as DuplicateRowError
from sqlalchemy.orm import Session

from core.experiments.complete import completed, names_of
from core.experiments.plan import Plan
from core.experiments.records import Impression
from core.experiments.store import units as units_store
from core.storage.ids import new_id
from core.storage.tables import ExperimentImpressionRow as Row
from core.storage.text import storable_document

CHUNK = 400
WAITING, COUNTED, HELD = 0, 1, 2
HELD_FOR = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Kept:
    """A row. `counted`: the names of its values that are in the sums."""

    row_id: str
    impression: Impression
    counted: tuple[str, ...]
    folded: int


def add(
    s: Session,
    tenant_id: str,
    experiment_id: str,
    impressions: Sequence[Impression],
    plan: Plan,
    *,
    measured: bool = False,
    held: Collection[str] = (),
) -> set[str]:
    """Write them down; what is known of an event is completed (core/experiments/complete.py). Answers the events that
    were there before, or twice among these, and that changed nothing. `measured`: they come from the answers
    themselves. Those of the events `held` are counted once the answer's own part is there, or after HELD_FOR."""
    rows: dict[str, Impression] = {}
    replayed: set[str] = set()
    for impression in impressions:
        first = rows.setdefault(impression.event_id, impression)
        rows[impression.event_id] = completed(first, impression)
        if first is not impression and rows[impression.event_id] == first:
            replayed.add(impression.event_id)
    known = _known(s, tenant_id, experiment_id, list(rows))
    fresh = [each for event_id, each in rows.items() if event_id not in known]
    ids = sorted(
        new_id("imp") for _ in fresh
    )  # those of one moment stay in the order in which they were given
    documents = [
        {
            "id": row_id,
            **_values(tenant_id, experiment_id, each),
            "folded": HELD if each.event_id in held else WAITING,
        }
        for row_id, each in zip(ids, fresh, strict=True)
    ]
    late: set[str] = set()
    if not _insert(s, documents):  # another process was first with some of them
        late = {document["event_id"] for document in documents if not _insert(s, [document])}
    known |= _known(s, tenant_id, experiment_id, sorted(late))
    # What is new is written before the sums are held, so that two that hold and write never wait for each other.
    changing = [
        event_id
        for event_id, kept in known.items()
        if completed(kept.impression, rows[event_id], kept.counted, measured=measured) != kept.impression
    ]
    if changing:
        units_store.hold(s, tenant_id, experiment_id, plan, rows[changing[0]].at)
        for event_id, kept in _known(s, tenant_id, experiment_id, changing).items():
            _complete(s, tenant_id, experiment_id, kept, rows[event_id], measured=measured)
    return (set(known) - set(changing)) | replayed


def of_event(s: Session, tenant_id: str, experiment_id: str, event_id: str) -> Impression | None:
    """What was recorded for an event."""
    query = select(Row).where(*_of(tenant_id, experiment_id), Row.event_id == event_id)
    row = s.scalars(query.execution_options(populate_existing=True)).first()
    return None if row is None else _impression(row)


def is_known(s: Session, tenant_id: str, experiment_id: str, event_id: str, unit: str) -> bool:
    """Whether anything was recorded of an event, or of a unit."""
    of = _of(tenant_id, experiment_id)
    queries = (
        select(Row.id).where(*of, Row.event_id == event_id),
        select(Row.id).where(*of, Row.unit == unit),
    )
    return any(s.scalar(query.limit(1)) is not None for query in queries)


def release(s: Session, tenant_id: str, experiment_id: str, now: datetime) -> None:
    """Those that were held long enough (or by a clock that was wrong) are to be counted."""
    s.execute(
        update(Row)
        .where(
            *_of(tenant_id, experiment_id),
            Row.folded == HELD,
            or_(Row.at <= now - HELD_FOR, Row.at > now + HELD_FOR),
        )
        .values(folded=WAITING)
        .execution_options(synchronize_session=False)
    )


def unfolded(s: Session, tenant_id: str, experiment_id: str, limit: int) -> list[Kept]:
    """The oldest that are to be counted. Whoever asks holds the experiment's evidence."""
    query = (
        select(Row).where(*_of(tenant_id, experiment_id), Row.folded == WAITING).order_by(Row.id).limit(limit)
    )
    return [_kept(row) for row in s.scalars(query.execution_options(populate_existing=True))]


def count_unfolded(s: Session, tenant_id: str, experiment_id: str) -> int:
    """How many are not counted yet, those that are held among them."""
    query = (
        select(func.count())
        .select_from(Row)
        .where(*_of(tenant_id, experiment_id), Row.folded.in_((WAITING, HELD)))
    )
    return s.scalar(query) or 0


def has_unfolded(s: Session, tenant_id: str, experiment_id: str) -> bool:
    """Whether any is not counted yet."""
    query = select(Row.id).where(*_of(tenant_id, experiment_id), Row.folded.in_((WAITING, HELD))).limit(1)
    return s.scalar(query) is not None


def mark_folded(s: Session, tenant_id: str, experiment_id: str, ids: Sequence[str]) -> None:
    """They are counted."""
    for chunk in _chunks(ids):
        s.execute(
            update(Row)
            .where(*_of(tenant_id, experiment_id), Row.id.in_(chunk))
            .values(folded=COUNTED)
            .execution_options(synchronize_session=False)
        )


def counted_of_unit(s: Session, tenant_id: str, experiment_id: str, unit: str, variant: str) -> list[Kept]:
    """What was counted of one unit in one arm."""
    query = select(Row).where(*_of(tenant_id, experiment_id), Row.unit == unit, Row.variant == variant)
    found = map(_kept, s.scalars(query.execution_options(populate_existing=True)))
    return [kept for kept in found if kept.counted]


def delete_all(s: Session, tenant_id: str, experiment_id: str) -> None:
    """Forget the single requests. The sums stay."""
    s.execute(delete(Row).where(*_of(tenant_id, experiment_id)).execution_options(synchronize_session=False))


def _known(s: Session, tenant_id: str, experiment_id: str, events: Sequence[str]) -> dict[str, Kept]:
    found: dict[str, Kept] = {}
    for chunk in _chunks(events):
        query = select(Row).where(*_of(tenant_id, experiment_id), Row.event_id.in_(chunk))
        rows = s.scalars(query.execution_options(populate_existing=True))
        found |= {row.event_id: _kept(row) for row in rows}
    return found


def _complete(
    s: Session, tenant_id: str, experiment_id: str, kept: Kept, more: Impression, *, measured: bool
) -> None:
    """Whoever asks holds the experiment's evidence, so that nobody counts the row meanwhile."""
    whole = completed(kept.impression, more, kept.counted, measured=measured)
    if whole == kept.impression:
        return
    values: Mapping[str, Any] = {
        **_values(tenant_id, experiment_id, whole),
        "folded": HELD if kept.folded == HELD and not measured else WAITING,
        "counted": list(kept.counted) or None,
    }
    s.execute(
        update(Row).where(Row.id == kept.row_id).values(**values).execution_options(synchronize_session=False)
    )


def _insert(s: Session, documents: Sequence[dict[str, Any]]) -> bool:
    """False: one of the events is there, and none of these was written."""
    if not documents:
        return True
    try:
        with s.begin_nested():
            s.execute(insert(Row), sorted(documents, key=lambda each: each["event_id"]))
    except DuplicateRowError:
        return False
    return True


def _values(tenant_id: str, experiment_id: str, impression: Impression) -> dict[str, Any]:
    return {
        "tenant_id": tenant_id,
        "experiment_id": experiment_id,
        "event_id": impression.event_id,
        "variant": impression.variant,
        "unit": impression.unit,
        "success": None if impression.success is None else int(impression.success),
        "latency_ms": impression.latency_ms,
        "feedback_score": impression.feedback_score,
        "propensity": impression.propensity,
        "independent": int(impression.independent),
        "exposure": int(impression.exposure),
        "metrics": storable_document(impression.metrics) or None,
        "segment": storable_document(impression.segment) or None,
        "at": impression.at,
    }


def _kept(row: Row) -> Kept:
    impression = _impression(row)
    counted = names_of(impression) if row.folded == COUNTED else tuple(row.counted or ())
    return Kept(row.id, impression, counted, row.folded)


def _impression(row: Row) -> Impression:
    return Impression(
        event_id=row.event_id,
        variant=row.variant,
        unit=row.unit,
        at=row.at,
        success=None if row.success is None else bool(row.success),
        latency_ms=row.latency_ms,
        feedback_score=row.feedback_score,
        metrics=row.metrics or {},
        segment=row.segment or {},
        propensity=row.propensity,
        independent=bool(row.independent),
        exposure=bool(row.exposure),
    )


def _of(tenant_id: str, experiment_id: str) -> tuple[Any, ...]:
    return Row.tenant_id == tenant_id, Row.experiment_id == experiment_id


def _chunks(values: Sequence[str]) -> Iterable[Sequence[str]]:
    return (values[at : at + CHUNK] for at in range(0, len(values), CHUNK))
