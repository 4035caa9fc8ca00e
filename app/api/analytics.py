"""What requests did and what people think of the answers: figures, rankings, and the requests behind them."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from app.actions import analytics
from app.api.analytics_schemas import (
    AdapterMetricsOut,
    ChangeOut,
    ComparisonOut,
    ErrorOut,
    ErrorsOut,
    FeedbackIn,
    FigureOut,
    Hours,
    JudgementOut,
    OfAdapter,
    RecordedOut,
    RecordIn,
    RequestsOut,
    SeriesOut,
    Task,
    TopPerformersOut,
    TotalsOut,
    comparison_out,
    metrics_out,
    point_out,
    ranked_out,
)
from app.api.parts import KEY_NEEDED, Caller, TheConsole, errors
from core.analytics.records import RankMetric, Step

router = APIRouter(prefix="/analytics", tags=["analytics"], dependencies=KEY_NEEDED)
MONTH = 720.0
AdapterId = Annotated[str, Path(max_length=200, description="Id or name of an adapter.")]


@router.get("/adapters/{adapter_id}", summary="Figures of an adapter", responses=errors(404))
def adapter_metrics(
    console: TheConsole, caller: Caller, adapter_id: AdapterId, hours: Hours = MONTH, task: Task = None
) -> AdapterMetricsOut:
    """Success, times, ratings, cost: each with n, interval and source."""
    scope = analytics.scope_of(console, hours=hours, adapter=adapter_id, task=task)
    return metrics_out(analytics.summary(console, caller, scope))


@router.get("/top-performers", summary="The best adapters", responses=errors())
def top_performers(
    console: TheConsole,
    caller: Caller,
    metric: RankMetric = RankMetric.SUCCESS_RATE,
    limit: Annotated[int, Query(ge=1, le=1000)] = 5,
    hours: Hours = MONTH,
    task: Task = None,
) -> TopPerformersOut:
    """Ranked by the end of the interval that speaks against each: 2 of 2 does not beat 980 of 1,000."""
    scope = analytics.scope_of(console, hours=hours, task=task)
    found = analytics.get_top_adapters(console, caller, metric=metric, limit=limit, scope=scope)
    return TopPerformersOut(metric=metric, items=[ranked_out(each) for each in found])


@router.get("/comparison", summary="Adapters side by side", responses=errors(404))
def comparison(
    console: TheConsole,
    caller: Caller,
    adapter_ids: Annotated[
        list[str],
        Query(min_length=1, max_length=20, description="Ids or names; several times, or with commas."),
    ],
    hours: Hours = MONTH,
    task: Task = None,
) -> ComparisonOut:
    """Each against the first; the intervals of all differences of a metric hold together."""
    names = [part.strip() for each in adapter_ids for part in each.split(",") if part.strip()]
    scope = analytics.scope_of(console, hours=hours, task=task)
    return comparison_out(analytics.get_adapter_comparison(console, caller, names, scope=scope))


@router.get("/totals", summary="Key figures beside the period before", responses=errors(404))
def totals(
    console: TheConsole,
    caller: Caller,
    hours: Hours = 24.0,
    adapter_id: OfAdapter = None,
    task: Task = None,
) -> TotalsOut:
    """Of all requests, or of one adapter."""
    scope = analytics.scope_of(console, hours=hours, adapter=adapter_id, task=task)
    found = analytics.totals(console, caller, scope)
    changes = [
        ChangeOut(metric=name, difference=FigureOut.model_validate(change.difference), outlook=change.outlook)
        for name, change in found.changes.items()
    ]
    return TotalsOut(now=metrics_out(found.now), before=metrics_out(found.before), changes=changes)


@router.get("/series", summary="Figures over time", responses=errors(404))
def series(
    console: TheConsole,
    caller: Caller,
    hours: Hours = 24.0,
    step: Step = Step.HOUR,
    adapter_id: OfAdapter = None,
    task: Task = None,
) -> SeriesOut:
    """Every minute (of the last two hours), hour or day of the period."""
    scope = analytics.scope_of(console, hours=hours, adapter=adapter_id, task=task)
    return SeriesOut(points=[point_out(each) for each in analytics.series(console, caller, scope, step)])


@router.get("/errors", summary="Kinds of errors", responses=errors(404))
def error_kinds(
    console: TheConsole,
    caller: Caller,
    hours: Hours = 24.0,
    adapter_id: OfAdapter = None,
    task: Task = None,
) -> ErrorsOut:
    """How often requests ended in each."""
    scope = analytics.scope_of(console, hours=hours, adapter=adapter_id, task=task)
    found = analytics.errors(console, caller, scope)
    return ErrorsOut(items=[ErrorOut.model_validate(each) for each in found])


@router.get("/requests", summary="The requests behind a figure", responses=errors(404))
def requests(
    console: TheConsole,
    caller: Caller,
    hours: Hours = 24.0,
    adapter_id: OfAdapter = None,
    task: Task = None,
    error: Annotated[str | None, Query(max_length=40, description="Ended in this error.")] = None,
    failed: Annotated[bool | None, Query(description="True: failures; false: answered ones.")] = None,
    slower_than_ms: Annotated[
        float | None, Query(ge=0, le=1e12, allow_inf_nan=False, description="Answered ones.")
    ] = None,
    before_id: Annotated[int | None, Query(ge=0, le=2**63 - 1)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> RequestsOut:
    """Newest first, without any text of requests and answers."""
    scope = analytics.scope_of(console, hours=hours, adapter=adapter_id, task=task)
    return RequestsOut.model_validate(
        analytics.requests(
            console,
            caller,
            scope,
            error=error,
            failed=failed,
            slower_than_ms=slower_than_ms,
            before_id=before_id,
            limit=limit,
        )
    )


@router.post(
    "/record", status_code=202, summary="Record a request that was answered elsewhere", responses=errors()
)
def record(console: TheConsole, caller: Caller, body: RecordIn) -> RecordedOut:
    """What this API answers is recorded by itself. An adapter that is not in the registry is kept under its name."""
    return RecordedOut(request_id=analytics.record_request(console, caller, **body.model_dump()))


@router.post(
    "/feedback", status_code=201, summary="Judge an answer or an adapter", responses=errors(404, 409)
)
def feedback(console: TheConsole, caller: Caller, body: FeedbackIn) -> JudgementOut:
    """A rating of 1 to 5, a thumb, how right it was. Of one answer each account counts once; the newest word holds."""
    return JudgementOut.model_validate(analytics.record_feedback(console, caller, **body.model_dump()))
