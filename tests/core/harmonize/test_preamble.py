"""What the lines above a header say of a report."""

import pytest

from core.harmonize.preamble import card_of_notes, complete_card
from core.harmonize.records import Mapping, SourceCard


def test_a_report_that_says_everything_is_read_whole() -> None:
    notes = [
        "The file is read as UTF-8.",
        "4 lines above the header were skipped: «Report name: Campaign daily», «Time zone: (UTC-08:00) "
        "America/Los_Angeles», «Account currency: US Dollar (USD)», «Attribution window: 14-day click, 1-day view»",
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
    assert card_of_notes([note]).get("account_timezone") == zone


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
    assert card_of_notes([note]).get("headline") == headline


def test_notes_without_pairs_say_nothing() -> None:
    assert card_of_notes(["Delimiter «;»", "Date range 2026-01-01 to 2026-01-31", "a: b", ":::", ""]) == {}


def test_the_first_that_says_it_counts() -> None:
    assert card_of_notes(["Currency: EUR", "Currency: USD"]) == {"currency": "EUR"}


def test_a_given_card_counts_for_more_than_the_notes() -> None:
    card = SourceCard(currency="CAD", network="North Ads")
    found = complete_card(card, ["Currency: USD", "Time zone: America/Toronto"])
    assert found == SourceCard(currency="CAD", network="North Ads", account_timezone="America/Toronto")


def test_a_file_knows_its_own_clock_and_a_mapping_its_own_headline() -> None:
    mapping = Mapping(
        rules=(), account_timezone="Europe/Paris", currency="EUR", headline="14d", network="North Ads"
    )
    notes = ["Time zone: Europe/Berlin", "Attribution window: 30 days", "Network: South", "Currency: CHF"]
    assert complete_card(None, notes, mapping) == SourceCard(account_timezone="Europe/Berlin", currency="CHF")


def test_nothing_said_is_no_card() -> None:
    assert complete_card(None, []) is None
    assert complete_card(SourceCard(), ["UTF-8"]) is None
