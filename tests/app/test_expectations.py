"""What was expected of each hour: whole hours only, odd ones marked, the next ones foretold, too few said."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from app.actions import analytics
from app.actions.expectations import STEPS, Measure, expectations, expected, value_of
from app.bootstrap import Console
from core.analytics.records import Point, RequestEvent
from core.errors import NotFoundError
from core.stats.sketches import LogSketch
from core.tenants.records import Role
from tests.app.conftest import Workspace

START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday


def point(hour: int, requests: int, milliseconds: float = 100.0) -> Point:
    latency = LogSketch.of([milliseconds] * requests)
    return Point(START + timedelta(hours=hour), requests, requests, latency, 0.0, 0)


def four_weeks(odd: int | None = None) -> list[Point]:
    """Busy by day; every value Poisson."""
    random = np.random.default_rng(4)
    mean = [80 + 60 * math.sin(2 * math.pi * (hour % 24 - 8) / 24) for hour in range(672)]
    counts = random.poisson(mean)
    if odd is not None:
        counts[odd] *= 3
    return [point(hour, int(count)) for hour, count in enumerate(counts)]


def test_an_hour_three_times_as_busy_is_marked_and_the_rest_is_nearly_not() -> None:
    found = expected(four_weeks(odd=500), Measure.REQUESTS)
    assert 500 in found.odd
    assert len(found.odd) <= 6  # 0.7 are expected by chance
    assert found.marks[500].value > found.marks[500].high
    assert found.notes == ()


def test_the_forecast_goes_on_with_the_waves_of_the_day() -> None:
    found = expected(four_weeks(), Measure.REQUESTS)
    assert found.coming is not None
    assert len(found.coming_at) == len(found.coming.median) == STEPS
    assert found.coming_at[0] == found.at[-1] + timedelta(hours=1)
    truth = [80 + 60 * math.sin(2 * math.pi * (hour % 24 - 8) / 24) for hour in range(672, 672 + STEPS)]
    within = sum(
        low <= value <= high
        for low, value, high in zip(found.coming.low, truth, found.coming.high, strict=True)
    )
    assert within >= 46


def test_too_few_hours_have_neither_marks_nor_forecast_and_it_is_said() -> None:
    found = expected([point(hour, 50) for hour in range(6)], Measure.REQUESTS)
    assert (found.marks, found.coming, found.coming_at, found.odd) == ((), None, (), [])
    assert "there are 6" in found.notes[0]
    assert "forecast needs 12" in found.notes[1]
    nothing = expected([], Measure.REQUESTS)
    assert (nothing.at, nothing.coming) == ((), None)


def test_the_percentile_of_fewer_than_ten_answers_is_missing() -> None:
    assert math.isnan(value_of(point(0, 9), Measure.P95_MS))
    assert value_of(point(0, 10), Measure.P95_MS) == pytest.approx(100, rel=0.01)
    assert value_of(point(0, 10), Measure.MEDIAN_MS) == pytest.approx(100, rel=0.01)
    told = Point(START, 12, 9, LogSketch.of([1.0]), 0.0, 0, cancelled=1, prompt_tokens=5, completion_tokens=4)
    assert value_of(told, Measure.FAILURES) == 2
    assert value_of(told, Measure.TOKENS) == 9


def test_the_hour_that_runs_and_the_time_before_the_first_request_are_left_out(
    console: Console, workspace: Workspace
) -> None:
    who, now = workspace.principal(), console.clock()
    for hours_ago in (0, 3, 5):
        at = (now - timedelta(hours=hours_ago)).timestamp()
        console.recorder.record(
            RequestEvent(
                workspace.tenant.id, at, f"req_{hours_ago}", "m", "", (("one", ""),), (), "", "", 10.0,
                None, None, None, 1, 1, 0, "served",
            )
        )  # fmt: skip
    assert console.recorder.write()
    scope = analytics.scope_of(console, hours=1.0)
    found = expectations(console, who, scope, Measure.REQUESTS)
    assert len(found.at) == 5
    assert [found.n[0], found.n[2], sum(found.n)] == [1, 1, 2]
    other = analytics.scope_of(console, hours=1.0, adapter="nobody")
    with pytest.raises(NotFoundError):
        expectations(console, workspace.principal(Role.VIEWER), other, Measure.REQUESTS)
