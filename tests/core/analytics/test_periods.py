"""Periods: which cells they are made of."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from core.analytics.periods import Grain, Period, Span, ceil_to, floor_to, period_of
from core.errors import InvalidInputError

NOW = datetime(2026, 11, 2, 9, 30, 15, tzinfo=UTC)
HOUR, DAY, MINUTE = timedelta(hours=1), timedelta(days=1), timedelta(minutes=1)


def test_the_last_hour_is_cut_to_minutes_and_the_hour_before_it_has_as_many() -> None:
    found = period_of(NOW - HOUR, NOW, NOW)
    assert found == Period(
        datetime(2026, 11, 2, 8, 30, tzinfo=UTC), datetime(2026, 11, 2, 9, 31, tzinfo=UTC), True
    )
    assert found.before.until == found.since
    assert found.before.until - found.before.since == timedelta(minutes=61)
    assert {span.grain for span in found.spans()} == {Grain.MINUTE, Grain.KEPT}


def test_other_periods_are_cut_to_hours_that_take_in_both_ends() -> None:
    found = period_of(NOW - DAY, NOW, NOW)
    assert found == Period(datetime(2026, 11, 1, 9, tzinfo=UTC), datetime(2026, 11, 2, 10, tzinfo=UTC))
    assert not period_of(NOW - 50 * HOUR, NOW - 49 * HOUR, NOW).by_minute


def test_whole_days_are_read_as_days_and_the_ends_as_hours() -> None:
    found = period_of(NOW - 3 * DAY, NOW, NOW)
    first, last = datetime(2026, 10, 31, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC)
    assert found.spans() == (
        Span(Grain.DAY, first, last),
        Span(Grain.HOUR, datetime(2026, 10, 30, 9, tzinfo=UTC), first),
        Span(Grain.HOUR, last, datetime(2026, 11, 2, 10, tzinfo=UTC)),
        Span(Grain.MINUTE, found.since, found.until),
    )
    assert found.spans(whole_days=False) == (
        Span(Grain.HOUR, found.since, found.until),
        Span(Grain.MINUTE, found.since, found.until),
    )


def test_every_hour_of_a_period_is_in_exactly_one_span() -> None:
    for hours in range(1, 100):
        found = period_of(NOW - hours * HOUR - 3 * HOUR, NOW - 3 * HOUR, NOW)
        coarse = [span for span in found.spans() if span.grain != Grain.MINUTE]
        for number in range((found.until - found.since) // HOUR):
            at = found.since + number * HOUR
            assert sum(span.since <= at < span.until for span in coarse) == 1


def test_moments_of_other_zones_are_cut_in_utc() -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    moment = datetime(2026, 11, 2, 0, 10, tzinfo=india)
    assert floor_to(moment, DAY) == datetime(2026, 11, 1, tzinfo=UTC)
    assert ceil_to(moment, HOUR) == datetime(2026, 11, 1, 19, tzinfo=UTC)
    assert ceil_to(datetime(2026, 11, 2, tzinfo=UTC), DAY) == datetime(2026, 11, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("since", "until", "why"),
    [
        (NOW, NOW, "ends before it begins"),
        (NOW + HOUR, NOW, "ends before it begins"),
        (NOW - timedelta(days=4000), NOW, "too long"),
        (NOW.replace(tzinfo=None), NOW, "needs its zone"),
    ],
)
def test_periods_that_cannot_be_are_refused(since: datetime, until: datetime, why: str) -> None:
    with pytest.raises(InvalidInputError, match=why):
        period_of(since, until, NOW)
