"""What the lines above a header say of a report."""

from typing import Any

import pytest

from core.harmonize.preamble import card_of_notes, complete_card
from core.harmonize.records import Mapping, SourceCard


def said(*lines: str) -> dict[str, Any]:
    return card_of_notes(f"Above the header, line {n}: {line}" for n, line in enumerate(lines, 1))


def test_a_report_that_says_everything_is_read_whole() -> None:
    notes = [
        "The file is in UTF-16; it was read as such.",
        "Above the header, line 1: Report name: Campaign daily",
        "Above the header, line 2: Time zone: (UTC-08:00) America/Los_Angeles | Account currency: US Dollar (USD)",
        'Above the header, line 3: Attribution window,"14-day click, 1-day view"',
    ]
    assert card_of_notes(notes) == {
        "report": "Campaign daily",
        "account_timezone": "America/Los_Angeles",
        "currency": "USD",
        "headline": {"window_click_days": 14, "window_view_days": 1},
    }


@pytest.mark.parametrize(
    ("note", "zone"),
    [
        ("Time Zone: America/New_York", "America/New_York"),
        ("Timezone: Europe/Berlin (CET)", "Europe/Berlin"),
        ("Reporting time zone: Pacific Time", "America/Los_Angeles"),
        ("Time zone: Eastern Standard Time", "America/New_York"),
        ("Zeitzone: UTC", "UTC"),
        ("Time zone: (GMT+00:00) UTC", "UTC"),
        ("Time zone: GMT+2", None),
        ("Time zone: UTC-5", None),
        ("Time zone: Mars/Olympus_Mons", None),
        ("Time zone: CST", None),
    ],
)
def test_a_time_zone_is_taken_only_where_it_is_said_outright(note: str, zone: str | None) -> None:
    assert said(note).get("account_timezone") == zone


@pytest.mark.parametrize(
    ("note", "headline"),
    [
        ("Attribution window: 30 days", {"window_click_days": 30}),
        ("Attribution: 7d click / 1d view", {"window_click_days": 7, "window_view_days": 1}),
        ("View-through lookback: 1 day", {"window_view_days": 1}),
        ("Attribution model: last touch", None),
        ("Attribution window: 900 days", None),
    ],
)
def test_a_window_is_read_with_its_touch(note: str, headline: dict[str, int] | None) -> None:
    assert said(note).get("headline") == headline


def test_lines_without_pairs_and_our_own_notes_say_nothing() -> None:
    assert said("Date range 2026-01-01 to 2026-01-31", "a: b", ":::", "", "Currency:", "Time zone") == {}
    assert card_of_notes(["Currency: EUR", "The delimiter is «;»: Currency: EUR"]) == {}


def test_pairs_in_cells_are_read_too() -> None:
    assert said("Time zone,Europe/Paris", "Currency;EUR", "Network\tNorth Ads") == {
        "account_timezone": "Europe/Paris",
        "currency": "EUR",
        "network": "North Ads",
    }


def test_the_first_that_says_it_counts() -> None:
    assert said("Currency: EUR", "Currency: USD") == {"currency": "EUR"}


def test_a_given_card_counts_for_more_than_the_notes() -> None:
    card = SourceCard(currency="CAD", network="North Ads")
    found = complete_card(
        card,
        ["Above the header, line 1: Currency: USD", "Above the header, line 2: Time zone: America/Toronto"],
    )
    assert found == SourceCard(currency="CAD", network="North Ads", account_timezone="America/Toronto")


def test_a_file_knows_its_own_clock_and_a_mapping_its_own_headline() -> None:
    mapping = Mapping(
        rules=(), account_timezone="Europe/Paris", currency="EUR", headline="14d", network="North Ads"
    )
    lines = ["Time zone: Europe/Berlin", "Attribution window: 30 days", "Network: South", "Currency: CHF"]
    notes = [f"Above the header, line 1: {line}" for line in lines]
    assert complete_card(None, notes, mapping) == SourceCard(account_timezone="Europe/Berlin", currency="CHF")


def test_nothing_said_is_no_card() -> None:
    assert complete_card(None, []) is None
    assert complete_card(SourceCard(), ["UTF-8"]) is None
