"""What was to be expected of each hour, which hours do not fit, and what the next ones may bring."""

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from app.actions import analytics
from app.bootstrap import Console
from core.analytics.periods import HOUR, floor_to
from core.analytics.records import LEAST_FOR_P95, Point, Scope, Step
from core.stats import anomaly, forecast
from core.stats.anomaly import Mark, mark_anomalies
from core.stats.forecast import Forecast, Scale
from core.tenants.records import Permission, Principal

DAYS = 28  # four weeks: so that an hour of the week is compared with three others
STEPS = 48
SEASONS = (24.0, 168.0)


class Measure(StrEnum):
    """What is followed from hour to hour."""

    REQUESTS = "requests"
    FAILURES = "failures"
    MEDIAN_MS = "median_ms"
    P95_MS = "p95_ms"
    TOKENS = "tokens"

    @property
    def scale(self) -> Scale:
        """Times are above 0; the rest is counted."""
        return Scale.POSITIVE if self in (Measure.MEDIAN_MS, Measure.P95_MS) else Scale.COUNT


@dataclass(frozen=True, slots=True)
class Expectations:
    """Whole hours, oldest first, each with its value (NaN: too few requests for one), its n and, where there are enough
    hours, the interval that was expected; then the hours to come. `notes` say in words what is missing and why."""

    measure: Measure
    at: tuple[datetime, ...]
    values: tuple[float, ...]
    n: tuple[int, ...]
    marks: tuple[Mark, ...]
    coming_at: tuple[datetime, ...]
    coming: Forecast | None
    simulated: int
    notes: tuple[str, ...]

    @property
    def odd(self) -> list[int]:
        """Which hours lie outside of what was expected."""
        return [number for number, mark in enumerate(self.marks) if mark.anomaly]


def expectations(c: Console, p: Principal, scope: Scope, measure: Measure) -> Expectations:
    """Of the adapter, composition and task of a scope, over the four weeks before its end; the hour that still runs is
    left out, and so is the time before the first request. Raises NotFoundError, InvalidInputError."""
    p.require(Permission.VIEW)
    until = floor_to(scope.until, HOUR)
    asked = replace(scope, since=until - timedelta(days=DAYS), until=until)
    points = analytics.series(c, p, asked, Step.HOUR)
    first = next((number for number, point in enumerate(points) if point.requests), len(points))
    return expected(points[first:], measure)


def expected(points: list[Point], measure: Measure) -> Expectations:
    """The same of points that are there: one an hour, oldest first."""
    values = [value_of(point, measure) for point in points]
    known = sum(not math.isnan(value) for value in values)
    marks: list[Mark] = []
    coming: Forecast | None = None
    notes: list[str] = []
    if known >= anomaly.LEAST_VALUES:
        marks = mark_anomalies(values, scale=measure.scale)
    else:
        notes.append(f"Marks need {anomaly.LEAST_VALUES} whole hours with a value; there are {known}.")
    if known >= forecast.LEAST_VALUES:
        coming = forecast.forecast(values, STEPS, scale=measure.scale, seasons=SEASONS)
        if not coming.seasons:
            notes.append(
                "It is not long enough yet to know the hours of the day: the forecast goes by level alone."
            )
    else:
        notes.append(f"A forecast needs {forecast.LEAST_VALUES} whole hours with a value; there are {known}.")
    last = points[-1].at if points else None
    return Expectations(
        measure=measure,
        at=tuple(point.at for point in points),
        values=tuple(values),
        n=tuple(point.requests for point in points),
        marks=tuple(marks),
        coming_at=tuple(last + (k + 1) * HOUR for k in range(STEPS)) if last and coming else (),
        coming=coming,
        simulated=sum(point.simulated for point in points),
        notes=tuple(notes),
    )


def value_of(point: Point, measure: Measure) -> float:
    """One measure of one hour; NaN where so few answers have no percentile."""
    match measure:
        case Measure.REQUESTS:
            return float(point.requests)
        case Measure.FAILURES:
            return float(point.failures)
        case Measure.TOKENS:
            return float(point.prompt_tokens + point.completion_tokens)
        case _:
            quantile = 0.5 if measure is Measure.MEDIAN_MS else 0.95
            few = point.latency.count < LEAST_FOR_P95
            found = math.nan if few else point.latency.quantile(quantile)
            return found if found > 0 else math.nan
