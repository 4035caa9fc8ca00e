"""Analytics of a tenant: every question that screens, the API and alerts ask. Time is an argument; nothing commits."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from core.analytics import figures, rankings
from core.analytics import subjects as subject_list
from core.analytics.costs import Prices
from core.analytics.over_time import heat_map, series, trends
from core.analytics.reading import (
    NO_PRICES,
    by_subject,
    period_asked,
    subject_of,
    tally_of_period,
    totals_of,
)
from core.analytics.records import (
    CANCELLED,
    AdapterComparison,
    ErrorCount,
    Ranked,
    RankMetric,
    RequestPage,
    Scope,
    Subject,
    SubjectKind,
    Summary,
    Tally,
    TaskAccuracy,
    Totals,
)
from core.analytics.store import cells
from core.analytics.store import requests as request_store
from core.errors import InvalidInputError

__all__ = [
    "errors",
    "get_adapter_comparison",
    "get_top_adapters",
    "heat_map",
    "latency_buckets",
    "requests",
    "series",
    "subjects",
    "summaries",
    "summary",
    "task_names",
    "tasks",
    "totals",
    "trends",
]
MOST_COMPARED, MOST_PAGE, MOST_RANKED = 20, 500, 1_000


def summary(s: Session, tenant_id: str, scope: Scope, *, prices: Prices = NO_PRICES) -> Summary:
    """All figures of one adapter, one composition, or everything. Raises NotFoundError, InvalidInputError."""
    subject, period = subject_of(s, tenant_id, scope), period_asked(scope)
    return figures.summary_of(
        subject, tally_of_period(s, tenant_id, subject, period, scope.task), period, prices
    )


def totals(s: Session, tenant_id: str, scope: Scope, *, prices: Prices = NO_PRICES) -> Totals:
    """The same beside the period before it: the row of key figures. Raises NotFoundError, InvalidInputError."""
    subject, period = subject_of(s, tenant_id, scope), period_asked(scope)
    now = tally_of_period(s, tenant_id, subject, period, scope.task)
    before = tally_of_period(s, tenant_id, subject, period.before, scope.task)
    return totals_of(subject, period, now, before, prices)


def summaries(
    s: Session,
    tenant_id: str,
    scope: Scope,
    kind: SubjectKind = SubjectKind.ADAPTER,
    *,
    prices: Prices = NO_PRICES,
) -> list[Summary]:
    """Every adapter (or composition) that had a request or a judgement, most requests first: the table."""
    period = period_asked(scope)
    tallies = by_subject(s, tenant_id, kind, period, scope.task)
    known = subject_list.list_subjects(s, tenant_id, kind)
    found = [
        figures.summary_of(known.get(name) or Subject(kind, name, name), tally, period, prices)
        for name, tally in tallies.items()
    ]
    return sorted(found, key=lambda each: (-each.requests, each.subject.label))


def errors(s: Session, tenant_id: str, scope: Scope) -> list[ErrorCount]:
    """Kinds of errors, most frequent first."""
    subject = subject_of(s, tenant_id, scope)
    tally = tally_of_period(s, tenant_id, subject, period_asked(scope), scope.task)
    n, source = tally.requests - tally.cancelled, figures.source_of(tally)
    found = sorted(tally.errors.items(), key=lambda item: (-item[1], item[0]))
    return [ErrorCount(code, count, figures.share(count, n, source)) for code, count in found]


def latency_buckets(s: Session, tenant_id: str, scope: Scope) -> list[tuple[float, float, int]]:
    """Distribution of latencies: from, to (ms), and how many answered requests."""
    subject = subject_of(s, tenant_id, scope)
    return tally_of_period(s, tenant_id, subject, period_asked(scope), scope.task).latency.buckets()


def tasks(s: Session, tenant_id: str, scope: Scope) -> list[TaskAccuracy]:
    """Tasks that had a request or a judgement, most requests first, with what was told about accuracy."""
    subject, period = subject_of(s, tenant_id, scope), period_asked(scope)
    by_task = cells.read(
        s,
        tenant_id,
        subject.kind,
        period.spans(),
        lambda key: key.task,
        subjects=[subject.id],
        task=scope.task,
    )
    found = [TaskAccuracy(name, tally.requests, figures.accuracy(tally)) for name, tally in by_task.items()]
    return sorted(found, key=lambda each: (-each.requests, each.task))


def get_top_adapters(
    s: Session,
    tenant_id: str,
    scope: Scope,
    metric: RankMetric | str = RankMetric.SUCCESS_RATE,
    limit: int = 10,
    *,
    prices: Prices = NO_PRICES,
) -> list[Ranked]:
    """Ranked by the interval's end that speaks against each: 2 of 2 does not beat 980 of 1,000."""
    if not 1 <= limit <= MOST_RANKED:
        raise InvalidInputError(
            "So many cannot be listed.", f"It is 1 to {MOST_RANKED:,}, not {limit:,}.", "Give another limit."
        )
    return rankings.rank(summaries(s, tenant_id, scope, prices=prices), _metric(metric), limit)


