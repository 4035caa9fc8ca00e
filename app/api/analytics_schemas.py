"""What the routes of analytics take and answer. Figures carry their n and interval."""

from datetime import datetime
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from app.api.schemas import Answered
from core.analytics.recorder import MOST_MS, MOST_TOKENS
from core.analytics.records import (
    CONFIDENCE,
    AdapterComparison,
    Difference,
    Outlook,
    Point,
    Ranked,
    RankMetric,
    Source,
    Summary,
    Thumbs,
)

Hours = Annotated[
    float,
    Query(
        gt=0,
        le=87_840,
        allow_inf_nan=False,
        description="The last so many hours; 720 are 30 days.",
        examples=[720],
    ),
]
Task = Annotated[str | None, Query(max_length=80, description="Only requests of this task.")]
OfAdapter = Annotated[str | None, Query(max_length=200, description="Id or name; left out: all requests.")]
Milliseconds = Annotated[float, Field(ge=0, le=MOST_MS, allow_inf_nan=False)]
Tokens = Annotated[int, Field(ge=0, le=MOST_TOKENS)]


class FigureOut(Answered):
    """A value with its n and interval. No value: `note` says why."""

    value: float | None
    n: int
    low: float | None = Field(description=f"Lower end of the {CONFIDENCE:.0%} interval, where there is one.")
    high: float | None
    unit: str
    note: str
    source: str


class AdapterMetricsOut(BaseModel):
    """Figures of one adapter. The first six are for a quick look; `figures` have n, interval and source."""

    adapter_id: str
    success_rate: float | None
    avg_latency_ms: float | None
    p95_latency_ms: float | None = Field(description="Null below 10 answered requests.")
    avg_user_rating: float | None
    total_requests: int
    label: str
    adapter_type: str
    registered: bool = Field(description="Whether the registry has this adapter.")
    since: datetime
    until: datetime
    successes: int
    failures: int
    cancelled: int
    simulated: int = Field(description="How many of the requests are generated ones.")
    errors: dict[str, int]
    thumbs_up: int
    thumbs_down: int
    prompt_tokens: int
    completion_tokens: int
    source: str
    figures: dict[str, FigureOut]


class RankedOut(AdapterMetricsOut):
    """An adapter with its place. It was ranked by `ranked_by`, an end of the interval, not by what was seen."""

    rank: int
    ranked_by: float | None


class TopPerformersOut(BaseModel):
    """Best first."""

    metric: RankMetric
    items: list[RankedOut]


class DifferenceOut(BaseModel):
    """`other` minus `reference`."""

    metric: str
    reference: str
    other: str
    difference: FigureOut
    outlook: Outlook


class ComparisonOut(BaseModel):
    """Adapters in the asked order, each against the first."""

    adapters: list[AdapterMetricsOut]
    differences: list[DifferenceOut]
    note: str


class ChangeOut(BaseModel):
    """Now minus the period before."""

    metric: str
    difference: FigureOut
    outlook: Outlook


class TotalsOut(BaseModel):
    """A period beside the one before it."""

    now: AdapterMetricsOut
    before: AdapterMetricsOut
    changes: list[ChangeOut]


class PointOut(BaseModel):
    """One step of a series."""

    at: datetime
    requests: int
    successes: int
    failures: int
    p50_latency_ms: float | None
    p95_latency_ms: float | None
    avg_user_rating: float | None
    prompt_tokens: int
    completion_tokens: int
    cost: float


class SeriesOut(BaseModel):
    """Every step, oldest first."""

    points: list[PointOut]


class ErrorOut(Answered):
    """A kind of error."""

    code: str
    count: int
    share: FigureOut


class ErrorsOut(BaseModel):
    """Most frequent first."""

    items: list[ErrorOut]


class RequestOut(Answered):
    """A request without its text."""

    id: int
    request_id: str
    at: datetime
    model: str
    composition: str
    adapters: list[str]
    task: str
    success: bool
    error: str
    latency_ms: float
    queued_ms: float | None
    composing_ms: float | None
    first_token_ms: float | None
    prompt_tokens: int
    completion_tokens: int
    cost: float
    source: Source
    rating: float | None
    thumbs: Thumbs | None


class RequestsOut(Answered):
    """Requests behind a figure, newest first. `next_before`: give it as `before_id` to get the next page."""

    rows: list[RequestOut]
    total: int
    kept_since: datetime
    next_before: int | None


