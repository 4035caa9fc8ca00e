"""Figures over time: series, sparklines of each adapter, the week by hours."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy.orm import Session

from core.analytics import figures
from core.analytics import subjects as subject_list
from core.analytics.costs import Prices, money
from core.analytics.periods import DAY, HOUR, KEPT_FOR, MINUTE, Grain, Span, ceil_to, floor_to
from core.analytics.reading import NO_PRICES, by_subject, period_asked, subject_of, totals_of
from core.analytics.records import HeatCell, Point, Scope, Step, Subject, SubjectKind, Tally, Trend
from core.analytics.store import cells
from core.analytics.tallies import RATING_UNITS, CellKey
from core.errors import InvalidInputError

MOST_POINTS = 10_000
_STEPS = {Step.MINUTE: MINUTE, Step.HOUR: HOUR, Step.DAY: DAY}


def series(
    s: Session,
    tenant_id: str,
    adapter: str | None,
    since: datetime,
    until: datetime,
    step: Step,
    *,
    task: str | None = None,
    composition: str | None = None,
) -> list[Point]:
    """Every step of the period, those without a request too, oldest first. `adapter` None: all requests.

    `since` and `until` are moved outwards to whole steps. Raises NotFoundError, InvalidInputError (too many points).
    """
    subject = subject_of(s, tenant_id, Scope(since, until, adapter, composition))
    width, spans = _steps(since, until, step)
    by_step = cells.read(
        s,
        tenant_id,
        subject.kind,
        spans,
        lambda key: floor_to(key.start, width),
        subjects=[subject.id],
        task=task,
    )
    return _points(by_step, spans[0].since, spans[0].until, width)


def trends(
    s: Session,
    tenant_id: str,
    scope: Scope,
    *,
    step: Step | None = None,
    limit: int = 50,
    prices: Prices = NO_PRICES,
) -> list[Trend]:
    """Each adapter beside its period before, with its points; most requests first.

    `step` None: minutes where the period has them, hours up to three days, days beyond.
    """
    period = period_asked(scope)
    if step is None:
        short = Step.HOUR if period.until - period.since <= timedelta(days=3) else Step.DAY
        step = Step.MINUTE if period.by_minute else short
    now = by_subject(s, tenant_id, SubjectKind.ADAPTER, period, scope.task)
    before = by_subject(s, tenant_id, SubjectKind.ADAPTER, period.before, scope.task)
    shown = sorted(now, key=lambda name: (-now[name].requests, name))[:limit]
    known = subject_list.list_subjects(s, tenant_id, SubjectKind.ADAPTER)
    width, spans = _steps(period.since, period.until, step)
    by_step = cells.read(
        s,
        tenant_id,
        SubjectKind.ADAPTER,
        spans,
        lambda key: (key.subject, floor_to(key.start, width)),
        subjects=shown,
        task=scope.task,
    )
    found = []
    for name in shown:
        subject = known.get(name) or Subject(SubjectKind.ADAPTER, name, name)
        own = {start: tally for (each, start), tally in by_step.items() if each == name}
        points = tuple(_points(own, spans[0].since, spans[0].until, width))
        both = totals_of(subject, period, now[name], before.get(name, Tally()), prices)
        found.append(Trend(subject, both, points))
    return found


def heat_map(s: Session, tenant_id: str, scope: Scope, *, zone: str = "UTC") -> list[HeatCell]:
    """168 cells, by weekday and hour of a time zone (of one that is off by half an hour: each whole hour of UTC counts
    for the hour in which it begins there). Raises InvalidInputError for an unknown zone."""
    place = _zone(zone)
    subject, period = subject_of(s, tenant_id, scope), period_asked(scope)

    def of_week(key: CellKey) -> tuple[int, int]:
        local = key.start.astimezone(place)
        return local.weekday(), local.hour

    spans = period.spans(whole_days=False)
    by_hour = cells.read(s, tenant_id, subject.kind, spans, of_week, subjects=[subject.id], task=scope.task)
    return [_heat(day, hour, by_hour.get((day, hour), Tally())) for day in range(7) for hour in range(24)]


def _steps(since: datetime, until: datetime, step: Step) -> tuple[timedelta, list[Span]]:
    """The width of a step, and the cells of the period in whole steps. Raises InvalidInputError."""
    width = _STEPS[step]
    since, until = floor_to(since, width), ceil_to(until, width)
    if until <= since or (until - since) / width > MOST_POINTS:
        raise InvalidInputError(
            "This period cannot be drawn.",
            f"It has to end after it begins, and to have {MOST_POINTS:,} points at most.",
            "Choose a shorter period or longer steps.",
        )
    if step is Step.MINUTE and until - since > KEPT_FOR + HOUR:
        raise InvalidInputError(
            "Minutes are not kept for so long.",
            f"They are there for the last {KEPT_FOR // MINUTE} minutes.",
            "Choose a shorter period, or hours.",
        )
    grain = {Step.MINUTE: Grain.KEPT, Step.HOUR: Grain.HOUR, Step.DAY: Grain.DAY}[step]
    return width, [Span(grain, since, until), Span(Grain.MINUTE, since, until)]


def _points(
    by_step: dict[datetime, Tally], since: datetime, until: datetime, width: timedelta
) -> list[Point]:
    return [_point(at, by_step.get(at, Tally())) for at in _each(since, until, width)]


def _each(since: datetime, until: datetime, width: timedelta) -> Iterable[datetime]:
    return (since + number * width for number in range((until - since) // width))


def _point(at: datetime, tally: Tally) -> Point:
    return Point(
        at=at,
        requests=tally.requests,
        successes=tally.successes,
        latency=tally.latency,
        rating_sum=tally.rating_sum / RATING_UNITS,
        rating_count=tally.ratings,
        cancelled=tally.cancelled,
        prompt_tokens=tally.prompt_tokens,
        completion_tokens=tally.completion_tokens,
        cost=money(tally.cost_nano),
        thumbs_up=tally.thumbs_up,
        thumbs_down=tally.thumbs_down,
        simulated=tally.simulated,
    )


def _heat(weekday: int, hour: int, tally: Tally) -> HeatCell:
    n, source = tally.requests - tally.cancelled, figures.source_of(tally)
    return HeatCell(
        weekday,
        hour,
        tally.requests,
        figures.share(tally.successes, n, source),
        figures.percentile(tally.latency, 0.95, source),
    )


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidInputError(
            f"There is no time zone «{name[:60]}».",
            "Zones are called as in the IANA database.",
            "Write Europe/Berlin, America/New_York or UTC.",
        ) from None