def get_adapter_comparison(
    s: Session, tenant_id: str, adapter_ids: Sequence[str], scope: Scope, *, prices: Prices = NO_PRICES
) -> AdapterComparison:
    """Adapters side by side, each against the first. Raises NotFoundError, InvalidInputError (none, too many, twice)."""
    found = [subject_list.find_adapter(s, tenant_id, name) for name in adapter_ids]
    if not 1 <= len(found) <= MOST_COMPARED or len({each.id for each in found}) < len(found):
        raise InvalidInputError(
            "These adapters cannot be compared.",
            f"A comparison has 1 to {MOST_COMPARED} adapters, each once.",
            "Choose others.",
        )
    period = period_asked(scope)
    tallies = cells.read(
        s,
        tenant_id,
        SubjectKind.ADAPTER,
        period.spans(),
        lambda key: key.subject,
        subjects=[each.id for each in found],
        task=scope.task,
    )
    sides = [
        (
            figures.summary_of(each, tallies.get(each.id, Tally()), period, prices),
            tallies.get(each.id, Tally()),
        )
        for each in found
    ]
    others = len(sides) - 1
    note = "Requests are treated as independent." + (
        f" The intervals of all {others} differences of a metric hold together." if others > 1 else ""
    )
    differences = tuple(rankings.differences(sides[0], sides[1:]))
    return AdapterComparison(tuple(side for side, _ in sides), differences, note)


def subjects(s: Session, tenant_id: str, kind: SubjectKind = SubjectKind.ADAPTER) -> list[Subject]:
    """Everything that ever had a record, by label."""
    return list(subject_list.list_subjects(s, tenant_id, kind).values())


def task_names(s: Session, tenant_id: str) -> list[str]:
    """Tasks that ever had a record."""
    return subject_list.list_tasks(s, tenant_id)


def requests(
    s: Session,
    tenant_id: str,
    scope: Scope,
    *,
    error: str | None = None,
    failed: bool | None = None,
    slower_than_ms: float | None = None,
    before_id: int | None = None,
    limit: int = 50,
) -> RequestPage:
    """The requests behind a figure, newest first. `error`: ended in this one; `failed`: True, only failures, False, only
    answered ones; `slower_than_ms`: answered ones that took longer. Raises NotFoundError, InvalidInputError."""
    if not 1 <= limit <= MOST_PAGE:
        raise InvalidInputError(
            "So many cannot be listed.", f"A page has 1 to {MOST_PAGE}.", "Give another limit."
        )
    if slower_than_ms is not None:
        failed = False
    subject, period = subject_of(s, tenant_id, scope), period_asked(scope)
    rows = request_store.page(
        s,
        tenant_id,
        period.since,
        period.until,
        subject=None if subject.kind is SubjectKind.ALL else (subject.kind.value, subject.id),
        task=scope.task,
        error=error,
        failed=failed,
        slower_than_ms=slower_than_ms,
        before_id=before_id,
        limit=limit,
    )
    tally = tally_of_period(s, tenant_id, subject, period, scope.task)
    known = subject_list.list_subjects(s, tenant_id, SubjectKind.ADAPTER)
    return RequestPage(
        rows=tuple(request_store.labelled(row, known) for row in rows),
        total=_counted(tally, error, failed, slower_than_ms),
        kept_since=request_store.oldest(s, tenant_id) or period.until,
        next_before=rows[-1].id if len(rows) == limit else None,
    )


def _counted(tally: Tally, error: str | None, failed: bool | None, slower_than_ms: float | None) -> int:
    """How many requests a figure counts; slower ones to the counter of the sketch."""
    if error is not None:
        return tally.cancelled if error == CANCELLED else tally.errors.get(error, 0)
    if slower_than_ms is not None:
        return tally.latency.count - tally.latency.rank_at_most(slower_than_ms)
    if failed is None:
        return tally.requests
    return tally.requests - tally.successes - tally.cancelled if failed else tally.successes


def _metric(name: RankMetric | str) -> RankMetric:
    try:
        return RankMetric(name)
    except ValueError:
        raise InvalidInputError(
            f"Adapters cannot be ranked by «{str(name)[:60]}».",
            f"They can by {', '.join(RankMetric)}.",
            "Choose one of these.",
        ) from None
