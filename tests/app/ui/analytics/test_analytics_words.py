"""Figures in words: unit, interval, n; and why there is none."""

import pytest

from app.ui.analytics import words
from core.analytics.alert_records import AlertKind, AlertState, DeliveryState
from core.analytics.records import Change, Figure, Outlook, RankMetric


@pytest.mark.parametrize(
    ("figure", "value", "interval"),
    [
        (Figure(0.981, 940, "share", 0.975, 0.986), "98.1%", "97.5–98.6%"),
        (Figure(240.4, 12, "ms", 181.0, 402.0), "240 ms", "181–402 ms"),
        (Figure(980.0, 12, "ms", 700.0, 1800.0), "980 ms", "700 ms–1.80 s"),
        (Figure(980.0, 12, "ms", 700.0, None), "980 ms", "from 700 ms"),
        (Figure(980.0, 12, "ms", None, 990.0), "980 ms", "up to 990 ms"),
        (Figure(4.111, 9, "points", 3.94, 4.28), "4.11", "3.94–4.28"),
        (Figure(1204.0, 1204, "requests"), "1,204", ""),
        (Figure(40e6, 1, "bytes"), "40.0 MB", ""),
        (Figure(12.345, 3, "EUR"), "12.35 EUR", ""),
        (Figure(0.00412, 3, "EUR"), "0.0041 EUR", ""),
    ],
)
def test_a_figure_reads_in_its_unit(figure: Figure, value: str, interval: str) -> None:
    assert words.value(figure) == value
    assert words.interval(figure) == interval
    assert f"n {figure.n:,}" in words.with_n(figure)


def test_a_figure_without_a_value_says_why() -> None:
    assert words.value(Figure(None, 5, "ms")) == "–"
    assert words.with_n(Figure(None, 5, "ms", note="It needs 10 requests.")) == "It needs 10 requests."
    assert words.with_n(Figure(None, 5, "ms")) == "too few, n 5"


@pytest.mark.parametrize(
    ("figure", "value", "interval"),
    [
        (Figure(-0.25, 400, "share", -0.321, -0.179), "−25.0 points", "−32.1 to −17.9 points"),
        (Figure(74.0, 400, "ms", 33.0, 145.0), "+74 ms", "+33 to +145 ms"),
        (Figure(4.0, 400, "ms", -8.7, 19.0), "+4.0 ms", "−8.7 to +19 ms"),
        (Figure(0.21, 40, "points", -0.1, 0.5), "+0.21", "−0.10 to +0.50"),
        (Figure(None, 40, "points"), "–", ""),
    ],
)
def test_a_difference_has_its_sign_and_unit(figure: Figure, value: str, interval: str) -> None:
    assert words.difference(figure) == value
    assert words.difference_interval(figure) == interval


@pytest.mark.parametrize(
    ("now", "before", "told"),
    [(150.0, 100.0, "+50%"), (50.0, 100.0, "−50%"), (5.0, 0.0, ""), (0.0, 4.0, "−100%")],
)
def test_growth_needs_something_before(now: float, before: float, told: str) -> None:
    figures = [Figure(value, int(value), "requests") for value in (now, before)]
    change = Change("requests", *figures, Figure(now - before, 1, "requests"), Outlook.UNCLEAR)
    assert words.relative(change) == told


def test_who_left_has_not_failed() -> None:
    assert [words.outcome(error) for error in ("", "cancelled", "timeout")] == [
        "answered",
        "left by its reader",
        "failed",
    ]


def test_every_kind_state_and_metric_has_its_word() -> None:
    assert set(words.KINDS) == set(AlertKind)
    assert set(words.STATES) == set(AlertState)
    assert set(words.DELIVERIES) == set(DeliveryState)
    assert set(words.METRICS) == set(RankMetric)
    assert set(words.OUTLOOKS) == set(Outlook)
