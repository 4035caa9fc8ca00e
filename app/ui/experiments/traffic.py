"""What is known of today's traffic before an experiment begins: how much comes, and how good it is."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from app.actions import adapters, analytics
from app.ui.experiments.form import Form
from app.ui.experiments.measures import Measure
from app.ui.visit import Visit
from core.analytics.records import Scope, Summary
from core.errors import NotFoundError
from core.experiments.plan import MetricKind
from core.experiments.records import LATENCY, RATING, SUCCESS

DAYS = 14
P95_Z = 1.645  # of a normal distribution, by which the spread of a heavier tail is only guessed


@dataclass(frozen=True, slots=True)
class Traffic:
    """The last two weeks. `baseline` and `spread` are in the metric's own unit, None where not known. `simulated`: some
    of the requests are generated ones."""

    requests: int
    per_day: float
    baseline: float | None
    spread: float | None
    simulated: bool
    about: str


def traffic_of(visit: Visit, form: Form) -> Traffic | None:
    """Of the control, where it is an adapter with traffic of its own; else of the whole workspace; None without any."""
    for adapter, about in (*_control(visit, form), (None, "the whole workspace")):
        with suppress(NotFoundError):
            found = analytics.summary(visit.console, visit.principal, _scope(visit, adapter))
            if found.requests:
                return _traffic(found, form.measure, about)
    return None


def _scope(visit: Visit, adapter: str | None) -> Scope:
    return analytics.scope_of(visit.console, hours=24.0 * DAYS, adapter=adapter)


def _control(visit: Visit, form: Form) -> list[tuple[str, str]]:
    kind, _, name = (form.control or "").partition(":")
    if kind != "adapter":
        return []
    with suppress(NotFoundError):
        adapter = adapters.resolve_adapter(visit.console, visit.principal, name)
        return [(adapter.id, adapter.label)]
    return []


def _traffic(found: Summary, measure: Measure, about: str) -> Traffic:
    baseline, spread = _known(found, measure)
    # Somebody who began yesterday must not look like two quiet weeks.
    days = max(1.0, min(float(DAYS), (found.until - found.since) / timedelta(days=1)))
    return Traffic(found.requests, found.requests / days, baseline, spread, found.simulated > 0, about)


def _known(found: Summary, measure: Measure) -> tuple[float | None, float | None]:
    """The metric's value today, and how much it differs between requests."""
    if measure.name == SUCCESS:
        return found.success_rate.value, None
    if measure.name == RATING:
        return found.rating.value, None
    if measure.name != LATENCY:
        return None, None
    p50, p95 = found.latency_p50.value, found.latency_p95.value
    spread = None if p50 is None or p95 is None else max(0.0, (p95 - p50) / P95_Z)
    if measure.kind is MetricKind.MEAN:
        return found.latency_mean.value, spread or None
    return (p95 if (measure.quantile or 0) > 0.9 else p50), spread or None
