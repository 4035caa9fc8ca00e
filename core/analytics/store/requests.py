"""Single requests, and the judgements on them."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError as DuplicateRowError
from sqlalchemy.orm import Session

from core.analytics.costs import Prices, money
from core.analytics.records import CANCELLED, Feedback, RequestEvent, RequestRecord, Source, Subject, Thumbs
from core.analytics.tallies import NAMED, subjects_of
from core.storage.tables import RequestFeedbackRow, RequestRow, RequestSubjectRow

Row, Link, Said = RequestRow, RequestSubjectRow, RequestFeedbackRow
_EPOCH = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
_RANDOM_BITS = 12


def id_at(at: float) -> int:
    """The least id of a request that ended at this moment (seconds since 1970): ids sort by time, to the microsecond."""
    return max(0, round((at - _EPOCH) * 1_000_000)) << _RANDOM_BITS


def insert_all(s: Session, events: Sequence[RequestEvent], prices: Prices) -> None:
    """Insert requests that are over, and what finds them."""
    rows, links = [], []
    taken: set[int] = set()
    for event in events:
        row_id = id_at(event.at) | secrets.randbits(_RANDOM_BITS)
        while row_id in taken:
            row_id += 1
        taken.add(row_id)
        rows.append(_row(event, row_id, prices))
        links += [
            {"tenant_id": event.tenant_id, "kind": kind, "subject": subject, "id": row_id}
            for kind, subject in subjects_of(event)
            if subject and kind != NAMED
        ]
    if rows:
        s.execute(insert(Row), rows)
    if links:
        s.execute(insert(Link), links)


def page(
    s: Session,
    tenant_id: str,
    since: datetime,
    until: datetime,
    *,
    subject: tuple[str, str] | None,
    task: str | None,
    error: str | None,
    failed: bool | None,
    slower_than_ms: float | None,
    before_id: int | None,
    limit: int,
) -> list[RequestRecord]:
    """Requests of a period, newest first. `subject`: kind and id of an adapter or composition."""
    last = id_at(until.timestamp())
    above, below = id_at(since.timestamp()), last if before_id is None else min(last, before_id)
    query: Select[Any] = select(Row).where(Row.tenant_id == tenant_id)
    order: Any = Row.id
    if subject is not None:
        kind, name = subject
        query = query.join(Link, and_(Link.tenant_id == Row.tenant_id, Link.id == Row.id)).where(
            Link.tenant_id == tenant_id,
            Link.kind == kind,
            Link.subject == name,
            Link.id >= above,
            Link.id < below,
        )
        order = Link.id
    query = query.where(Row.id >= above, Row.id < below, *_filters(task, error, failed, slower_than_ms))
    rows = s.scalars(query.order_by(order.desc()).limit(limit)).all()
    said = _judgements(s, tenant_id, [row.request_id for row in rows])
    return [_record(row, said.get(row.request_id)) for row in rows]


def labelled(record: RequestRecord, known: Mapping[str, Subject]) -> RequestRecord:
    """With adapters as they are called instead of their ids."""
    labels = tuple(known[name].label if name in known else name for name in record.adapters)
    return replace(record, adapters=labels)


def by_request_id(s: Session, tenant_id: str, request_id: str) -> RequestRecord | None:
    """The newest request of this id."""
    query = select(Row).where(Row.tenant_id == tenant_id, Row.request_id == request_id)
    row = s.scalars(query.order_by(Row.id.desc()).limit(1)).first()
    return None if row is None else _record(row, None)


def oldest(s: Session, tenant_id: str) -> datetime | None:
    """When the oldest request ended that is still kept."""
    return s.scalar(select(Row.at).where(Row.tenant_id == tenant_id).order_by(Row.id).limit(1))


def forget(s: Session, tenant_id: str, before: datetime, limit: int) -> int:
    """Delete the oldest requests that ended earlier, `limit` of them at most; how many."""
    old = select(Row.id).where(Row.tenant_id == tenant_id, Row.id < id_at(before.timestamp()))
    ids = s.scalars(old.order_by(Row.id).limit(limit)).all()
    if not ids:
        return 0
    done = s.execute(delete(Row).where(Row.tenant_id == tenant_id, Row.id <= ids[-1]))
    return int(done.rowcount)  # type: ignore[attr-defined]


def forget_links(s: Session, tenant_id: str, kind: str, subject: str, before: datetime) -> None:
    """Delete what found requests that ended earlier."""
    old = Link.id < id_at(before.timestamp())
    s.execute(
        delete(Link).where(Link.tenant_id == tenant_id, Link.kind == kind, Link.subject == subject, old)
    )


def judgement_of(s: Session, tenant_id: str, request_id: str, created_by: str) -> Feedback | None:
    """What one person said of one answer, locked until the transaction ends."""
    query = select(Said).where(
        Said.tenant_id == tenant_id, Said.request_id == request_id, Said.created_by == created_by
    )
    row = s.scalars(query.with_for_update().execution_options(populate_existing=True)).first()
    return None if row is None else _feedback(row)


def judgements_since(s: Session, tenant_id: str, created_by: str, since: datetime) -> int:
    """How many one person gave after a moment."""
    query = select(func.count()).where(
        Said.tenant_id == tenant_id, Said.created_by == created_by, Said.created_at > since
    )
    return s.scalar(query) or 0


def put_judgement(s: Session, said: Feedback, *, replaces: Feedback | None, composition: str) -> bool:
    """Keep it, in place of what the same person said before. False: they said something else at this very moment."""
    values = {
        "rating": said.rating,
        "thumbs": None if said.thumbs is None else said.thumbs.value,
        "accuracy": said.accuracy,
        "created_at": said.created_at,
    }
    if replaces is not None:
        s.execute(update(Said).where(Said.id == replaces.id).values(**values))
        return True
    fixed = {
        "id": said.id,
        "tenant_id": said.tenant_id,
        "request_id": said.request_id,
        "composition": composition,
        "adapters": list(said.adapters),
        "task": said.task,
        "counted_at": said.counted_at,
        "created_by": said.created_by,
    }
    try:
        with s.begin_nested():
            s.execute(insert(Said).values(**fixed, **values))
    except DuplicateRowError:
        return False
    return True


def _filters(
    task: str | None, error: str | None, failed: bool | None, slower_than_ms: float | None
) -> Iterable[ColumnElement[bool]]:
    if task is not None:
        yield Row.task == task
    if error is not None:
        yield Row.error == error
    if failed is True:
        yield Row.error.not_in(("", CANCELLED))
    if failed is False:
        yield Row.error == ""
    if slower_than_ms is not None:
        yield Row.latency_ms > slower_than_ms


def _judgements(s: Session, tenant_id: str, request_ids: Sequence[str]) -> dict[str, Feedback]:
    if not request_ids:
        return {}
    rows = s.scalars(
        select(Said)
        .where(Said.tenant_id == tenant_id, Said.request_id.in_(request_ids))
        .order_by(Said.created_at, Said.id)
    )
    return {str(row.request_id): _feedback(row) for row in rows}


def _row(event: RequestEvent, row_id: int, prices: Prices) -> dict[str, Any]:
    return {
        "tenant_id": event.tenant_id,
        "id": row_id,
        "request_id": event.request_id,
        "at": datetime.fromtimestamp(event.at, UTC),
        "model": event.model,
        "composition": event.composition,
        "adapters": [adapter for adapter, _ in event.adapters],
        "task": event.task,
        "error": event.error,
        "latency_ms": event.latency_ms,
        "queued_ms": event.queued_ms,
        "composing_ms": event.composing_ms,
        "first_token_ms": event.first_token_ms,
        "prompt_tokens": event.prompt_tokens,
        "completion_tokens": event.completion_tokens,
        "cost_nano": prices.cost_nano(event.prompt_tokens, event.completion_tokens),
        "source": event.source,
    }


def _record(row: RequestRow, said: Feedback | None) -> RequestRecord:
    return RequestRecord(
        id=row.id,
        request_id=row.request_id,
        at=row.at,
        model=row.model,
        composition=row.composition,
        adapters=tuple(row.adapters),
        task=row.task,
        error=row.error,
        latency_ms=row.latency_ms,
        queued_ms=row.queued_ms,
        composing_ms=row.composing_ms,
        first_token_ms=row.first_token_ms,
        prompt_tokens=row.prompt_tokens,
        completion_tokens=row.completion_tokens,
        cost=money(row.cost_nano),
        source=Source(row.source),
        rating=None if said is None else said.rating,
        thumbs=None if said is None else said.thumbs,
    )


def _feedback(row: RequestFeedbackRow) -> Feedback:
    return Feedback(
        id=row.id,
        tenant_id=row.tenant_id,
        request_id=row.request_id,
        adapters=tuple(row.adapters),
        task=row.task,
        rating=row.rating,
        thumbs=None if row.thumbs is None else Thumbs(row.thumbs),
        accuracy=row.accuracy,
        created_by=row.created_by,
        created_at=row.created_at,
        counted_at=row.counted_at,
    )
