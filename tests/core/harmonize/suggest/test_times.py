"""Which clock a column is written in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.harmonize.suggest.times import find_time_shape


@pytest.mark.parametrize(
    ("values", "pattern", "grain", "offset"),
    [
        (["2026-02-26", "2026-02-27"], "%Y-%m-%d", "day", False),
        (["20260226"], "%Y%m%d", "day", False),
        (["2026022613"], "%Y%m%d%H", "hour", False),
        (["02/26/2026"], "%m/%d/%Y", "day", False),
        (["26/02/2026 14:05"], "%d/%m/%Y %H:%M", "event", False),
        (["26.02.2026"], "%d.%m.%Y", "day", False),
        (["26-Feb-26"], "%d-%b-%y", "day", False),
        (["Feb 26, 2026"], "%b %d, %Y", "day", False),
        (["02/26/2026 3:00:00 PM"], "%m/%d/%Y %I:%M:%S %p", "hour", False),
        (["2026年2月26日"], "%Y年%m月%d日", "day", False),
        (["2026-02"], "%Y-%m", "aggregate", False),
        (["2026-02-26 13:00", "2026-02-26 14:00"], "%Y-%m-%d %H:%M", "hour", False),
        (["2026-02-26 00:00:00.0"], "%Y-%m-%d %H:%M:%S%.f", "day", False),
        (["2026-02-26T04:27:04-03:00"], "iso", "event", True),
        (["2026-02-26T04:00:00.000Z"], "iso", "hour", True),
        (["2026-02-26 10:00:00 UTC"], "%Y-%m-%d %H:%M:%S UTC", "hour", True),
        (["1772064000000", "1772150400000"], "epoch_ms", "day", True),
        (["1772064000"], "epoch_s", "day", True),
        (["1772064000123456"], "epoch_us", "event", True),
    ],
)
def test_a_clock_is_recognised(values: list[str], pattern: str, grain: str, offset: bool) -> None:
    shape = find_time_shape(values)
    assert shape is not None
    assert (shape.format, shape.grain, shape.offset) == (pattern, grain, offset)


@pytest.mark.parametrize(
    "values",
    [["12.34", "7.5"], ["B07XYZ"], ["SP | Snacks"], ["Q1 2026"], ["99999999"], ["1-2"], [""], ["2026-13-45"]],
)
def test_what_is_no_time_is_none(values: list[str]) -> None:
    assert find_time_shape(values) is None


def test_a_long_number_is_a_time_for_certain_only_at_full_steps() -> None:
    full, odd = find_time_shape(["1772064000"]), find_time_shape(["1772064017"])
    assert full is not None
    assert full.certain
    assert odd is not None
    assert not odd.certain


def test_a_day_above_twelve_settles_the_order() -> None:
    shape = find_time_shape(["03/02/2026", "13/02/2026"])
    assert shape is not None
    assert shape.format == "%d/%m/%Y"
    assert shape.rival == ""


def test_days_that_lie_close_together_settle_the_order() -> None:
    shape = find_time_shape(["03/02/2026", "04/02/2026", "05/02/2026"])
    assert shape is not None
    assert shape.format == "%d/%m/%Y"
    assert shape.rival == "%m/%d/%Y"


@given(st.lists(st.text(max_size=45), min_size=1, max_size=6))
def test_any_texts_are_looked_at_without_failing(values: list[str]) -> None:
    find_time_shape(values)


@given(
    st.datetimes(
        min_value=__import__("datetime").datetime(2010, 1, 1),
        max_value=__import__("datetime").datetime(2035, 1, 1),
    )
)
def test_every_iso_day_is_read(moment) -> None:
    shape = find_time_shape([f"{moment:%Y-%m-%d}"])
    assert shape is not None
    assert shape.format == "%Y-%m-%d"