class RecordIn(BaseModel):
    """A request that was answered elsewhere."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "adapter_id": "amazon_schema_v1",
                    "adapter_type": "retailer",
                    "latency_ms": 145.3,
                    "success": True,
                    "task_type": "mapping",
                }
            ]
        },
    )

    adapter_id: str = Field(
        min_length=1, max_length=200, pattern=r"\S", description="Id or name of an adapter."
    )
    adapter_type: str = Field("", max_length=40, description="retailer, task, brand or domain.")
    latency_ms: Milliseconds
    success: bool
    task_type: str = Field("", max_length=80)
    error_type: str = Field("", max_length=40, description="Why it failed, in a word.")
    tokens_in: Tokens = 0
    tokens_out: Tokens = 0
    queue_ms: Milliseconds | None = None
    composition_ms: Milliseconds | None = None
    memory_mb: float | None = Field(None, ge=0, le=1e9, allow_inf_nan=False)
    request_id: str | None = Field(None, min_length=1, max_length=64)


class RecordedOut(BaseModel):
    """It is in the figures within a second."""

    request_id: str


class FeedbackIn(BaseModel):
    """What somebody thinks: of one answer (`request_id`) or of an adapter (`adapter_id`); one of the two."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"adapter_id": "amazon_schema_v1", "rating": 4.5, "thumbs": "up", "accuracy": 0.92},
                {"request_id": "req_01m7zt1pqmsbkvpfrw2anr55sh", "thumbs": "down"},
            ]
        },
    )

    request_id: str | None = Field(None, min_length=1, max_length=64)
    adapter_id: str | None = Field(None, min_length=1, max_length=200)
    rating: float | None = Field(None, ge=1, le=5, allow_inf_nan=False)
    thumbs: Thumbs | None = None
    task_type: str = Field("", max_length=80)
    accuracy: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)


class JudgementOut(Answered):
    """It counts at once."""

    id: str
    request_id: str | None
    adapters: list[str]
    task: str
    rating: float | None
    thumbs: Thumbs | None
    accuracy: float | None
    created_at: datetime


FIGURES = (
    "success_rate", "latency_mean", "latency_p50", "latency_p95", "latency_p99", "queued_mean", "queued_p95",
    "composing_mean", "composing_p95", "cost", "rating", "thumbs", "accuracy", "memory", "size",
)  # fmt: skip


def metrics_out(found: Summary) -> AdapterMetricsOut:
    """Of one adapter, or of all requests (its id is empty)."""
    return AdapterMetricsOut(
        adapter_id=found.subject.id,
        success_rate=found.success_rate.value,
        avg_latency_ms=found.latency_mean.value,
        p95_latency_ms=found.latency_p95.value,
        avg_user_rating=found.rating.value,
        total_requests=found.requests,
        label=found.subject.label,
        adapter_type=found.subject.type,
        registered=found.subject.registered,
        since=found.since,
        until=found.until,
        successes=found.successes,
        failures=found.failures,
        cancelled=found.cancelled,
        simulated=found.simulated,
        errors=dict(found.errors),
        thumbs_up=found.thumbs_up,
        thumbs_down=found.thumbs_down,
        prompt_tokens=found.prompt_tokens,
        completion_tokens=found.completion_tokens,
        source=found.source,
        figures={name: FigureOut.model_validate(getattr(found, name)) for name in FIGURES},
    )


def ranked_out(found: Ranked) -> RankedOut:
    """With its place."""
    return RankedOut(**metrics_out(found.summary).model_dump(), rank=found.rank, ranked_by=found.bound)


def comparison_out(found: AdapterComparison) -> ComparisonOut:
    """Side by side."""
    return ComparisonOut(
        adapters=[metrics_out(each) for each in found.summaries],
        differences=[_difference_out(each) for each in found.differences],
        note=found.note,
    )


def point_out(point: Point) -> PointOut:
    """P95 only from ten answered requests on."""
    times = point.latency
    return PointOut(
        at=point.at,
        requests=point.requests,
        successes=point.successes,
        failures=point.failures,
        p50_latency_ms=times.quantile(0.5) if times.count else None,
        p95_latency_ms=times.quantile(0.95) if times.count >= 10 else None,
        avg_user_rating=point.rating_sum / point.rating_count if point.rating_count else None,
        prompt_tokens=point.prompt_tokens,
        completion_tokens=point.completion_tokens,
        cost=point.cost,
    )


def _difference_out(found: Difference) -> DifferenceOut:
    return DifferenceOut(
        metric=found.metric,
        reference=found.reference,
        other=found.other,
        difference=FigureOut.model_validate(found.difference),
        outlook=found.outlook,
    )
