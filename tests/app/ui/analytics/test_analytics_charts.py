"""Charts of traffic: titles, units, n, gaps where too few, names literally, and what a press leads to."""

from datetime import UTC, datetime, timedelta

import plotly.graph_objects as go
import pytest

from app.ui.analytics import charts, spread_charts
from core.analytics.figures import percentile, share
from core.analytics.records import ErrorCount, Figure, HeatCell, Point, Step
from core.stats.sketches import LogSketch

START = datetime(2026, 3, 2, tzinfo=UTC)


def point(hour: int, answered: int, failed: int = 0, left: int = 0, **more: float) -> Point:
    latency = LogSketch.of([float(number + 1) for number in range(answered)])
    total = answered + failed + left
    return Point(
        START + timedelta(hours=hour), total, answered, latency, more.get("rating_sum", 0.0),
        int(more.get("rating_count", 0)), cancelled=left, thumbs_up=int(more.get("up", 0)),
        thumbs_down=int(more.get("down", 0)),
    )  # fmt: skip


def named(figure: go.Figure) -> dict[str, object]:
    return {trace.name: trace for trace in figure.data}


def subtitle(figure: go.Figure) -> str:
    return str(figure.layout.title.subtitle.text)


def test_requests_are_stacked_and_counted_and_the_last_bar_is_paler() -> None:
    figure = charts.requests_chart([point(0, 5, 2), point(1, 3, 0, 1)], Step.HOUR, of="all requests")
    traces = named(figure)
    assert list(traces["answered"].y) == [5, 3]  # type: ignore[attr-defined]
    assert list(traces["failed"].y) == [2, 0]  # type: ignore[attr-defined]
    assert list(traces["left by reader"].y) == [0, 1]  # type: ignore[attr-defined]
    assert list(traces["answered"].marker.opacity) == [1.0, 0.5]  # type: ignore[attr-defined]
    assert subtitle(figure) == "n 11, all requests, UTC"
    assert figure.layout.yaxis.title.text == "requests"


def test_a_percentile_of_too_few_answers_is_a_gap() -> None:
    figure = charts.percentile_chart([point(0, 9), point(1, 10), point(2, 50)], Step.HOUR, of="x")
    traces = named(figure)
    assert [y is None for y in traces["P50"].y] == [False] * 3  # type: ignore[attr-defined]
    assert [y is None for y in traces["P95"].y] == [True, False, False]  # type: ignore[attr-defined]
    assert [y is None for y in traces["P99"].y] == [True, True, False]  # type: ignore[attr-defined]
    assert traces["P99"].y[2] == pytest.approx(50, rel=0.02)  # type: ignore[attr-defined]
    assert "n 69 answers" in subtitle(figure)
    assert figure.layout.yaxis.title.text == "ms"


def test_the_heat_map_leaves_hours_with_too_few_empty() -> None:
    cells = [
        HeatCell(day, hour, n, share(n, n), percentile(LogSketch.of([5.0] * n), 0.95))
        for day in range(7)
        for hour in range(24)
        for n in [12 if (day, hour) == (2, 9) else 3]
    ]
    counts = spread_charts.heat_chart(cells, "requests", zone="Europe/Berlin", of="x").data[0]
    assert counts.z[2][9] == 12
    assert counts.z[0][0] == 3
    assert "too few" in counts.text[0][0]
    for show, value in (("success", 100.0), ("p95", pytest.approx(5.0, rel=0.01))):
        trace = spread_charts.heat_chart(cells, show, zone="Europe/Berlin", of="x").data[0]
        assert trace.z[2][9] == value
        assert trace.z[0][0] is None


def test_errors_are_shown_literally_most_frequent_on_top() -> None:
    errors = [ErrorCount("<b>timeout</b>", 7, share(7, 100)), ErrorCount("busy", 1, share(1, 100))]
    figure = charts.error_chart(errors, n=100, of="<i>x</i>")
    (bars,) = figure.data
    assert list(bars.y) == ["busy", "&lt;b&gt;timeout&lt;/b&gt;"]
    assert bars.customdata[1][0] == "<b>timeout</b>"
    assert "&lt;i&gt;" in subtitle(figure)


def test_thumbs_down_go_down_and_ratings_have_an_axis_of_their_own() -> None:
    points = [point(0, 5, up=3, down=1), point(1, 5, rating_sum=9.0, rating_count=2)]
    traces = named(charts.ratings_chart(points, Step.HOUR, of="x"))
    assert list(traces["up"].y) == [3, 0]  # type: ignore[attr-defined]
    assert list(traces["down"].y) == [-1, 0]  # type: ignore[attr-defined]
    assert list(traces["mean rating"].y) == [4.5]  # type: ignore[attr-defined]
    assert traces["mean rating"].yaxis == "y2"  # type: ignore[attr-defined]


def test_judgements_of_a_day_add_up() -> None:
    points = [point(0, 5, up=3, down=1), point(23, 5, rating_sum=9.0, rating_count=2), point(24, 5, up=1)]
    first, second = charts.judged_by_day(points)
    assert (first.at, first.thumbs_up, first.thumbs_down, first.rating_sum, first.rating_count) == (
        START,
        3,
        1,
        9.0,
        2,
    )
    assert (second.at, second.thumbs_up, second.requests) == (START + timedelta(days=1), 1, 5)


def test_compared_figures_carry_whiskers_and_who_is_missing_is_named() -> None:
    sides = [("one", Figure(0.9, 50, "share", 0.8, 0.95)), ("two", Figure(None, 0, "share"))]
    figure = spread_charts.compared_chart("Success rate", sides)
    (dots,) = figure.data
    assert list(dots.x) == [90.0]
    assert list(dots.y) == ["one<br>n 50"]
    assert dots.error_x.array[0] == pytest.approx(5.0)
    assert dots.error_x.arrayminus[0] == pytest.approx(10.0)
    assert "too few: two" in subtitle(figure)


def test_an_interval_with_an_open_end_has_one_whisker() -> None:
    (dots,) = spread_charts.compared_chart("P95 latency", [("one", Figure(100.0, 12, "ms", 60.0, None))]).data
    assert (dots.error_x.array[0], dots.error_x.arrayminus[0]) == (0.0, 40.0)


def test_the_distribution_counts_every_answer_once() -> None:
    buckets = LogSketch.of([0.0, 0.5, 3.0, 40.0, 41.0, 9000.0]).buckets()
    (bars,) = spread_charts.spread_chart(buckets, of="x").data
    assert sum(bars.y) == 6
    assert all(low <= x <= high for x, (low, high, _) in zip(bars.x, bars.customdata, strict=True))


def test_a_pressed_bar_is_one_step_and_a_pressed_percentile_asks_for_what_was_slower() -> None:
    points = [point(0, 60), point(1, 20)]
    second = START + timedelta(hours=1)
    assert charts.step_of_press({"customdata": [second.timestamp()]}, Step.HOUR) == (
        second,
        second + timedelta(hours=1),
    )
    press = {"customdata": [second.timestamp(), 0.95, 20]}
    assert charts.quantile_of_press(press, points) == pytest.approx(19, rel=0.02)
    assert charts.quantile_of_press({"customdata": [second.timestamp(), 0.5, 20]}, points) == 0.0
    assert charts.quantile_of_press({"customdata": [0, 0.95, 20]}, points) == 0.0
