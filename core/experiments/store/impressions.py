"""All SQL about impressions: written once, found by their event, folded once."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError as DuplicateRowError
from sqlalchemy.orm import Session

from core.experiments.records import Impression
from core.storage.ids import new_id
from core.storage.tables import ExperimentImpressionRow as Row
from core.storage.text import storable_document

CHUNK = 400


def add(s: Session, tenant_id: str, experiment_id: str, impressions: Sequence[Impression]) -> set[str]:
    """Write those down whose events are new. Answers the events that were there before, or twice among these."""
    rows: dict[str, Impression] = {}
    replayed: set[str] = set()
    for impression in impressions:
        if impression.event_id in rows:
            replayed.add(impression.event_id)
        else:
            rows[impression.event_id] = impression
    known = _known(s, tenant_id, experiment_id, list(rows))
    fresh = [each for event_id, each in rows.items() if event_id not in known]
    ids = sorted(
        new_id("imp") for _ in fresh
    )  # those of one moment stay in the order in which they were given
    documents = [
        {"id": row_id, **_values(tenant_id, experiment_id, each)}
        for row_id, each in zip(ids, fresh, strict=True)
    ]
    if not _insert(s, documents):  # another process was first with some of them
        for document in documents:
            if not _insert(s, [document]):
                known.add(document["event_id"])
    return known | replayed


def of_event(s: Session, tenant_id: str, experiment_id: str, event_id: str) -> Impression | None:
    """What was recorded for an event."""
    query = select(Row).where(*_of(tenant_id, experiment_id), Row.event_id == event_id)
    row = s.scalars(query.execution_options(populate_existing=True)).first()
    return None if row is None else _impression(row)


def unfolded(s: Session, tenant_id: str, experiment_id: str, limit: int) -> list[tuple[str, Impression]]:
    """The oldest that are not counted yet, each with its row's id. Whoever asks holds the experiment's evidence."""
    query = select(Row).where(*_of(tenant_id, experiment_id), Row.folded == 0).order_by(Row.id).limit(limit)
    rows = s.scalars(query.execution_options(populate_existing=True))
    return [(row.id, _impression(row)) for row in rows]


def count_unfolded(s: Session, tenant_id: str, experiment_id: str) -> int:
    """How many are not counted yet."""
    query = select(func.count()).select_from(Row).where(*_of(tenant_id, experiment_id), Row.folded == 0)
    return s.scalar(query) or 0


def has_unfolded(s: Session, tenant_id: str, experiment_id: str) -> bool:
    """Whether any is not counted yet."""
    query = select(Row.id).where(*_of(tenant_id, experiment_id), Row.folded == 0).limit(1)
    return s.scalar(query) is not None


def mark_folded(s: Session, tenant_id: str, experiment_id: str, ids: Sequence[str]) -> None:
    """They are counted."""
    for chunk in _chunks(ids):
        s.execute(
            update(Row)
            .where(*_of(tenant_id, experiment_id), Row.id.in_(chunk))
            .values(folded=1)
            .execution_options(synchronize_session=False)
        )


def folded_of_unit(
    s: Session, tenant_id: str, experiment_id: str, unit: str, variant: str
) -> list[Impression]:
    """What was counted of one unit in one arm."""
    query = select(Row).where(
        *_of(tenant_id, experiment_id), Row.unit == unit, Row.variant == variant, Row.folded == 1
    )
    return [_impression(row) for row in s.scalars(query.execution_options(populate_existing=True))]


def delete_all(s: Session, tenant_id: str, experiment_id: str) -> None:
    """Forget the single requests. The sums stay."""
    s.execute(delete(Row).where(*_of(tenant_id, experiment_id)).execution_options(synchronize_session=False))


def _known(s: Session, tenant_id: str, experiment_id: str, events: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for chunk in _chunks(events):
        query = select(Row.event_id).where(*_of(tenant_id, experiment_id), Row.event_id.in_(chunk))
        found.update(s.scalars(query))
    return found


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
        "folded": 0,
        "at": impression.at,
    }


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
