"""Which values of an impression are counted, and how old its unit was."""

from datetime import datetime, timedelta

from core.experiments.plan import MetricKind, Plan
from core.experiments.records import LATENCY, RATING, SUCCESS, Impression

AGES = ("0", "1", "2–6", "7+")


def values_of(plan: Plan, impression: Impression) -> dict[str, float]:
    """The values of an impression that are counted: the standard ones and those that the plan names, capped as it says."""
    values: dict[str, float] = {}
    if impression.success is not None:
        values[SUCCESS] = float(impression.success)
    if impression.latency_ms is not None:
        values[LATENCY] = impression.latency_ms
    if impression.feedback_score is not None:
        values[RATING] = impression.feedback_score
    for metric in (plan.primary, *plan.guardrails):
        if metric.name in impression.metrics:
            values[metric.name] = float(impression.metrics[metric.name])
    for metric in (plan.primary, *plan.guardrails):
        if metric.cap is not None and metric.name in values:
            values[metric.name] = min(values[metric.name], metric.cap)
    return values


def sketched(plan: Plan, impression: Impression) -> dict[str, float]:
    """The values whose percentiles are kept, never capped."""
    found = {} if impression.latency_ms is None else {LATENCY: impression.latency_ms}
    for metric in (plan.primary, *plan.guardrails):
        if metric.kind is not MetricKind.QUANTILE:
            continue
        if metric.name == RATING and impression.feedback_score is not None:
            found[RATING] = impression.feedback_score
        elif metric.name in impression.metrics:
            found[metric.name] = float(impression.metrics[metric.name])
    return found


def age_of(exposed_at: datetime, at: datetime) -> str:
    """How long ago a unit was first exposed, in whole days. Before its exposure (a clock set back) is the first day."""
    days = max(0, (at - exposed_at) // timedelta(days=1))
    return AGES[0] if days < 1 else AGES[1] if days < 2 else AGES[2] if days < 7 else AGES[3]
