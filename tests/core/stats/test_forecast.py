"""Forecasts and the model under them: against a textbook filter written otherwise, and coverage on simulated series."""

import math

import numpy as np
import pytest

from core.stats.forecast import Scale, forecast, from_even_noise, season_columns, to_even_noise
from core.stats.structural import Filtered, Ratios, draw_paths, run_filters, waves, weigh


def counts(seed: int, hours: int, phi: float = 2.5) -> list[float]:
    random = np.random.default_rng(seed)
    t = np.arange(hours)
    mean = 40 * np.exp(0.6 * np.sin(2 * np.pi * t / 24) + 0.3 * np.sin(2 * np.pi * t / 168))
    return [float(v) for v in random.negative_binomial(mean / (phi - 1), 1 / phi)]


def test_the_filter_is_generalized_least_squares() -> None:
    """One choice of ratios makes all values jointly normal: state and σ² follow from one regression over all of them."""
    random = np.random.default_rng(4)
    n, q = 30, 0.3
    x = random.normal(size=(n, 2))
    y = x @ [0.7, -0.4] + np.cumsum(random.normal(0, 0.3, n)) + random.normal(0, 0.5, n)
    (fit,) = run_filters(y, x, [Ratios(q)], with_slope=False)
    design = np.column_stack([np.ones(n), x])
    times = np.minimum.outer(np.arange(n), np.arange(n))  # the level's moves that two values share
    inverse = np.linalg.inv(np.eye(n) + q * times)
    gls = np.linalg.solve(design.T @ inverse @ design, design.T @ inverse @ y)
    rest = y - design @ gls
    assert fit.state[1:] == pytest.approx(gls[1:], abs=1e-4)
    assert fit.degrees == n - 3
    assert fit.scale == pytest.approx(rest @ inverse @ rest / (n - 3), rel=1e-3)
    level = gls[0] + q * times[-1] @ inverse @ rest
    assert fit.state[0] == pytest.approx(level, abs=1e-3)


def test_missing_values_are_only_missing() -> None:
    y = np.array([1.0, 2.0, math.nan, 2.0, 3.0, 2.5, math.nan, 3.5, 3.0, 4.0])
    none = np.zeros((len(y), 0))
    (with_gaps,) = run_filters(y, none, [Ratios(0.0)], with_slope=False)
    (without,) = run_filters(y[~np.isnan(y)], none[:8], [Ratios(0.0)], with_slope=False)
    assert with_gaps.state == pytest.approx(without.state)
    assert with_gaps.degrees == without.degrees == 7


def test_the_likelier_ratio_weighs_more() -> None:
    random = np.random.default_rng(1)
    walk = np.cumsum(random.normal(size=300))
    fits = run_filters(walk / walk.std(), np.zeros((300, 0)), [Ratios(0.0), Ratios(10.0)], with_slope=False)
    weights = weigh(fits, [1.0, 1.0])
    assert weights[1] > 0.99
    assert weights.sum() == pytest.approx(1.0)


def test_paths_have_the_mean_and_variance_that_the_model_says() -> None:
    fit = Filtered(Ratios(0.2, 0.0, 0.5), np.array([1.0, 2.0]), np.diag([0.5, 0.0]), 10_000, 4.0, 0.0)
    paths = draw_paths([fit], np.array([1.0]), np.zeros((3, 0)), with_slope=True, draws=40_000, seed=3)
    assert paths.mean(axis=0) == pytest.approx([2.0, 2.5, 2.75], abs=0.06)
    assert paths.var(axis=0) == pytest.approx([4 * (0.5 + 0.2 * k + 1) for k in (1, 2, 3)], rel=0.05)


@pytest.mark.parametrize("scale", list(Scale))
def test_scales_lead_there_and_back(scale: Scale) -> None:
    y = np.array([0.5, 1.0, 7.0, 1e6])
    assert from_even_noise(to_even_noise(y, scale), scale) == pytest.approx(y)


def test_intervals_cover_what_comes_and_the_night_is_told_from_the_day() -> None:
    inside = all_of_them = 0
    for seed in range(4):
        series = counts(seed, 24 * 35)
        told = forecast(series[: 24 * 28], 168, scale=Scale.COUNT)
        assert told.seasons == (24.0, 168.0)
        came = series[24 * 28 :]
        inside += sum(lo <= v <= hi for lo, v, hi in zip(told.low, came, told.high, strict=True))
        all_of_them += len(came)
        assert max(told.median[:24]) > 2 * min(told.median[:24])
    assert 0.92 <= inside / all_of_them <= 0.99


def test_a_walk_gets_the_wider_intervals_that_it_needs() -> None:
    inside = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        walk = np.cumsum(random.normal(0, 1, 140)) + random.normal(0, 1, 140)
        told = forecast(walk[:120].tolist(), 20, seasons=(), draws=800, seed=seed)
        inside += told.low[-1] <= walk[-1] <= told.high[-1]
        assert told.high[-1] - told.low[-1] > told.high[0] - told.low[0]
    assert inside >= 52  # 57 of 60 are expected


def test_a_steady_trend_goes_on_for_a_while() -> None:
    random = np.random.default_rng(2)
    series = 10 + 0.5 * np.arange(100) + random.normal(0, 0.5, 100)
    told = forecast(series.tolist(), 5, seasons=())
    assert told.median[4] == pytest.approx(10 + 0.5 * 104, abs=2)


def test_counts_are_never_below_0_and_their_intervals_hold_counts() -> None:
    series = [float(v) for v in np.random.default_rng(3).poisson(0.3, 300)]
    told = forecast(series, 24, scale=Scale.COUNT)
    assert min(told.low) == 0
    assert all(float(v).is_integer() for v in (*told.low, *told.high))


def test_short_seasons_and_shared_waves_are_left_out() -> None:
    assert season_columns(200, [24.0]).shape == (200, 8)
    assert season_columns(200, [24.0, 168.0]).shape == (200, 14)
    assert waves(np.arange(10), 2.0, 1).shape == (10, 1)  # a sine of two steps is 0 at all of them
    assert forecast([1.0, 2.0, 3.0] * 10, 3).seasons == ()


@pytest.mark.parametrize(
    ("series", "steps", "scale"),
    [
        ([1.0] * 5, 3, Scale.REAL),
        ([1.0] * 20 + [math.inf], 3, Scale.REAL),
        ([-1.0] * 20, 3, Scale.COUNT),
        ([0.0] * 20, 3, Scale.POSITIVE),
        ([1.0] * 20, 0, Scale.REAL),
        ([math.nan] * 20, 3, Scale.REAL),
    ],
)
def test_what_cannot_be_foretold_is_refused(series: list[float], steps: int, scale: Scale) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        forecast(series, steps, scale=scale)


def test_a_constant_series_stays_constant() -> None:
    told = forecast([5.0] * 60, 3, seasons=())
    assert told.median == pytest.approx((5.0,) * 3, abs=1e-3)
