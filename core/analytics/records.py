"""What is recorded of a request, and what screens and the API read: values only, no I/O.

Every `Figure` carries its n, its interval where there is one, and where it comes from. A figure whose n is too small to
mean anything has no value and says why.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from core.stats.sketches import LogSketch

CONFIDENCE = 0.95
LEAST_FOR_P95 = 10  # below, the P95 is only «the slowest»
LEAST_FOR_P99 = 50
LEAST_FOR_INTERVAL = 2
CANCELLED = "cancelled"  # the error of a request whose reader went away: neither a success nor a failure


class SubjectKind(StrEnum):
    """What figures are kept for."""

    ALL = "all"  # every request once
    ADAPTER = "adapter"  # every request once for each adapter that took part
    COMPOSITION = "composition"  # by digest: which adapters with which weights, methods and gates


class Step(StrEnum):
    """How far apart the points of a series are. Minutes are kept for the last two hours and a half."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"


class RankMetric(StrEnum):
    """What adapters are ranked by. Ranks go by the end of the interval that speaks against the adapter."""

    SUCCESS_RATE = "success_rate"
    AVG_LATENCY_MS = "avg_latency_ms"
    P95_LATENCY_MS = "p95_latency_ms"
    AVG_USER_RATING = "avg_user_rating"
    THUMBS_UP_RATE = "thumbs_up_rate"
    TASK_ACCURACY = "task_accuracy"
    TOTAL_REQUESTS = "total_requests"

    @property
    def lower_is_better(self) -> bool:
        """Milliseconds: the fewer the better."""
        return self in (RankMetric.AVG_LATENCY_MS, RankMetric.P95_LATENCY_MS)


class Thumbs(StrEnum):
    """What somebody thought of an answer."""

    UP = "up"
    DOWN = "down"


class Source(StrEnum):
    """Where a record comes from."""

    SERVED = "served"  # measured here, when the request ended
    REPORTED = "reported"  # told through the API or record_request
    SIMULATED = "simulated"  # generated for the demonstration


class Outlook(StrEnum):
    """What a difference with its interval says."""

    BETTER = "better"
    WORSE = "worse"
    UNCLEAR = "unclear"  # the interval holds 0, or there is too little to have one


class RequestEvent(NamedTuple):
    """A request that is over, as the recorder takes it. A NamedTuple, because it is made on the request's path.

    `adapters` are ids of the registry or names from outside, with their types; `composition` is the digest or "".
    `named` is what a request asked for that got no answer, to be looked up later. Times in milliseconds, None where
    unknown. `at` is seconds since 1970 (UTC).
    """

    tenant_id: str
    at: float
    request_id: str
    model: str
    composition: str
    adapters: tuple[tuple[str, str], ...]
    named: tuple[str, ...]
    task: str
    error: str
    latency_ms: float
    queued_ms: float | None
    composing_ms: float | None
    first_token_ms: float | None
    prompt_tokens: int
    completion_tokens: int
    memory_bytes: int
    source: str


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that figures are kept for. `id` is that of the registry, a composition's digest, or a name from outside
    (then `registered` is False: also when the adapter was deleted since). `size_bytes` is that of its files, None where
    unknown. `label` is untrusted text."""

    kind: SubjectKind
    id: str
    label: str
    type: str = ""
    registered: bool = True
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """Which requests: from `since` to before `until`, of one adapter or one composition or all, of one task or all.

    Times are moved outwards to whole hours; a period of up to 75 minutes of the last 150 to whole minutes. What is
    answered says to which. `asked_at` is now, where that is not `until`.
    """

    since: datetime
    until: datetime
    adapter: str | None = None
    composition: str | None = None
    task: str | None = None
    asked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with its n and interval. `value` None: there is none, and `note` says why. `note` also says what else a
    reader has to know. `unit`: share, ms, points (1–5), requests, tokens, bytes, or the currency of the settings."""

    value: float | None
    n: int
    unit: str
    low: float | None = None
    high: float | None = None
    note: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """What adds up: sums, counts and sketches of any set of requests, in any order and grouping.

    Cost is in billionths of the currency; ratings in thousandths of a point, accuracies in millionths, and their squares,
    so that sums are whole numbers and exact. `memory_bytes` is the most that was told.
    """

    requests: int = 0
    successes: int = 0
    cancelled: int = 0
    simulated: int = 0
    reported: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    latency: LogSketch = field(default_factory=LogSketch)
    queued: LogSketch = field(default_factory=LogSketch)
    composing: LogSketch = field(default_factory=LogSketch)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_nano: int = 0
    memory_bytes: int = 0
    ratings: int = 0
    rating_sum: int = 0
    rating_squares: int = 0
    thumbs_up: int = 0
    thumbs_down: int = 0
    accuracies: int = 0
    accuracy_sum: int = 0
    accuracy_squares: int = 0


