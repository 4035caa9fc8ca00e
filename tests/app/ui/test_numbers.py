"""Numbers read as people read them."""

from datetime import UTC, datetime, timedelta

import pytest

from app.ui import numbers
from core.training.records import Proportion

NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (7_300_000, "7.3 MB"), (2.1e9, "2.1 GB")],
)
def test_sizes_take_the_unit_that_fits(value, words):
    assert numbers.size(int(value)) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations_read_like_a_clock(seconds, words):
    assert numbers.duration(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "–"), (840, "840"), (84_000, "84 k"), (3_712_000, "3.71 M"), (8.03e9, "8.03 B")],
)
def test_large_counts_are_shortened(value, words):
    assert numbers.short_count(None if value is None else int(value)) == words


def test_a_share_carries_its_interval_and_n():
    assert numbers.proportion(Proportion(0.862, 0.81, 0.9, 1240)) == "86.2% (81.0–90.0%, n 1,240)"


def test_a_lift_is_in_points_with_its_interval():
    assert numbers.lift((0.62, 0.55, 0.69)) == "+62.0 points (+55.0 to +69.0)"
    assert numbers.lift((-0.1, -0.2, 0.0)) == "-10.0 points (-20.0 to +0.0)"


def test_a_band_of_time_says_both_ends():
    assert numbers.band(40, 55) == "40–55 s"
    assert numbers.band(70, 120) == "1 min 10 s to 2 min"


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (timedelta(seconds=10), "just now"),
        (timedelta(minutes=5), "5 min ago"),
        (timedelta(hours=3), "3 h ago"),
        (timedelta(days=2), "2 d ago"),
        (timedelta(days=30), "2026-10-03"),
    ],
)
def test_times_are_told_from_now(before, words):
    assert numbers.ago(NOW - before, NOW) == words
    assert numbers.ago(None, NOW) == "–"
