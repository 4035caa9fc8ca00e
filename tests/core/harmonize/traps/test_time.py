"""Where the night lies on the clock."""

from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.harmonize.traps.time import in_zone, quiet_hours, zone_of
from tests.core.harmonize.trap_files import HOURS


def hours(shift: int = 0) -> pl.Series:
    return pl.Series([(hour + shift) % 24 for hour, count in enumerate(HOURS) for _ in range(count)])


def test_the_quiet_hours_are_those_of_the_night() -> None:
    middle, share = quiet_hours(hours())
    assert middle == pytest.approx(3.5)  # from one o'clock until six
    assert share == pytest.approx((4 + 3 + 2 + 2 + 4) / sum(HOURS))


@given(st.integers(-23, 23))
def test_the_night_moves_with_the_clock_also_over_midnight(shift: int) -> None:
    middle, share = quiet_hours(hours(shift))
    assert (middle - shift - 3.5) % 24 in (pytest.approx(0, abs=1e-6), pytest.approx(24, abs=1e-6))
    assert share == quiet_hours(hours())[1]


def test_even_traffic_has_no_hole() -> None:
    assert quiet_hours(pl.Series(list(range(24)) * 10))[1] == pytest.approx(5 / 24)


def test_a_zone_that_does_not_exist_is_none() -> None:
    assert [zone_of(name) for name in ("No/Where", "", "../etc/passwd", "\0")] == [None] * 4
    assert zone_of("Europe/Berlin") is not None


def test_the_wall_clock_of_another_zone_knows_summer() -> None:
    zone = zone_of("Europe/Berlin")
    assert zone is not None
    winter, summer = datetime(2026, 1, 1, 12), datetime(2026, 7, 1, 12)
    moved = in_zone(pl.Series([winter, summer]), zone)
    assert moved is not None
    assert moved.to_list() == [winter + timedelta(hours=1), summer + timedelta(hours=2)]
