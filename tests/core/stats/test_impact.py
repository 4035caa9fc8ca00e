"""Causal impact: coverage and false effects on series whose truth is known."""

import math

import numpy as np
import pytest

from core.stats.impact import causal_impact


def series(seed: int, effect: float, n: int = 90, changed_at: int = 60) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    control = 50 + np.cumsum(random.normal(0, 0.5, n)) + random.normal(0, 0.5, n)
    y = 10 + 1.2 * control + np.cumsum(random.normal(0, 0.05, n)) + random.normal(0, 1, n)
    y[changed_at:] += effect
    return y, control


def test_the_interval_holds_the_true_effect_in_about_95_of_100_cases() -> None:
    covered = moved = 0
    for seed in range(120):
        y, control = series(seed, 3.0)
        found = causal_impact(y.tolist(), 60, controls=[control.tolist()], draws=1000)
        covered += found.average.low <= 3.0 <= found.average.high
        moved += found.moved
    assert 108 <= covered <= 119  # 114 expected, ± 2.5 standard errors
    assert moved >= 110


def test_where_nothing_happened_an_effect_is_seen_in_about_5_of_100_cases() -> None:
    false = 0
    for seed in range(1000, 1120):
        y, control = series(seed, 0.0)
        false += causal_impact(y.tolist(), 60, controls=[control.tolist()], draws=1000).moved
    assert false <= 14  # 6 expected


def test_a_control_takes_out_what_both_have_in_common() -> None:
    y, control = series(1, 0.0)
    y, control = y.copy(), control.copy()
    both = 15.0
    y[60:] += 1.2 * both
    control[60:] += both
    with_it = causal_impact(y.tolist(), 60, controls=[control.tolist()])
    without = causal_impact(y.tolist(), 60)
    assert not with_it.moved
    assert abs(with_it.average.value) < 2
    assert without.moved  # it takes what both have in common for an effect


def test_total_average_relative_and_expected_fit_together() -> None:
    y, control = series(7, 6.0)
    found = causal_impact(y.tolist(), 60, controls=[control.tolist()])
    assert (found.before, found.after, len(found.expected)) == (60, 30, 30)
    assert found.total.value == pytest.approx(30 * found.average.value)
    told = sum(interval.value for interval in found.expected)
    assert found.total.value == pytest.approx(float(y[60:].sum()) - told, rel=0.02)
    assert found.relative is not None
    assert found.relative.value == pytest.approx(found.total.value / told, rel=0.03)
    assert found.tail < 0.01
    assert causal_impact(y.tolist(), 60, controls=[control.tolist()]) == found


def test_a_weekly_course_is_no_effect() -> None:
    random = np.random.default_rng(5)
    t = np.arange(84)
    y = 100 + 10 * np.sin(2 * np.pi * t / 7) + random.normal(0, 1, 84)
    found = causal_impact(y.tolist(), 81, seasons=(7.0,))
    assert not found.moved
    assert found.average.high - found.average.low < 6


def test_without_a_level_above_0_nothing_relative_is_said() -> None:
    random = np.random.default_rng(6)
    assert causal_impact(random.normal(0, 1, 60).tolist(), 40).relative is None


@pytest.mark.parametrize(
    ("y", "changed_at", "controls"),
    [
        ([1.0, 2.0] * 20, 0, []),
        ([1.0, 2.0] * 20, 40, []),
        ([1.0, 2.0] * 20, 5, []),
        ([1.0, math.inf] * 20, 20, []),
        ([1.0, 2.0] * 10 + [math.nan] * 20, 20, []),
        ([1.0, 2.0] * 20, 20, [[1.0] * 40]),
        ([1.0, 2.0] * 20, 20, [[1.0, 2.0] * 5]),
        ([1.0, 2.0] * 20, 20, [[1.0, math.nan] * 20]),
        ([1.0, 2.0] * 20, 20, [list(np.random.default_rng(k).normal(size=40)) for k in range(20)]),
    ],
)
def test_what_cannot_be_told_is_refused(y: list[float], changed_at: int, controls: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        causal_impact(y, changed_at, controls=controls)
