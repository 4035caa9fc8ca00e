"""Values and differences as people read them."""

import math

import pytest

from app.ui.experiments.measures import (
    MEASURES,
    Measure,
    amount_words,
    difference_words,
    label_of,
    measure_of,
    span_words,
    value_words,
)
from core.experiments.checks import metric_of
from core.experiments.plan import MetricKind, MetricPlan
from core.stats.proportions import Interval

SUCCESS = MetricPlan("success", MetricKind.SHARE, margin=0.015)
LATENCY = MetricPlan("latency_ms", MetricKind.QUANTILE, higher_is_better=False, quantile=0.95)
COST = MetricPlan("cost_usd", MetricKind.MEAN, higher_is_better=False)


@pytest.mark.parametrize(
    ("metric", "value", "words"),
    [
        (SUCCESS, 0.0213, "+2.13 points"),
        (SUCCESS, -0.004, "−0.40 points"),
        (SUCCESS, -math.inf, "no bound"),
        (SUCCESS, math.nan, "–"),
        (LATENCY, -1240.4, "−1,240 ms"),
        (COST, 0.00123, "+0.00123 cost usd"),
    ],
)
def test_a_difference_has_its_sign_and_its_unit(metric: MetricPlan, value: float, words: str) -> None:
    assert difference_words(metric, value) == words


def test_an_interval_names_its_unit_once() -> None:
    assert span_words(SUCCESS, Interval(0.0, -0.01, 0.02)) == "−1.00 to +2.00 points"
    assert span_words(SUCCESS, Interval(0.0, -math.inf, 0.02)) == "no bound to +2.00 points"


def test_values_read_as_shares_milliseconds_and_numbers() -> None:
    assert value_words(SUCCESS, 0.912) == "91.2%"
    assert value_words(LATENCY, 843.6) == "844 ms"
    assert value_words(COST, 0.01234) == "0.01234"
    assert value_words(COST, math.nan) == "–"
    assert amount_words(SUCCESS, 0.015) == "1.5 points"


@pytest.mark.parametrize("measure", MEASURES.values(), ids=lambda each: each.key)
def test_every_measure_that_is_offered_is_one_that_the_service_takes(measure: Measure) -> None:
    plan = metric_of(measure.draft(measure.margin))
    assert measure_of(plan) is measure
    assert label_of(plan) == measure.title


def test_a_metric_of_ones_own_is_called_by_its_name() -> None:
    assert label_of(COST) == "Cost usd"
    assert label_of(MetricPlan("tokens", MetricKind.QUANTILE, quantile=0.99)) == "Tokens, P99"
