"""Charts carry title, units, n and words on hover; names in them are no hypertext."""

from datetime import UTC, datetime

import plotly.graph_objects as go

from app.ui.charts import BLUE, comparison_chart, loss_chart, reading_chart, stack_chart
from core.jobs.records import JobPoint
from core.training.records import Proportion

POINTS = [
    JobPoint(step, datetime(2026, 1, 1, tzinfo=UTC), loss=1 / step, learning_rate=1e-3) for step in (1, 2, 3)
]


def assert_is_labelled(figure: go.Figure, n: str) -> None:
    assert figure.layout.title.text
    assert n in figure.layout.title.subtitle.text
    assert figure.layout.yaxis.title.text
    for trace in figure.data:
        assert "%{y" in trace.hovertemplate


def test_the_loss_chart_has_title_units_n_and_hover():
    figure = loss_chart(POINTS)
    assert_is_labelled(figure, "3 readings")
    assert list(figure.data[0].y) == [1, 1 / 2, 1 / 3]
    assert [trace.name for trace in figure.data] == ["training"]


def test_validation_loss_is_a_line_of_its_own():
    points = [*POINTS, JobPoint(4, POINTS[0].at, loss=0.2, validation_loss=0.3)]
    figure = loss_chart(points)
    assert [trace.name for trace in figure.data] == ["training", "validation"]
    assert list(figure.data[1].x) == [4]


def test_a_reading_skips_the_steps_that_lack_it():
    points = [*POINTS, JobPoint(4, POINTS[0].at, loss=0.2)]
    figure = reading_chart(
        points, lambda p: p.learning_rate, title="Learning rate", unit="per step", hover=".2e", color=BLUE
    )
    assert_is_labelled(figure, "3 readings")
    assert list(figure.data[0].x) == [1, 2, 3]


def test_base_and_adapter_stand_side_by_side_with_intervals():
    pair = ("Exact match", Proportion(0.3, 0.25, 0.35, 150), Proportion(0.9, 0.85, 0.93, 150))
    figure = comparison_chart([pair], "New values", rows=150)
    assert_is_labelled(figure, "n 150")
    base, adapter = figure.data
    assert (base.name, adapter.name) == ("base", "adapter")
    assert (round(adapter.y[0]), round(adapter.error_y.array[0]), round(adapter.error_y.arrayminus[0])) == (
        90,
        3,
        5,
    )


def test_a_name_in_the_stack_is_shown_as_it_is_written():
    figure = stack_chart(
        "base", [('<a href="//x">x</a>', "retailer", 0.5), ("two", "task", -1.0)], {"retailer": BLUE}
    )
    words = " ".join(annotation.text for annotation in figure.layout.annotations)
    assert "<a " not in words
    assert "&lt;a href" in words
    assert "-1.00" in words
    assert len(figure.data) == 3 * 3  # a plate has a face and two edges
