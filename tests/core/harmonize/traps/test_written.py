"""Rules that read another decimal sign than the file writes."""

import pytest

from core.harmonize.findings import Finding, find_traps
from core.harmonize.records import SourceCard
from tests.core.harmonize.trap_files import CLICK_14, File, daily_report, european_report

RULES = {"value.decimal_sign", "value.either_way", "value.mixed_decimals", "time.unknown_zone"}


def told(file: File, card: SourceCard | None = None) -> list[Finding]:
    found = find_traps(file.source, file.mapping, card or file.card)
    return [each for each in found if each.rule in RULES]


def thousands(file: File, only: bool = True) -> File:
    """Sales of three digits behind a point in every row, or between others."""
    return file.each("Sales", lambda v: f"1.{len(v) * 37 + 100}", lambda i: only or i % 2 == 0)


@pytest.mark.parametrize("file", [daily_report(), european_report()], ids=["american", "european"])
def test_a_report_whose_rules_fit_says_nothing(file: File) -> None:
    assert told(file) == []


def test_thousands_that_are_read_as_fractions_are_an_error_where_the_file_writes_commas() -> None:
    file = thousands(european_report()).rule("Sales", "attributed_sales", qualifiers=CLICK_14)
    found = told(file)
    assert [(each.rule, each.severity, each.columns) for each in found] == [
        ("value.decimal_sign", "error", ("Sales",))
    ]
    assert found[0].rows == file.frame.height
    assert "a thousand times too small" in found[0].sentence
    assert "parse_number with strip «.»" in found[0].next_step


def test_fractions_that_are_read_as_thousands_are_an_error_too() -> None:
    file = thousands(daily_report()).rule(
        "Sales", "attributed_sales", "parse_number", strip=".", qualifiers=CLICK_14
    )
    assert [(each.rule, each.severity) for each in told(file)] == [("value.decimal_sign", "error")]
    assert "a thousand times too large" in told(file)[0].sentence


def test_what_nothing_tells_is_asked() -> None:
    file = thousands(daily_report()).each("Spend", lambda v: f"2.{len(v) * 37 + 100}")
    found = told(file)
    assert {each.rule for each in found} == {"value.either_way"}
    assert {each.columns for each in found} == {("Sales",), ("Spend",)}
    assert all("a thousand or a fraction" in each.sentence for each in found)


def test_a_column_of_both_signs_is_told() -> None:
    file = daily_report().each("Sales", lambda v: v.replace(".", ","), lambda i: i % 3 == 0)
    assert [each.rule for each in told(file)] == ["value.mixed_decimals"]


def test_days_of_an_unknown_zone_are_asked_about_and_a_card_that_says_utc_answers() -> None:
    file = daily_report(zone="UTC")
    nothing = SourceCard(currency="USD")
    found = told(file, nothing)
    assert [(each.rule, each.severity, each.columns) for each in found] == [
        ("time.unknown_zone", "warning", ("Report Day",))
    ]
    assert "account_timezone" in found[0].next_step
    assert told(file, SourceCard(account_timezone="UTC")) == []
    assert told(daily_report(zone="America/New_York"), nothing) == []


def test_times_that_say_their_zone_are_not_asked_about() -> None:
    file = daily_report(zone="UTC").each("Report Day", lambda v: f"{v}T10:00:00Z")
    file = file.rule("Report Day", "ts", "to_utc", format="iso", source_tz="account_timezone")
    assert told(file, SourceCard(currency="USD")) == []
