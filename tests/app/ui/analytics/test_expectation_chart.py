"""The chart of what was expected: bands, marks and the forecast, each only where there is one."""

import math
from datetime import UTC, datetime, timedelta

from app.actions.expectations import STEPS, Measure, expected
from app.ui.analytics.expectation_chart import expectation_chart
from core.analytics.records import Point
from core.stats.sketches import LogSketch

START = datetime(2026, 3, 2, tzinfo=UTC)


def points(count: int, odd: int | None = None) -> list[Point]:
    found = []
    for hour in range(count):
        requests = 300 if hour == odd else 50 + hour % 7
        at = START + timedelta(hours=hour)
        found.append(Point(at, requests, requests, LogSketch.of([5.0] * (requests % 12)), 0.0, 0))
    return found


def test_band_marks_and_forecast_are_drawn_with_title_unit_and_n() -> None:
    found = expected(points(100, odd=60), Measure.REQUESTS)
    figure = expectation_chart(found, title="Requests", unit="requests", of="<b>x</b>", days=2.0)
    shown = {trace.name for trace in figure.data}
    assert shown == {"expected, 99.9 %", "seen", "does not fit", "forecast, 95 %", "forecast"}
    marks = next(trace for trace in figure.data if trace.name == "does not fit")
    assert 300 in list(marks.y)
    assert figure.layout.title.subtitle.text.startswith("n 100 hours")
    assert "&lt;b&gt;" in figure.layout.title.subtitle.text
    assert figure.layout.yaxis.title.text == "requests"
    opened = figure.layout.xaxis.range
    assert opened[0] == START + timedelta(hours=99 - 48)
    assert opened[1] == START + timedelta(hours=99 + STEPS)


def test_the_axis_holds_what_is_shown_and_not_what_was_long_ago() -> None:
    found = expected(points(100, odd=2), Measure.REQUESTS)
    figure = expectation_chart(found, title="Requests", unit="requests", of="x", days=2.0)
    assert figure.layout.yaxis.range[1] < 300


def test_a_young_series_has_its_line_alone_and_gaps_where_there_is_no_value() -> None:
    found = expected(points(8), Measure.P95_MS)
    figure = expectation_chart(found, title="P95 latency", unit="ms", of="x", days=2.0)
    (line,) = figure.data
    assert line.name == "seen"
    assert [y is None for y in line.y] == [math.isnan(value) for value in found.values]
    assert any(y is None for y in line.y)
