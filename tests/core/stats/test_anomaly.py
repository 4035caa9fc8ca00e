"""Marks in hourly series: few where nothing is wrong, and there where something is."""

import math

import numpy as np
import pytest

from core.stats.anomaly import mark_anomalies
from core.stats.forecast import Scale


def mean_of(hours: int) -> np.ndarray:
    t = np.arange(hours)
    return 30 * np.exp(0.7 * np.sin(2 * np.pi * t / 24) + 0.4 * np.sin(2 * np.pi * t / 168))


def counts(seed: int, weeks: int, phi: float) -> np.ndarray:
    random = np.random.default_rng(seed)
    mean = mean_of(weeks * 168)
    drawn = random.poisson(mean) if phi == 1 else random.negative_binomial(mean / (phi - 1), 1 / phi)
    return drawn.astype(float)


@pytest.mark.parametrize("phi", [1.0, 2.5, 8.0])
@pytest.mark.parametrize("weeks", [3, 8])
def test_about_one_hour_in_a_thousand_is_marked_for_nothing_however_dispersed_counts_are(
    phi: float, weeks: int
) -> None:
    marked = hours = 0
    for seed in range(5):
        found = mark_anomalies(counts(seed, weeks, phi).tolist())
        marked += sum(mark.anomaly for mark in found)
        hours += len(found)
    assert marked / hours <= 0.006


def test_a_burst_and_an_outage_are_marked_and_their_neighbours_are_not() -> None:
    y = counts(1, 5, 2.0)
    y[400], y[614] = 5 * y[400] + 100, 0
    found = mark_anomalies(y.tolist())
    assert found[400].anomaly
    assert found[400].value > found[400].high > found[400].expected > found[400].low
    assert found[614].anomaly
    assert not any(found[k].anomaly for k in (399, 401, 400 + 168, 400 - 168, 613, 615))


def test_a_busy_hour_that_comes_each_week_is_no_anomaly() -> None:
    y = counts(2, 6, 2.0)
    y[50::168] += 150
    found = mark_anomalies(y.tolist())
    assert sum(found[k].anomaly for k in range(50, len(y), 168)) == 0


def test_missing_hours_are_not_marked_but_have_an_interval() -> None:
    y = counts(3, 4, 2.0)
    y[100:110] = math.nan
    found = mark_anomalies(y.tolist())
    assert not any(mark.anomaly for mark in found[100:110])
    assert all(mark.low < mark.high for mark in found[100:110])


def test_a_few_days_are_judged_by_the_hour_of_the_day_and_less_by_level() -> None:
    days = counts(4, 1, 1.0)[: 24 * 5]
    days[60] += 300
    assert [k for k, mark in enumerate(mark_anomalies(days.tolist())) if mark.anomaly and k == 60] == [60]
    short = [10.0, 11, 9, 10, 12, 8] * 6
    short[20] = 90.0
    assert mark_anomalies(short)[20].anomaly


def test_latencies_are_judged_as_factors_the_same_in_any_unit() -> None:
    random = np.random.default_rng(6)
    ms = 200 * np.exp(0.3 * np.sin(2 * np.pi * np.arange(24 * 28) / 24) + random.normal(0, 0.1, 24 * 28))
    ms[300] *= 2
    in_ms = mark_anomalies(ms.tolist(), scale=Scale.POSITIVE)
    in_s = mark_anomalies((ms / 1000).tolist(), scale=Scale.POSITIVE)
    assert in_ms[300].anomaly
    assert [mark.anomaly for mark in in_ms] == [mark.anomaly for mark in in_s]


def test_a_constant_series_has_no_anomaly_and_a_change_of_it_is_one() -> None:
    assert not any(mark.anomaly for mark in mark_anomalies([5.0] * 100))
    assert mark_anomalies([5.0] * 60 + [50.0] + [5.0] * 39)[60].anomaly


@pytest.mark.parametrize("wrong", [[1.0] * 10, [1.0] * 30 + [-1.0], [1.0] * 30 + [math.inf]])
def test_what_cannot_be_judged_is_refused(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        mark_anomalies(wrong)
