from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidInputError
from core.harmonize.values.clocks import kind_of_format, local_date, to_utc

PACIFIC = "America/Los_Angeles"


def told(texts: list[object], *args: str | None, **more: str) -> pl.DataFrame:
    """ts, day and marks of some values."""
    frame = pl.LazyFrame({"x": texts})
    times = to_utc(pl.col("x"), *args, dtype=frame.collect_schema()["x"], **more)
    marks = {
        name: pl.lit(value=False) if mark is None else mark
        for name, mark in (("ambiguous", times.ambiguous), ("nonexistent", times.nonexistent))
    }
    return times.of(frame).select(ts=times.ts, day=times.date_local, **marks).collect()


def moments(texts: list[object], *args: str | None, **more: str) -> list[str | None]:
    return told(texts, *args, **more)["ts"].dt.strftime("%Y-%m-%dT%H:%M:%S%.fZ").to_list()


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-03-02T00:16:26+02:00", "2026-03-01T22:16:26Z"),
        ("2026-03-02T00:16:26Z", "2026-03-02T00:16:26Z"),
        ("2026-03-02T00:16:26-0530", "2026-03-02T05:46:26Z"),
        ("2026-03-02T00:16:26+05:45", "2026-03-01T18:31:26Z"),
        ("2026-03-02 00:16:26.123Z", "2026-03-02T00:16:26.123Z"),
        ("2026-03-02T00:16:26,5+01", "2026-03-01T23:16:26.500Z"),
        (" 2026-03-02T00:16:26Z ", "2026-03-02T00:16:26Z"),
        ("20260302T001626Z", "2026-03-02T00:16:26Z"),
        ("2026-03-02 00:16:26 UTC", "2026-03-02T00:16:26Z"),
        ("2026-03-02T00:16Z", "2026-03-02T00:16:00Z"),
        ("2026-03-02T00:16:26", "2026-03-01T22:16:26Z"),
        ("2026-03-02 00:16:26", "2026-03-01T22:16:26Z"),
        ("2026-03-02", "2026-03-01T22:00:00Z"),
    ],
)
def test_iso_text_of_every_form_is_read_and_an_offset_counts_for_more_than_the_zone(
    text: str, utc: str
) -> None:
    assert moments([text], "iso", "Africa/Johannesburg") == [utc]
    # the quick reading of a column must not change what the slow one says of its neighbours
    assert moments(["2026-01-01T00:00:00Z", text, None], "iso", "Africa/Johannesburg") == [
        "2026-01-01T00:00:00Z",
        utc,
        None,
    ]


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-30T00:00:00Z",
        "2026-03-02T25:00:00Z",
        "2026-03-02T00:16:26+99:00",
        "x",
        "",
        "2026-13-01",
        "0000-00-00",
    ],
)
def test_what_is_no_time_becomes_null(text: str) -> None:
    assert moments([text], "iso", "UTC") == [None]


@settings(max_examples=50, deadline=None)
@given(st.datetimes(datetime(1990, 1, 1), datetime(2050, 1, 1)), st.integers(-56, 56))
def test_a_time_with_an_offset_comes_out_as_python_reads_it(wall: datetime, quarters: int) -> None:
    sign, minutes = "-" if quarters < 0 else "+", abs(quarters) * 15
    text = f"{wall.isoformat(timespec='seconds')}{sign}{minutes // 60:02}:{minutes % 60:02}"
    [made] = told([text], "iso", "UTC")["ts"]
    assert made == datetime.fromisoformat(text).astimezone(UTC)


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.datetimes(datetime(1990, 1, 1), datetime(2037, 1, 1)), min_size=1, max_size=200),
    st.sampled_from([PACIFIC, "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata", "America/Sao_Paulo"]),
)
def test_wall_clocks_come_out_as_python_reads_them(walls: list[datetime], zone: str) -> None:
    texts = [wall.strftime("%Y-%m-%d %H:%M:%S") for wall in walls]
    made = told(list(texts), "%Y-%m-%d %H:%M:%S", zone)["ts"].to_list()
    expected = [wall.replace(microsecond=0, tzinfo=ZoneInfo(zone), fold=0).astimezone(UTC) for wall in walls]
    assert made == expected


@pytest.mark.parametrize("zone", [PACIFIC, "Europe/Berlin", "Australia/Lord_Howe", "Africa/Casablanca"])
def test_every_quarter_of_an_hour_of_a_year_comes_out_as_python_reads_it(zone: str) -> None:
    walls = [datetime(2026, 1, 1) + timedelta(minutes=15 * step) for step in range(365 * 96)]
    made = told([wall.strftime("%Y-%m-%dT%H:%M:%S") for wall in walls], "iso", zone)["ts"].to_list()
    assert made == [wall.replace(tzinfo=ZoneInfo(zone), fold=0).astimezone(UTC) for wall in walls]


def test_a_skipped_hour_is_moved_forward_and_a_repeated_one_is_the_first() -> None:
    walls = [
        "2026-03-08 01:59:59",
        "2026-03-08 02:30:00",
        "2026-03-08 03:00:00",
        "2026-11-01 00:59:59",
        "2026-11-01 01:30:00",
    ]
    made = told(list(walls), "%Y-%m-%d %H:%M:%S", PACIFIC, account_timezone=PACIFIC)
    assert made["ts"].dt.strftime("%H:%M:%S").to_list() == [
        "09:59:59",
        "10:30:00",
        "10:00:00",
        "07:59:59",
        "08:30:00",
    ]
    assert made["nonexistent"].to_list() == [False, True, False, False, False]
    assert made["ambiguous"].to_list() == [False, False, False, False, True]


