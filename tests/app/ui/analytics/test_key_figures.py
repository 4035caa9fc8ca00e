"""Key figures: what each card says, and that its colour follows the interval and not the sign."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from app.ui.analytics.key_figures import KeyFigure, key_figures, length_of
from core.analytics import figures
from core.analytics.costs import Prices
from core.analytics.periods import Period
from core.analytics.reading import totals_of
from core.analytics.records import Outlook, Point, Subject, SubjectKind, Tally, Totals
from core.stats.sketches import LogSketch

START = datetime(2026, 3, 2, tzinfo=UTC)
ALL = Subject(SubjectKind.ALL, "", "All requests")


def tally(answered: int, failed: int, milliseconds: float = 100.0) -> Tally:
    latency = (
        LogSketch.of([milliseconds * (1 + k / answered) for k in range(answered)])
        if answered
        else LogSketch()
    )
    return Tally(requests=answered + failed, successes=answered, latency=latency, prompt_tokens=10 * answered)


def totals(now: Tally, before: Tally) -> Totals:
    period = Period(START, START + timedelta(hours=25))
    return totals_of(ALL, period, now, before, Prices(1.0, 1.0, "EUR"))


def cards(now: Tally, before: Tally, points: Sequence[Point] = ()) -> dict[str, KeyFigure]:
    return {card.label: card for card in key_figures(totals(now, before), points)}


def test_a_clear_fall_of_success_is_worse_and_a_small_one_is_not_clear() -> None:
    assert cards(tally(800, 200), tally(990, 10))["Success rate"].outlook is Outlook.WORSE
    assert cards(tally(990, 10), tally(800, 200))["Success rate"].outlook is Outlook.BETTER
    small = cards(tally(97, 3), tally(98, 2))["Success rate"]
    assert (small.outlook, small.change) == (Outlook.UNCLEAR, "−1.0 points")
    assert "n 100" in small.note


def test_lower_latency_is_better() -> None:
    faster = cards(tally(500, 0, 50.0), tally(500, 0, 100.0))["P95 latency"]
    assert faster.outlook is Outlook.BETTER
    assert faster.change.startswith("−")


def test_a_count_is_neither_better_nor_worse() -> None:
    card = cards(tally(50, 0), tally(100, 0))["Requests"]
    assert (card.change, card.outlook, card.note) == ("−50%", Outlook.UNCLEAR, "n 50; before 100")


def test_without_prices_there_is_no_cost_instead_of_none() -> None:
    period = Period(START, START + timedelta(hours=25))
    found = key_figures(totals_of(ALL, period, tally(5, 0), Tally(), Prices()), [])
    card = next(card for card in found if card.label.startswith("Cost"))
    assert (card.value, card.line) == ("–", ())
    assert "No prices are set" in card.note


def test_without_a_period_before_nothing_is_compared() -> None:
    found = cards(tally(50, 0), Tally())
    assert {card.change for card in found.values()} == {""}
    assert {card.outlook for card in found.values()} == {Outlook.UNCLEAR}


def test_a_sparkline_leaves_out_steps_without_a_value() -> None:
    points = [
        Point(START, 0, 0, LogSketch(), 0.0, 0),
        Point(START, 4, 3, LogSketch.of([1.0, 2.0, 3.0]), 9.0, 2),
    ]
    found = cards(tally(3, 1), Tally(), points)
    assert found["Requests"].line == (0.0, 4.0)
    assert found["Success rate"].line == (75.0,)
    assert found["P95 latency"].line == ()
    assert found["Rating, 1–5"].line == (4.5,)


@pytest.mark.parametrize(("hours", "told"), [(1, "60 minutes"), (25, "25 hours"), (721, "30 days")])
def test_the_length_of_the_period_is_said(hours: int, told: str) -> None:
    found = totals(tally(1, 0), Tally())
    period = Period(START, START + timedelta(hours=hours))
    now = figures.summary_of(ALL, tally(1, 0), period, Prices())
    assert length_of(Totals(now, found.before, found.changes)) == told
