"""Analytics of one's own workspace: what screens, routes and commands call."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from app.bootstrap import Console
from core.analytics import judging, service
from core.analytics.records import (
    AdapterComparison,
    ErrorCount,
    Feedback,
    HeatCell,
    Point,
    Ranked,
    RankMetric,
    RecorderState,
    RequestPage,
    Scope,
    Step,
    Subject,
    SubjectKind,
    Summary,
    TaskAccuracy,
    Thumbs,
    Totals,
    Trend,
)
from core.errors import InvalidInputError
from core.storage.ids import new_id
from core.tenants.records import Permission, Principal

MOST_HOURS = 24.0 * 3660
USUAL_HOURS = 24.0 * 30
MEGABYTE = 1_000_000


def scope_of(
    c: Console,
    *,
    hours: float = 24.0,
    adapter: str | None = None,
    composition: str | None = None,
    task: str | None = None,
    until: datetime | None = None,
) -> Scope:
    """The last `hours` until now (or `until`). 1: the last hour, by minute. Raises InvalidInputError."""
    if not 0 < hours <= MOST_HOURS:
        raise InvalidInputError(
            "There is no such period.",
            f"It has more than 0 and at most {MOST_HOURS:,.0f} hours, not {hours}.",
            "Give another number of hours.",
        )
    now = c.clock()
    end = until or now
    return Scope(end - timedelta(hours=hours), end, adapter, composition, task, now)


def totals(c: Console, p: Principal, scope: Scope) -> Totals:
    """Key figures beside those of the period before. Raises NotFoundError, InvalidInputError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return service.totals(s, p.tenant_id, scope, prices=c.recorder.prices)


def series(c: Console, p: Principal, scope: Scope, step: Step) -> list[Point]:
    """Every step of the period, oldest first. Raises NotFoundError, InvalidInputError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return service.series(
            s,
            p.tenant_id,
            scope.adapter,
            scope.since,
            scope.until,
            step,
            task=scope.task,
            composition=scope.composition,
        )


def summary(c: Console, p: Principal, scope: Scope) -> Summary:
    """All figures of an adapter, a composition, or everything. Raises NotFoundError, InvalidInputError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return service.summary(s, p.tenant_id, scope, prices=c.recorder.prices)


def summaries(
    c: Console, p: Principal, scope: Scope, kind: SubjectKind = SubjectKind.ADAPTER
) -> list[Summary]:
    """Each adapter or composition with records in the period, most requests first."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return service.summaries(s, p.tenant_id, scope, kind, prices=c.recorder.prices)


def heat_map(c: Console, p: Principal, scope: Scope, *, zone: str = "UTC") -> list[HeatCell]:
    """168 cells by weekday and hour of a time zone. Raises InvalidInputError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return service.heat_map(s, p.tenant_id, scope, zone=zone)


def errors(c: Console, p: Principal, scope: Scope) -> list[ErrorCount]:
    """Kinds of errors, most frequent first."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return service.errors(s, p.tenant_id, scope)


def latency_buckets(c: Console, p: Principal, scope: Scope) -> list[tuple[float, float, int]]:
    """Distribution of latencies: from, to (ms), how many."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return service.latency_buckets(s, p.tenant_id, scope)


def tasks(c: Console, p: Principal, scope: Scope) -> list[TaskAccuracy]:
    """Tasks with requests and accuracy."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return service.tasks(s, p.tenant_id, scope)


def get_top_adapters(
    c: Console,
    p: Principal,
    *,
    metric: RankMetric | str = RankMetric.SUCCESS_RATE,
    limit: int = 10,
    scope: Scope | None = None,
) -> list[Ranked]:
    """Adapters by the end of the interval that speaks against each; of the last 30 days unless `scope` says otherwise."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return service.get_top_adapters(
            s,
            p.tenant_id,
            scope or scope_of(c, hours=USUAL_HOURS),
            metric,
            limit,
            prices=c.recorder.prices,
        )


