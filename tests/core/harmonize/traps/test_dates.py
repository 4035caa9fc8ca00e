"""Days that can be read in two ways are doubted, days that can be read in one are not."""

from datetime import UTC, date, datetime, timedelta

import pytest

from core.harmonize.findings import Finding, find_traps
from core.harmonize.records import SourceCard
from tests.core.harmonize.trap_files import CLICK_14, File, daily_report, texts


def days(values: list[str], format: str | None = None, now: datetime | None = None) -> dict[str, Finding]:
    transform = (
        {"op": "to_utc", "format": format, "source_tz": "UTC", "grain": "day"} if format else {"op": "none"}
    )
    rules = [{"source_field": "day", "target": "ts" if format else "date_local", "transform": transform}]
    file = File(texts([{"day": value} for value in values]), rules, SourceCard())
    return {
        f.rule: f
        for f in find_traps(file.source, file.mapping, file.card, now=now)
        if f.rule.startswith("time.")
    }


def month(pattern: str, count: int = 28, first: date = date(2026, 3, 1)) -> list[str]:
    return [f"{first + timedelta(days=i):{pattern}}" for i in range(count)]


@pytest.mark.parametrize("pattern", ["%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%y"])
def test_a_whole_month_leaves_no_doubt(pattern: str) -> None:
    assert days(month(pattern)) == {}


@pytest.mark.parametrize("pattern", ["%d/%m/%Y", "%m/%d/%Y", "%d.%m.%y"])
def test_twelve_days_leave_doubt_and_a_likelier_reading(pattern: str) -> None:
    finding = days(month(pattern, 11))["time.day_or_month"]
    likely = "day" if pattern.startswith("%d") else "month"
    assert f"the {likely} first is likelier" in finding.sentence
    assert finding.rows == 11


def test_one_day_leaves_doubt_without_a_likelier_reading() -> None:
    assert "likelier" not in days(["03/04/2026"] * 20)["time.day_or_month"].sentence


def test_the_format_of_the_mapping_settles_it() -> None:
    assert days(month("%d/%m/%Y", 11), "%d/%m/%Y") == {}
    assert "time.day_month_swapped" in days(month("%d/%m/%Y", 11), "%m/%d/%Y")


def test_four_days_are_too_few_to_contradict_a_mapping() -> None:
    assert days(month("%d/%m/%Y", 4), "%m/%d/%Y") == {}


@pytest.mark.parametrize(
    "values",
    [
        ["2026-03-04T05:06:07Z", "2026-03-04T05:06:07.123Z"],
        ["2026-03-04T05:06:07+01:00", "2026-03-30T05:06:07+02:00"],
        ["9/3/2026", "10/31/2026"],
        ["3-Mar-2026", "14-March-2026"],
        ["1:05 AM 2026/03/20", "11:05 PM 2026/03/21"],
    ],
)
def test_small_differences_of_writing_are_one_way(values: list[str]) -> None:
    assert "time.mixed_formats" not in days(values * 10)
    assert "time.mixed_zones" not in days(values * 10)


def test_an_odd_one_is_shown() -> None:
    finding = days([*month("%Y-%m-%d"), "March 3rd"])["time.mixed_formats"]
    assert (finding.rows, finding.lines) == (1, (30,))
    assert "«March 3rd»" in finding.sentence


def test_a_day_of_grace_for_clocks_that_are_ahead() -> None:
    now = datetime(2026, 3, 10, 0, 30, tzinfo=UTC)
    assert "time.future" not in days(["2026-03-11"], now=now)
    assert days(["2026-03-11", "2026-03-12"], now=now)["time.future"].rows == 1


def test_placeholders_are_told() -> None:
    finding = days([*month("%Y-%m-%d"), "1970-01-01", "9999-12-31"], "%Y-%m-%d")["time.implausible"]
    assert (finding.rows, finding.lines) == (2, (30, 31))


def test_a_fall_is_only_told_with_enough_behind_it() -> None:
    def falling(file: File) -> bool:
        cut = file.each("Orders", lambda v: 0, where=lambda i: i >= file.frame.height // 2)
        return any(
            f.rule == "time.immature" and f.severity == "warning"
            for f in find_traps(cut.source, cut.mapping, cut.card)
        )

    assert falling(daily_report())
    assert not falling(daily_report(days=28, campaigns=1))


def test_the_longest_window_of_the_outcomes_counts() -> None:
    file = daily_report().rule("Units", "attributed_units", qualifiers={**CLICK_14, "window_click_days": 21})
    finding = next(f for f in find_traps(file.source, file.mapping, file.card) if f.rule == "time.immature")
    assert finding.rows == 20 * 20
    assert "younger than 21 days" in finding.sentence