def test_a_time_that_says_its_offset_is_never_ambiguous() -> None:
    made = told(["2026-11-01T01:30:00-08:00", "2026-11-01T01:30:00"], "iso", PACIFIC)
    assert made["ambiguous"].fill_null(value=False).to_list() == [False, True]
    assert made["ts"].dt.hour().to_list() == [9, 8]


def test_days_of_a_report_begin_at_local_midnight_also_when_they_have_23_or_25_hours() -> None:
    made = told(
        ["2026-03-07", "2026-03-08", "2026-03-09", "2026-11-02"],
        "%Y-%m-%d",
        "account_timezone",
        "day",
        account_timezone=PACIFIC,
    )
    assert made["ts"].dt.hour().to_list() == [8, 8, 7, 8]
    assert made["day"].to_list() == [date(2026, 3, 7), date(2026, 3, 8), date(2026, 3, 9), date(2026, 11, 2)]


def test_the_local_date_of_an_event_is_that_of_the_account() -> None:
    made = told(["2026-03-02T03:00:00Z"], "iso", "UTC", "event", account_timezone=PACIFIC)
    assert made["day"].to_list() == [date(2026, 3, 1)]


def test_a_z_in_the_pattern_is_a_letter_where_the_clock_is_local() -> None:
    assert moments(["2026-03-02T01:02:03Z"], "%Y-%m-%dT%H:%M:%SZ", PACIFIC) == ["2026-03-02T09:02:03Z"]


@pytest.mark.parametrize(
    ("text", "format", "zone", "utc"),
    [
        ("02/03/26 02:00", "%d/%m/%y %H:%M", "Africa/Lagos", "2026-03-02T01:00:00Z"),
        ("02.2026.03 04:58:21", "%d.%Y.%m %H:%M:%S", "UTC", "2026-03-02T04:58:21Z"),
        ("Mar 2, 2026 1:05 PM", "%b %d, %Y %I:%M %p", "UTC", "2026-03-02T13:05:00Z"),
        ("20260302", "%Y%m%d", "UTC", "2026-03-02T00:00:00Z"),
        ("2026-03-02 05", "%Y-%m-%d %H", "UTC", "2026-03-02T05:00:00Z"),
        ("2026-03-02 01:02:03.25", "%Y-%m-%d %H:%M:%S.%f", "UTC", "2026-03-02T01:02:03.250Z"),
        ("2026-03-02 01:02:03 +0200", "%Y-%m-%d %H:%M:%S %z", PACIFIC, "2026-03-01T23:02:03Z"),
        ("1772400000", "epoch_s", PACIFIC, "2026-03-01T21:20:00Z"),
        ("1772400000.5", "unix", None, "2026-03-01T21:20:00.500Z"),
        ("1772400000", "%s", None, "2026-03-01T21:20:00Z"),
        ("1772400000123", "epoch_ms", None, "2026-03-01T21:20:00.123Z"),
        ("1772400000123456", "epoch_us", None, "2026-03-01T21:20:00.123456Z"),
        ("46083.5", "excel_serial", "UTC", "2026-03-02T12:00:00Z"),
        ("46083.5", "excel_serial", PACIFIC, "2026-03-02T20:00:00Z"),
    ],
)
def test_patterns_epochs_and_serials(text: str, format: str, zone: str | None, utc: str) -> None:
    assert moments([text], format, zone) == [utc]


def test_a_day_that_is_given_as_an_instant_is_the_day_of_its_zone() -> None:
    made = told(["1772400000000"], "epoch_ms", "account_timezone", "day", account_timezone=PACIFIC)
    assert (made["ts"][0], made["day"][0]) == (datetime(2026, 3, 1, 8, tzinfo=UTC), date(2026, 3, 1))


def test_numbers_beyond_all_calendars_are_no_times() -> None:
    assert moments(["1e30", "nan", "-99999999999"], "epoch_s") == [None, None, None]


def test_times_and_days_of_a_parquet_file_need_no_pattern() -> None:
    aware = datetime(2026, 3, 2, 1, tzinfo=ZoneInfo("Europe/Berlin"))
    assert moments([aware], None, PACIFIC) == ["2026-03-02T00:00:00Z"]
    assert moments([datetime(2026, 3, 2, 1)], None, PACIFIC) == ["2026-03-02T09:00:00Z"]
    assert moments([date(2026, 3, 2)], None, PACIFIC) == ["2026-03-02T08:00:00Z"]
    assert moments([1772400000], "epoch_s") == ["2026-03-01T21:20:00Z"]


def test_a_day_is_kept_as_it_is_written() -> None:
    days = local_date(pl.col("x"), "%d/%m/%Y")
    made = days.of(pl.LazyFrame({"x": ["02/03/2026", "31/02/2026"]})).select(days.date_local).collect()
    assert made.to_series().to_list() == [date(2026, 3, 2), None]


@pytest.mark.parametrize("format", ["yyyy-MM-dd", "%", "%Y-%é", "iso8602", "x" * 200])
def test_what_is_no_pattern_is_refused_with_an_example(format: str) -> None:
    with pytest.raises(InvalidInputError, match="pattern"):
        kind_of_format(format)


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="Mars/Olympus"):
        to_utc(pl.col("x"), "iso", "Mars/Olympus")
    with pytest.raises(InvalidInputError, match="time zone"):
        to_utc(pl.col("x"), "iso", "../../etc/passwd")