@dataclass(frozen=True, slots=True)
class Point:
    """One step of a series, from `at` on. Latencies are of requests that were answered. `rating_sum` is in points."""

    at: datetime
    requests: int
    successes: int
    latency: LogSketch
    rating_sum: float
    rating_count: int
    cancelled: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    thumbs_up: int = 0
    thumbs_down: int = 0
    simulated: int = 0

    @property
    def failures(self) -> int:
        """Requests that ended in an error; who went away is not among them."""
        return self.requests - self.successes - self.cancelled


@dataclass(frozen=True, slots=True)
class Summary:
    """All figures of one subject in a period. `errors` are failures by code. `simulated` of the requests are generated
    ones. Latencies are of answered requests. Shares of success leave out whom the reader left."""

    subject: Subject
    since: datetime
    until: datetime
    requests: int
    successes: int
    failures: int
    cancelled: int
    simulated: int
    reported: int
    errors: Mapping[str, int]
    success_rate: Figure
    latency_mean: Figure
    latency_p50: Figure
    latency_p95: Figure
    latency_p99: Figure
    queued_mean: Figure
    queued_p95: Figure
    composing_mean: Figure
    composing_p95: Figure
    prompt_tokens: int
    completion_tokens: int
    cost: Figure
    rating: Figure
    thumbs: Figure
    thumbs_up: int
    thumbs_down: int
    accuracy: Figure
    memory: Figure
    size: Figure
    source: str


@dataclass(frozen=True, slots=True)
class Change:
    """One metric now and in the period before. `difference` is now minus before, with its interval where there is one."""

    metric: str
    now: Figure
    before: Figure
    difference: Figure
    outlook: Outlook


@dataclass(frozen=True, slots=True)
class Totals:
    """A period beside the one of the same length before it. `changes` by metric: requests, success_rate, latency_p50,
    latency_p95, rating, thumbs, cost."""

    now: Summary
    before: Summary
    changes: Mapping[str, Change]


@dataclass(frozen=True, slots=True)
class HeatCell:
    """One hour of one weekday (0 is Monday), over all weeks of the period, in the asked time zone."""

    weekday: int
    hour: int
    requests: int
    success_rate: Figure
    latency_p95: Figure


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """How often requests ended in one error; `share` of all requests but those whose reader went away."""

    code: str
    count: int
    share: Figure


@dataclass(frozen=True, slots=True)
class Ranked:
    """An adapter in a ranking. `bound` is what it was ranked by: the end of the interval that speaks against it; None
    where so few requests do not bound it."""

    rank: int
    subject: Subject
    figure: Figure
    bound: float | None
    summary: Summary


@dataclass(frozen=True, slots=True)
class Difference:
    """`other` minus `reference` in one metric. The interval holds for all comparisons of that metric together."""

    metric: str
    reference: str
    other: str
    difference: Figure
    outlook: Outlook


@dataclass(frozen=True, slots=True)
class AdapterComparison:
    """Adapters side by side, in the asked order; each against the first."""

    summaries: tuple[Summary, ...]
    differences: tuple[Difference, ...]
    note: str


@dataclass(frozen=True, slots=True)
class Trend:
    """One adapter: now, in the period before, and its points."""

    subject: Subject
    totals: Totals
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class TaskAccuracy:
    """What was told about how right answers of one task are."""

    task: str
    requests: int
    accuracy: Figure


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A request as it is kept, without its text. `adapters` are labels, `cost` is in the currency of the settings."""

    id: int
    request_id: str
    at: datetime
    model: str
    composition: str
    adapters: tuple[str, ...]
    task: str
    error: str
    latency_ms: float
    queued_ms: float | None
    composing_ms: float | None
    first_token_ms: float | None
    prompt_tokens: int
    completion_tokens: int
    cost: float
    source: Source
    rating: float | None = None
    thumbs: Thumbs | None = None

    @property
    def success(self) -> bool:
        """Whether an answer came."""
        return not self.error


@dataclass(frozen=True, slots=True)
class RequestPage:
    """Requests behind a figure, newest first. `total` is how many the figure counts; single requests are kept since
    `kept_since` only. `next_before`: give it to get the next page; None: this was the last."""

    rows: tuple[RequestRecord, ...]
    total: int
    kept_since: datetime
    next_before: int | None


@dataclass(frozen=True, slots=True)
class Feedback:
    """What somebody said of one answer (`request_id`) or of an adapter in general. Said again, the newest counts.

    `adapters` are ids. `counted_at` is the moment whose minute, hour and day count it."""

    id: str
    tenant_id: str
    request_id: str | None
    adapters: tuple[str, ...]
    task: str
    rating: float | None
    thumbs: Thumbs | None
    accuracy: float | None
    created_by: str
    created_at: datetime
    counted_at: datetime


@dataclass(frozen=True, slots=True)
class RecorderState:
    """How the recording of this process stands. `dropped`: requests that are in no figure (only after the database was
    away for so long that the buffer was full); `rows_dropped`: in the figures, but not among the single requests."""

    pending: int
    written: int
    dropped: int
    rows_dropped: int
    last_error: str
    last_written_at: datetime | None
