"""What an experiment is judged by: metrics as people choose them, and their values as people read them."""

import math
from dataclasses import dataclass

from app.ui.numbers import NOTHING
from core.experiments.plan import MetricKind, MetricPlan
from core.experiments.records import LATENCY, RATING, SUCCESS, MetricDraft
from core.stats.proportions import Interval


@dataclass(frozen=True, slots=True)
class Measure:
    """A metric that can be chosen. Margins are typed in `unit`; `scale` of them are 1 of the metric's own."""

    key: str
    title: str
    name: str
    kind: MetricKind
    unit: str
    help: str
    higher_is_better: bool = True
    quantile: float | None = None
    scale: float = 1.0
    margin: float = 0.0

    def draft(self, margin: float) -> MetricDraft:
        """As an experiment takes it."""
        return MetricDraft(
            name=self.name,
            kind=self.kind,
            higher_is_better=self.higher_is_better,
            margin=margin / self.scale,
            quantile=self.quantile,
        )


SUCCESS_RATE = Measure(
    "success",
    "Success rate",
    SUCCESS,
    MetricKind.SHARE,
    "points",
    "Share of requests that ended well: an answer came, or what you record as success.",
    scale=100.0,
    margin=1.0,
)
MEASURES: dict[str, Measure] = {
    measure.key: measure
    for measure in (
        SUCCESS_RATE,
        Measure(
            "latency_p95",
            "Latency P95",
            LATENCY,
            MetricKind.QUANTILE,
            "ms",
            "95 of 100 answers are faster than this.",
            higher_is_better=False,
            quantile=0.95,
            margin=100.0,
        ),
        Measure(
            "latency_p50",
            "Latency, median",
            LATENCY,
            MetricKind.QUANTILE,
            "ms",
            "Half of the answers are faster than this.",
            higher_is_better=False,
            quantile=0.5,
            margin=50.0,
        ),
        Measure(
            "latency_mean",
            "Latency, mean",
            LATENCY,
            MetricKind.MEAN,
            "ms",
            "Average time of an answer.",
            higher_is_better=False,
            margin=50.0,
        ),
        Measure(
            "rating",
            "Rating",
            RATING,
            MetricKind.MEAN,
            "points of rating",
            "Average of what people gave.",
            margin=0.1,
        ),
    )
}
OWN = "own"


def label_of(metric: MetricPlan) -> str:
    """What a metric of a plan is called on screen."""
    known = measure_of(metric)
    if known is not None:
        return known.title
    written = metric.name.replace("_", " ").capitalize()
    return written if metric.quantile is None else f"{written}, P{100 * metric.quantile:g}"


def measure_of(metric: MetricPlan) -> Measure | None:
    """The known one that a plan's metric is."""
    for measure in MEASURES.values():
        if (measure.name, measure.kind, measure.quantile) == (metric.name, metric.kind, metric.quantile):
            return measure
    return None


def unit_of(metric: MetricPlan) -> str:
    """What differences in this metric are counted in."""
    known = measure_of(metric)
    if known is not None:
        return known.unit
    return "points" if metric.kind is MetricKind.SHARE else metric.name.replace("_", " ")


def scale_of(metric: MetricPlan) -> float:
    """How many of the unit are 1 of the metric."""
    return 100.0 if metric.kind is MetricKind.SHARE else 1.0


def value_words(metric: MetricPlan, value: float) -> str:
    """A value of one arm: 91.2%, 840 ms, 4.21."""
    if not math.isfinite(value):
        return NOTHING
    if metric.kind is MetricKind.SHARE:
        return f"{100 * value:.1f}%"
    return f"{value:,.0f} ms" if unit_of(metric) == "ms" else f"{value:,.4g}"


def difference_words(metric: MetricPlan, value: float) -> str:
    """A difference between two arms, with its sign: +2.1 points, −40 ms."""
    if math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "no bound"
    scaled = value * scale_of(metric)
    number = f"{scaled:+,.0f}" if unit_of(metric) == "ms" else f"{scaled:+,.3g}"
    if metric.kind is MetricKind.SHARE:
        number = f"{scaled:+.2f}"
    return f"{number.replace('-', '−')} {unit_of(metric)}"


def span_words(metric: MetricPlan, interval: Interval) -> str:
    """From its low end to its high one."""
    low, high = difference_words(metric, interval.low), difference_words(metric, interval.high)
    unit = f" {unit_of(metric)}"
    return f"{low.removesuffix(unit)} to {high}" if low.endswith(unit) else f"{low} to {high}"


def amount_words(metric: MetricPlan, amount: float) -> str:
    """A margin, which has no sign."""
    return f"{amount * scale_of(metric):,.4g} {unit_of(metric)}"