def get_adapter_comparison(
    c: Console, p: Principal, adapter_ids: Sequence[str], *, scope: Scope | None = None
) -> AdapterComparison:
    """Adapters side by side, each against the first. Raises NotFoundError, InvalidInputError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return service.get_adapter_comparison(
            s, p.tenant_id, adapter_ids, scope or scope_of(c, hours=USUAL_HOURS), prices=c.recorder.prices
        )


def trends(
    c: Console, p: Principal, scope: Scope, *, step: Step | None = None, limit: int = 50
) -> list[Trend]:
    """Each adapter beside its period before, with points for a sparkline."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return service.trends(s, p.tenant_id, scope, step=step, limit=limit, prices=c.recorder.prices)


def subjects(c: Console, p: Principal, kind: SubjectKind = SubjectKind.ADAPTER) -> list[Subject]:
    """Everything that ever had a record, by label."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return service.subjects(s, p.tenant_id, kind)


def task_names(c: Console, p: Principal) -> list[str]:
    """Tasks that ever had a record."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return service.task_names(s, p.tenant_id)


def requests(
    c: Console,
    p: Principal,
    scope: Scope,
    *,
    error: str | None = None,
    failed: bool | None = None,
    slower_than_ms: float | None = None,
    before_id: int | None = None,
    limit: int = 50,
) -> RequestPage:
    """The requests behind a figure, newest first. Raises NotFoundError, InvalidInputError."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        return service.requests(
            s,
            p.tenant_id,
            scope,
            error=error,
            failed=failed,
            slower_than_ms=slower_than_ms,
            before_id=before_id,
            limit=limit,
        )


def recorder_state(c: Console, p: Principal) -> RecorderState:
    """How the recording of this process stands."""
    p.require(Permission.VIEW)
    return c.recorder.state


def record_request(
    c: Console,
    p: Principal,
    *,
    adapter_id: str,
    latency_ms: float,
    success: bool,
    adapter_type: str = "",
    task_type: str = "",
    error_type: str = "",
    tokens_in: int = 0,
    tokens_out: int = 0,
    queue_ms: float | None = None,
    composition_ms: float | None = None,
    memory_mb: float | None = None,
    request_id: str | None = None,
) -> str:
    """Record a request that was answered elsewhere; answers its request id. In the figures within a second.

    An adapter that the registry does not have is kept under its name, and shown as not registered. Raises
    InvalidInputError for a time that is negative, infinite or not a number.
    """
    p.require(Permission.REVIEW)
    memory = 0.0 if memory_mb is None else memory_mb
    if not 0 <= memory <= MEGABYTE * MEGABYTE:
        raise InvalidInputError("There is no such amount of memory.", f"It is {memory_mb} MB.", "Correct it.")
    given = request_id or new_id("req")
    c.recorder.record_request(
        p.tenant_id,
        adapter_id.strip(),
        adapter_type,
        latency_ms,
        success,
        task_type,
        error_type=error_type,
        request_id=given,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        queue_ms=queue_ms,
        composition_ms=composition_ms,
        memory_bytes=int(memory * MEGABYTE),
        at=c.clock().timestamp(),
    )
    return given


def record_feedback(
    c: Console,
    p: Principal,
    *,
    request_id: str | None = None,
    adapter_id: str | None = None,
    rating: float | None = None,
    thumbs: Thumbs | str | None = None,
    task_type: str = "",
    accuracy: float | None = None,
) -> Feedback:
    """Keep what somebody thinks of one answer (request_id) or of an adapter. At least one of rating, thumbs, accuracy.

    Raises InvalidInputError, NotFoundError, BusyError.
    """
    p.require(Permission.REVIEW)
    c.recorder.write()  # the answer may have been given less than a second ago
    with c.database.transaction() as s:
        return judging.record_feedback(
            s,
            p.tenant_id,
            request_id=request_id,
            adapter_id=adapter_id,
            rating=rating,
            thumbs=thumbs,
            task_type=task_type,
            accuracy=accuracy,
            created_by=p.actor,
            now=c.clock(),
        )
