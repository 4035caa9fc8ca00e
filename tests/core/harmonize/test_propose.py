"""Rules proposed from whole files: how numbers are written, and what is asked."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.harmonize.propose import propose_rules
from core.harmonize.records import Mapping, SourceCard
from core.harmonize.suggest.questions import ASKED_AT_MOST
from core.harmonize.suggest.suggest import Suggestion, to_rules
from tests.core.harmonize.apply_files import harmonized, source_of

CARD = SourceCard(network="North Ads", account_timezone="Europe/Berlin", currency="EUR")
EARLY = 1500


def proposed(tmp_path: Path, text: str, card: SourceCard | None = CARD) -> dict[str, Suggestion]:
    found = propose_rules(source_of(tmp_path, text), card=card, documents={}, memory=None)
    return {each.source_field: each for each in found}


def german(rows: list[tuple[str, str, str]]) -> str:
    lines = [f"2026-03-{1 + i % 28:02};{a};{b};{c}" for i, (a, b, c) in enumerate(rows)]
    return "\n".join(["Date;Impressions;Clicks;Cost", *lines]) + "\n"


def test_whole_numbers_with_german_thousands_are_read_where_other_columns_prove_the_comma(
    tmp_path: Path,
) -> None:
    text = german(
        [("12.345.678", "1.007", "1.234,50"), ("12.400", "2.450", "9,10"), ("9.100", "3.008", "0,75")]
    )
    made = proposed(tmp_path, text)
    assert made["Clicks"].target == "clicks"
    assert made["Clicks"].transform == {"op": "parse_number", "strip": "."}
    rules = to_rules(list(made.values()))
    rows, report = harmonized(tmp_path, source_of(tmp_path, text), Mapping(rules=rules), CARD)
    assert rows["impressions"].to_list() == [12_345_678, 12_400, 9_100]
    assert rows["clicks"].to_list() == [1007, 2450, 3008]
    assert rows["cost"].to_list() == [1234.5, 9.1, 0.75]
    assert report.conserved
    assert report.rejected_values == 0


def test_a_comma_far_behind_the_first_rows_is_read_and_not_set_aside(tmp_path: Path) -> None:
    text = german([("100", "7", "12")] * EARLY + [("120", "8", "1.007"), ("130", "9", "12,75")])
    made = proposed(tmp_path, text)
    assert made["Cost"].transform == {"op": "parse_number", "strip": "."}
    rules = to_rules(list(made.values()))
    rows, report = harmonized(tmp_path, source_of(tmp_path, text), Mapping(rules=rules), CARD)
    assert rows["cost"].tail(2).to_list() == [1007.0, 12.75]
    assert report.rejected_values == 0


def test_thousands_far_behind_the_first_rows_are_read(tmp_path: Path) -> None:
    text = (
        "\n".join(["Date\tClicks\tCost", *["2026-03-01\t7\t12.50"] * EARLY, "2026-03-02\t8\t1,234.50"]) + "\n"
    )
    assert proposed(tmp_path, text)["Cost"].transform == {"op": "parse_number", "strip": ","}


def test_an_amount_that_can_be_read_either_way_is_asked_and_a_count_is_not(tmp_path: Path) -> None:
    text = german([("1.100", "1.007", "1.250"), ("2.400", "2.450", "3.100"), ("9.100", "3.008", "2.750")])
    made = proposed(tmp_path, text)
    assert "a thousand or a fraction" in made["Cost"].question
    assert made["Cost"].confidence <= ASKED_AT_MOST
    assert made["Clicks"].question == ""
    assert made["Clicks"].transform == {"op": "parse_number", "strip": "."}
    assert made["Cost"].plain()["question"] == made["Cost"].question


@pytest.mark.parametrize(
    ("card", "asked"),
    [
        (None, True),
        (SourceCard(network="North Ads"), True),
        (SourceCard(account_timezone="UTC"), False),
        (CARD, False),
    ],
)
def test_days_without_a_zone_are_asked_about_where_no_card_says_it(
    tmp_path: Path, card: SourceCard | None, *, asked: bool
) -> None:
    made = proposed(tmp_path, german([("100", "7", "12,50")] * 5), card)
    assert made["Date"].target == "ts"
    assert bool(made["Date"].question) is asked
    assert (made["Date"].confidence <= ASKED_AT_MOST) or not asked


def test_times_with_an_offset_are_not_asked_about(tmp_path: Path) -> None:
    text = "time,clicks\n2026-03-01T10:00:00Z,4\n2026-03-01T11:00:00Z,5\n"
    assert proposed(tmp_path, text, None)["time"].question == ""


def test_young_days_are_counted_back_from_today(tmp_path: Path) -> None:
    text = german([("100", "7", "12,50")] * 5).replace("Cost", "Sales")
    rules = [
        {"source_field": "Date", "target": "ts", "transform": {"op": "to_utc", "format": "%Y-%m-%d"}},
        {
            "source_field": "Sales",
            "target": "attributed_sales",
            "transform": {"op": "parse_number", "strip": "."},
        },
    ]
    mapping = Mapping.model_validate({"rules": rules})

    def immature(now: datetime | None) -> list[str]:
        _, report = harmonized(tmp_path, source_of(tmp_path, text), mapping, CARD, now=now)
        return [each.sentence for each in report.findings if each.rule == "time.immature"]

    assert immature(datetime(2026, 11, 21, tzinfo=UTC)) == []
    assert immature(datetime(2026, 3, 16, 12, tzinfo=UTC)) == [
        "3 rows are younger than 14 days on 2026-03-16: their attributed_sales will be restated."
    ]
    assert "on 2026-03-0" in immature(None)[0]


def test_a_code_that_nobody_knows_is_null_and_asked_and_listed(tmp_path: Path) -> None:
    text = "Date;Device;Clicks\n" + "".join(
        f"2026-03-{day:02};{device};{day}\n"
        for day, device in enumerate(["PHON", "TBLT", "ZQ7"] * 4, start=1)
    )
    made = proposed(tmp_path, text)["Device"]
    assert made.transform["map"] == {"PHON": "mobile", "TBLT": "tablet", "ZQ7": None}
    assert "«ZQ7»" in made.question
    mapping = Mapping(rules=to_rules(list(proposed(tmp_path, text).values())))
    _, report = harmonized(tmp_path, source_of(tmp_path, text), mapping, CARD)
    (told,) = [each for each in report.findings if each.columns == ("Device",)]
    assert told.sentence == "4 values of «Device» have no word in the map (null) and stay blank: «ZQ7» (4)."


@pytest.mark.parametrize("card", [None, CARD])
def test_no_alternative_is_surer_than_the_choice(tmp_path: Path, card: SourceCard | None) -> None:
    names = ["Revenue", "Orders", "Views", "xq7", "Total", "id", "Type", "Amount", "Customer", "Store Sales"]
    text = ";".join(["Date", *names]) + "\n" + ";".join(["2026-03-01", *map(str, range(7, 17))]) + "\n"
    for each in proposed(tmp_path, text, card).values():
        assert all(chance <= each.confidence for _, chance in each.alternatives), each
