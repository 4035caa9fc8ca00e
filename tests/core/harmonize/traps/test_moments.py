"""Times are read as they are written: the clock on the wall, and the zone that stands beside it."""

from datetime import date, datetime
from typing import Any

import polars as pl
import pytest

from core.harmonize.records import Mapping, Rule
from core.harmonize.traps.evidence import Evidence, gather
from core.harmonize.traps.moments import read_moments, time_columns
from tests.core.harmonize.trap_files import opened


def evidence(values: list[Any], format: str | None = None, name: str = "when") -> Evidence:
    rule = Rule(
        source_field=name, target="ts", transform={"op": "to_utc", "format": format, "source_tz": "UTC"}
    )
    mapping = Mapping(rules=(rule,)) if format else None
    return gather(opened(pl.DataFrame({name: values})), mapping, None, sample_rows=1000)


@pytest.mark.parametrize(
    ("text", "format", "zone"),
    [
        ("2026-03-04T05:06:07Z", "iso", "Z"),
        ("2026-03-04 05:06:07", "iso", None),
        ("2026-03-04T05:06:07.123+05:30", "iso", "+05:30"),
        ("2026-03-04T05:06:07-0800", "iso", "-0800"),
        ("04.03.2026 05:06:07", "%d.%m.%Y %H:%M:%S", None),
        ("1772600767", "epoch_s", None),
        ("1772600767000", "epoch_ms", None),
        ("1772600767000000", "epoch_us", None),
        ("2026-03-04 05:06:07.250000", "%Y-%m-%d %H:%M:%S.%f", None),
        ("2026-03-04T05:06:07+0530", "%Y-%m-%dT%H:%M:%S%z", "+0530"),
    ],
)
def test_the_clock_is_read_as_written(text: str, format: str, zone: str | None) -> None:
    found = read_moments(evidence([text] * 3, format), "when")
    assert found is not None
    assert found.wall[0].replace(microsecond=0) == datetime(2026, 3, 4, 5, 6, 7)
    assert found.zone[0] == zone
    assert found.zoned == (zone is not None)
    assert found.has_clock


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-04",
        "20260304",
        "04.03.2026",
        "03/25/2026",
        "25/03/2026",
        "4-Mar-2026",
        "Mar 4, 2026",
        "25/03/26",
    ],
)
def test_days_are_found_without_a_mapping(text: str) -> None:
    told = evidence([text] * 4)
    assert time_columns(told) == ["when"]
    found = read_moments(told, "when")
    assert found is not None
    assert found.wall[0].year == 2026
    assert not found.has_clock


@pytest.mark.parametrize("values", [["12345678"] * 5, ["abcdefgh"] * 5, ["1.5"] * 5, ["99999999"] * 5])
def test_what_is_no_time_is_none(values: list[str]) -> None:
    assert time_columns(evidence(values)) == []


def test_eight_digits_called_an_id_are_no_day() -> None:
    assert time_columns(evidence(["20260304"] * 5, name="campaign id")) == []


def test_typed_times_are_taken_as_they_are() -> None:
    assert read_moments(evidence([date(2026, 3, 4)] * 3), "when").wall[0] == datetime(2026, 3, 4)  # type: ignore[union-attr]


@pytest.mark.parametrize("format", ["%Q%Q", "%", "no directive", "%H"])
def test_a_format_that_cannot_be_reads_nothing(format: str) -> None:
    assert read_moments(evidence(["2026-03-04"] * 3, format), "when") is None


def test_an_hour_without_minutes_is_read() -> None:
    found = read_moments(evidence(["2026-03-04 05"] * 3, "%Y-%m-%d %H"), "when")
    assert found is not None
    assert found.wall[0] == datetime(2026, 3, 4, 5)
