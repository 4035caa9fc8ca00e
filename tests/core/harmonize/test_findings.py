"""Clean files give no warning; every planted trap is found, named, counted and located."""

import csv
import json
import random
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from core.demo.retailers import TEST_RETAILERS, FileShape, RetailerSpec, transform_of
from core.harmonize.findings import Finding, find_traps
from core.harmonize.records import Mapping, Rule, SourceCard
from tests.core.harmonize.trap_files import (
    CLEAN,
    CLICK_14,
    File,
    cents_report,
    daily_report,
    display_report,
    event_stream,
    local_stream,
    micros_report,
    opened,
    texts,
    typed_report,
    windowed_report,
)

EVENTS = Path(__file__).parents[3] / "datasets" / "events"
SEPARATORS = {FileShape.CSV: ",", FileShape.TSV: "\t", FileShape.SEMICOLON_CSV: ";"}


def found(file: File, *, mapped: bool = True, **options: Any) -> dict[str, Finding]:
    findings = find_traps(file.source, file.mapping if mapped else None, file.card, **options)
    return {finding.rule: finding for finding in reversed(findings)}


def loud(file: File, **options: Any) -> set[str]:
    return {
        f.rule for f in find_traps(file.source, file.mapping, file.card, **options) if f.severity != "note"
    }


# Files without a trap.


@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_file_with_its_mapping_gives_no_warning(name: str) -> None:
    assert loud(CLEAN[name]()) == set()


@pytest.mark.parametrize("name", sorted(set(CLEAN) - {"micros", "cents", "windows"}))
def test_a_clean_file_without_a_mapping_gives_no_warning(name: str) -> None:
    file = CLEAN[name]()
    assert [f for f in find_traps(file.source, None, file.card) if f.severity != "note"] == []


@pytest.mark.parametrize("seed", range(200, 212))
def test_clean_reports_of_many_seeds_give_no_warning(seed: int) -> None:
    assert loud(daily_report(seed)) | loud(cents_report(seed)) | loud(display_report(seed)) == set()


def flat(record: dict[str, Any], prefix: str = "") -> dict[str, object]:
    told: dict[str, object] = {}
    for name, value in record.items():
        told |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return told


def shipped(spec: RetailerSpec) -> File:
    if spec.shape in SEPARATORS:
        path = EVENTS / f"retailer_{spec.slug}.{'tsv' if spec.shape is FileShape.TSV else 'csv'}"
        with path.open(newline="") as lines:
            rows = [
                {k: v or None for k, v in row.items()}
                for row in csv.DictReader(lines, delimiter=SEPARATORS[spec.shape])
            ]
    else:
        lines = (EVENTS / f"retailer_{spec.slug}.jsonl").read_text().splitlines()
        rows = [flat(json.loads(line)) for line in lines]
    rules = [
        {
            "source_field": c.name,
            "target": c.target or None,
            "transform": transform_of(spec, c),
            "qualifiers": dict(c.qualifiers),
        }
        for c in spec.columns
    ]
    return File(texts(rows), rules, SourceCard(currency=spec.currency, account_timezone=spec.timezone))


@pytest.mark.parametrize("spec", TEST_RETAILERS, ids=lambda spec: spec.slug)
@pytest.mark.parametrize("mapped", [True, False])
def test_the_shipped_event_files_give_no_warning(spec: RetailerSpec, mapped: bool) -> None:
    file = shipped(spec)
    findings = find_traps(file.source, file.mapping if mapped else None, file.card)
    assert [f for f in findings if f.severity != "note"] == []


SHAPES = sorted((Path(__file__).parent / "shapes" / "development").glob("*.json"))


@pytest.mark.parametrize("path", SHAPES, ids=lambda path: path.stem)
def test_reports_of_real_networks_read_rightly_give_no_warning(path: Path) -> None:
    shape = json.loads(path.read_text(encoding="utf-8"))
    rows = max(len(column["samples"]) for column in shape["columns"])
    cells = {c["source_field"]: (c["samples"] + [None] * rows)[:rows] for c in shape["columns"]}
    names = ("source_field", "target", "transform", "qualifiers")
    rules = [{name: column[name] for name in names} for column in shape["columns"]]
    card = SourceCard(**{name: value for name, value in shape["card"].items() if value is not None})
    frame = pl.DataFrame(cells, schema=dict.fromkeys(cells, pl.String))
    assert loud(File(frame, rules, card)) == set()


# Files with one trap each.


def times(factor: float) -> Callable[[str], object]:
    return lambda v: round(float(v) * factor)


def divided_twice() -> File:
    return daily_report().rule("Spend", "cost", "divide", by=1e6)


def two_units_in_one_column() -> File:
    return daily_report().each("Spend", times(1e6), where=lambda i: i % 10 == 0)


def swapped_counts() -> File:
    file = daily_report()
    return file.change(
        Impressions=file.frame.get_column("Clicks"), Clicks=file.frame.get_column("Impressions")
    )


def local_marked_utc() -> File:
    zone = ZoneInfo("America/Los_Angeles")
    return event_stream(write=lambda m: f"{m.astimezone(zone):%Y-%m-%dT%H:%M:%SZ}")


def local_marked_utc_alone() -> File:
    file = local_marked_utc()
    return File(file.frame.drop("local_day"), file.rules, file.card)


def tokyo_marked_utc() -> File:
    zone = ZoneInfo("Asia/Tokyo")
    file = event_stream(zone="Asia/Tokyo", write=lambda m: f"{m.astimezone(zone):%Y-%m-%dT%H:%M:%SZ}")
    return File(file.frame.drop("local_day"), file.rules, file.card)


def berlin_marked_utc() -> File:
    """Two hours are too few for the night to tell; the local day beside it does."""
    zone = ZoneInfo("Europe/Berlin")
    return event_stream(zone="Europe/Berlin", write=lambda m: f"{m.astimezone(zone):%Y-%m-%dT%H:%M:%SZ}")


def utc_read_as_local() -> File:
    file = event_stream(write=lambda m: f"{m:%Y-%m-%d %H:%M:%S}")
    told = file.rule("event_time", "ts", "to_utc", format="%Y-%m-%d %H:%M:%S", source_tz="account_timezone")
    return File(told.frame.drop("local_day"), told.rules, told.card)


def skipped_hour() -> File:
    file = local_stream().each("event_time", lambda v: "2026-03-08 02:30:00", where=lambda i: i in (4, 9))
    return File(file.frame.drop("local_day"), file.rules, file.card)


def mixed_zones() -> File:
    return event_stream().each("event_time", lambda v: v.rstrip("Z"), where=lambda i: i % 50 == 0)


def mixed_formats() -> File:
    return daily_report().each(
        "Report Day", lambda v: f"{date.fromisoformat(v):%m/%d/%Y}", where=lambda i: i % 7 == 0
    )


def day_or_month() -> File:
    file = daily_report(days=10)
    return file.each("Report Day", lambda v: f"{date.fromisoformat(v):%d/%m/%Y}").rule(
        "Report Day", "date_local"
    )


def day_month_swapped() -> File:
    file = daily_report(days=11).each("Report Day", lambda v: f"{date.fromisoformat(v):%d/%m/%Y}")
    return file.rule("Report Day", "ts", "to_utc", format="%m/%d/%Y", source_tz="UTC", grain="day")


def epoch_in_the_wrong_unit() -> File:
    return daily_report().each("Report Day", lambda v: "1970-01-01", where=lambda i: i < 3)


def falling_conversions() -> File:
    file = daily_report()
    return file.each("Orders", lambda v: int(v) // 3, where=lambda i: i >= 340).rule(
        "Orders", "attributed_conversions", qualifiers=CLICK_14
    )


def total_at_the_foot() -> File:
    file = daily_report()
    sums = {
        n: sum(float(v) for v in file.frame.get_column(n))
        for n in ("Impressions", "Clicks", "Spend", "Sales")
    }
    return file.add_rows([{"Report Day": "Total", **{n: round(v, 2) for n, v in sums.items()}}])


def nameless_total() -> File:
    file = daily_report()
    sums = {
        n: sum(float(v) for v in file.frame.get_column(n))
        for n in ("Impressions", "Clicks", "Spend", "Sales")
    }
    return file.add_rows([{n: round(v, 2) for n, v in sums.items()}])


def subtotal_inside() -> File:
    return daily_report().each("Campaign Name", lambda v: "Subtotal", where=lambda i: i in (99, 199))


def total_column() -> File:
    rng = random.Random(8)
    file = daily_report()
    total = [float(v) for v in file.frame.get_column("Spend").to_list()]
    fees = [round(v * rng.uniform(0.1, 0.4), 2) for v in total]
    file = file.change(
        **{
            "Fee": pl.Series([f"{v:.2f}" for v in fees]),
            "Media": pl.Series([f"{t - f:.2f}" for t, f in zip(total, fees, strict=True)]),
        }
    )
    return file.rule("Fee", "cost").rule("Media", "cost")


def rate_column(factor: int, top: str, bottom: str, digits: int) -> Callable[[], File]:
    def plant() -> File:
        file = daily_report()
        pairs = zip(file.frame.get_column(top), file.frame.get_column(bottom), strict=True)
        rate = [f"{float(a) / float(b) * factor:.{digits}f}" if float(b) else None for a, b in pairs]
        return file.change(Rate=pl.Series(rate, dtype=pl.String)).rule("Rate", "price")

    return plant


def rate_summed() -> File:
    file = rate_column(1, "Spend", "Clicks", 4)()
    return file.rule("Rate", "retailer_net_revenue")


def same_column_twice() -> File:
    file = daily_report()
    return file.change(Cost=file.frame.get_column("Spend")).rule("Cost", "cost")


def windows_with_one_meaning() -> File:
    return windowed_report().rule("Sales 30d", "attributed_sales", qualifiers=CLICK_14)


def windows_swapped() -> File:
    file = windowed_report().rule(
        "Sales 7d", "attributed_sales", qualifiers={**CLICK_14, "window_click_days": 30}
    )
    return file.rule("Sales 30d", "attributed_sales", qualifiers={**CLICK_14, "window_click_days": 7})


def part_above_total() -> File:
    file = windowed_report().rule(
        "Sales", "attributed_sales", qualifiers={**CLICK_14, "sku_scope": "same_sku"}
    )
    return file.rule("Sales 14d same SKU", "attributed_sales", qualifiers=CLICK_14)


def revenue_is_cost() -> File:
    file = daily_report()
    return file.change(Revenue=file.frame.get_column("Spend")).rule(
        "Revenue", "ntb_sales", qualifiers=CLICK_14
    )


def revenue_is_clicks_times_price() -> File:
    file = daily_report()
    clicks = [int(v) for v in file.frame.get_column("Clicks").to_list()]
    prices = [round(0.4 + (i * 37 % 90) / 100, 2) for i in range(len(clicks))]
    file = file.change(
        CPC=pl.Series([f"{p:.2f}" for p in prices]),
        Sales=pl.Series([f"{c * p:.2f}" for c, p in zip(clicks, prices, strict=True)]),
    )
    return File(file.frame.drop("Spend"), [r for r in file.rules if r["source_field"] != "Spend"], file.card)


def revenue_without_sales() -> File:
    file = revenue_is_clicks_times_price()
    return File(file.frame.drop("CPC"), file.rules, file.card)


def unmapped_code() -> File:
    return daily_report().each("Placement", lambda v: "off_site", where=lambda i: i % 60 == 0)


def unknown_word() -> File:
    return event_stream().each("event_name", lambda v: "hover", where=lambda i: i % 100 == 0)


def suppressed(text: str) -> Callable[[], File]:
    return lambda: daily_report().each("New Buyers", lambda v: text, where=lambda i: i % 4 == 0)


def spreadsheet_errors() -> File:
    return daily_report().each("Spend", lambda v: "#REF!", where=lambda i: i == 17)


def cut_names() -> File:
    rng = random.Random(4)

    def long_name(v: str) -> str:
        return f"{v} {''.join(rng.choices('abcdefghij', k=rng.randrange(10, 120)))}"[:50]

    return daily_report().each("Campaign Name", long_name)


def blanks_and_zeros() -> File:
    return daily_report().each("Units", lambda v: "" if v == "0" else v, where=lambda i: i % 2 == 0)


def negative_clicks() -> File:
    return daily_report().each("Clicks", lambda v: f"-{v}", where=lambda i: i in (5, 6))


def refunds() -> File:
    return daily_report().each("Sales", lambda v: "-12.50", where=lambda i: i in (5, 6))


def foreign_sign() -> File:
    return daily_report().each("Spend", lambda v: f"€{v}").rule("Spend", "cost", "parse_number", strip="€,")


def two_signs() -> File:
    file = daily_report().each("Spend", lambda v: f"${v}", where=lambda i: i % 2 == 0)
    return file.each("Spend", lambda v: f"£{v}", where=lambda i: i % 2 == 1).rule(
        "Spend", "cost", "parse_number", strip="$£"
    )


def two_currencies() -> File:
    file = daily_report()
    codes = ["USD" if i % 3 else "CAD" for i in range(file.frame.height)]
    return (
        file.change(Currency=pl.Series(codes))
        .rule("Currency", None, "drop")
        .rule("Currency", "currency", "drop")
    )


def other_currency() -> File:
    file = daily_report()
    return file.change(Currency=pl.lit("CAD")).rule("Currency", "currency")


def two_retailers() -> File:
    file = daily_report()
    names = ["Alpha" if i % 3 else "Beta" for i in range(file.frame.height)]
    return file.change(Retailer=pl.Series(names)).rule("Retailer", "retailer")


def spoiled_ids() -> File:
    return daily_report().each("Campaign", lambda v: f"{float(v):.5E}", where=lambda i: i % 3 == 0)


def rounded_ids() -> File:
    return daily_report().each("Campaign", lambda v: f"{round(int(v), -3) + 1000 * (int(v) % 97)}")


def float_ids() -> File:
    return event_stream().each("campaign", lambda v: f"{v}.0")


def overflown_ids() -> File:
    return event_stream().each("campaign", lambda v: "2147483647", where=lambda i: i % 9 == 0)


def ids_as_floats() -> File:
    return typed_report().change(Campaign=pl.col("Campaign").cast(pl.Float64))


def repeated_events() -> File:
    file = event_stream()
    return File(pl.concat([file.frame, file.frame.head(40)]), file.rules, file.card)


def repeated_rows() -> File:
    file = daily_report()
    return File(pl.concat([file.frame, file.frame.slice(100, 25)]), file.rules, file.card)


PLANTED: dict[str, tuple[str, Callable[[], File], int | None]] = {
    "micros read as units": ("unit.micros", lambda: daily_report().each("Spend", times(1e6)), None),
    "cents read as units": ("unit.cents", lambda: daily_report().each("Spend", times(100)), None),
    "millicents read as units": ("unit.millicents", lambda: daily_report().each("Spend", times(1e5)), None),
    "microcents read as units": ("unit.microcents", lambda: daily_report().each("Spend", times(1e8)), None),
    "sales in cents": ("unit.cents", lambda: daily_report().each("Sales", times(100)), None),
    "cost in micros beside sales in units": (
        "unit.mixed_row",
        lambda: daily_report().each("Spend", times(1e6)),
        None,
    ),
    "divided although in units": ("unit.overdivided", divided_twice, None),
    "cents divided as micros": (
        "unit.overdivided",
        lambda: cents_report().rule("Spend", "cost", "divide", by=1e6),
        None,
    ),
    "micros divided as cents": (
        "unit.micros",
        lambda: micros_report().rule("Spend", "cost", "divide", by=100),
        None,
    ),
    "two units in one column": ("unit.mixed_column", two_units_in_one_column, None),
    "clicks and impressions swapped": ("unit.ctr_above_one", swapped_counts, None),
    "event costs in micros": ("unit.micros", lambda: event_stream().each("media_cost", times(1e6)), None),
    "local day differs": ("time.local_marked_utc", local_marked_utc, None),
    "night at noon": ("time.local_marked_utc", local_marked_utc_alone, None),
    "night of Tokyo": ("time.local_marked_utc", tokyo_marked_utc, None),
    "local day of Berlin differs": ("time.local_marked_utc", berlin_marked_utc, None),
    "UTC read as local": ("time.utc_read_as_local", utc_read_as_local, None),
    "an hour that was skipped": ("time.missing_hour", skipped_hour, 2),
    "some with a zone": ("time.mixed_zones", mixed_zones, 30),
    "several formats": ("time.mixed_formats", mixed_formats, 86),
    "day or month": ("time.day_or_month", day_or_month, 200),
    "day and month swapped": ("time.day_month_swapped", day_month_swapped, 220),
    "before 2000": ("time.implausible", epoch_in_the_wrong_unit, 3),
    "falling conversions": ("time.immature", falling_conversions, 260),
    "total at the foot": ("sum.total_row", total_at_the_foot, 1),
    "total without a name": ("sum.total_row", nameless_total, 1),
    "subtotals inside": ("sum.total_row", subtotal_inside, 2),
    "total beside its parts": ("sum.total_column", total_column, None),
    "rate mapped to a sum": ("sum.derived", rate_summed, None),
    "the same column twice": ("sum.duplicate_column", same_column_twice, None),
    "windows with one meaning": ("sum.same_meaning", windows_with_one_meaning, None),
    "windows swapped": ("sum.part_above_whole", windows_swapped, None),
    "part above its total": ("sum.part_above_whole", part_above_total, None),
    "revenue equals cost": ("friend.revenue_is_cost", revenue_is_cost, None),
    "revenue is clicks times price": ("friend.revenue_is_cost", revenue_is_clicks_times_price, None),
    "revenue without a sale": ("friend.revenue_is_cost", revenue_without_sales, None),
    "a code without an entry": ("value.unmapped", unmapped_code, 10),
    "a word that RMIS lacks": ("value.unmapped", unknown_word, 15),
    "spreadsheet error": ("value.spreadsheet_error", spreadsheet_errors, 1),
    "cut names": ("value.truncated_text", cut_names, None),
    "clicks below zero": ("value.negative", negative_clicks, 2),
    "a euro sign on a dollar card": ("money.sign_differs", foreign_sign, 600),
    "two signs": ("money.several_currencies", two_signs, 300),
    "two currencies, column dropped": ("money.several_currencies", two_currencies, 200),
    "another currency than the card": ("money.sign_differs", other_currency, 600),
    "1.2E+17": ("id.spoiled", spoiled_ids, 200),
    "ids that end in 000": ("id.rounded", rounded_ids, 600),
    "ids that end in .0": ("id.float_text", float_ids, 1500),
    "ids of 32 bits": ("id.overflow", overflown_ids, 167),
    "ids as floats": ("id.overflow", ids_as_floats, 600),
    "events twice": ("value.repeated_event", repeated_events, 40),
    "rows twice": ("value.repeated_row", repeated_rows, 25),
}

#: What is told without alarm: nothing is wrong, but people should know.
TOLD: dict[str, tuple[str, Callable[[], File], int | None]] = {
    "held back <10": ("value.suppressed", suppressed("<10"), 150),
    "held back *": ("value.suppressed", suppressed("*"), 150),
    "blank and zero": ("value.blank_and_zero", blanks_and_zeros, None),
    "refunds": ("value.negative", refunds, 2),
    "two retailers": ("value.several_retailers", two_retailers, 200),
    "windows told apart": ("sum.windows", windowed_report, None),
    "immature days": ("time.immature", daily_report, 260),
    "rate known as one": ("sum.derived", rate_column(100, "Clicks", "Impressions", 4), None),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_trap_is_found(name: str) -> None:
    rule, plant, rows = PLANTED[name]
    file = plant()
    told = [
        f for f in find_traps(file.source, file.mapping, file.card) if f.rule == rule and f.severity != "note"
    ]
    assert told, loud(file)
    assert told[0].sentence.endswith(".")
    assert told[0].next_step
    assert set(told[0].columns) <= set(file.frame.columns)
    assert rows is None or told[0].rows == rows


@pytest.mark.parametrize("name", TOLD)
def test_what_is_no_mistake_is_a_note(name: str) -> None:
    rule, plant, rows = TOLD[name]
    file = plant()
    assert found(file)[rule].severity == "note"
    assert rows is None or found(file)[rule].rows == rows
    assert loud(file) == set()


@pytest.mark.parametrize(
    ("factor", "top", "bottom", "digits"),
    [
        (1, "Clicks", "Impressions", 5),
        (100, "Clicks", "Impressions", 3),
        (1, "Spend", "Clicks", 3),
        (1000, "Spend", "Impressions", 3),
    ],
)
def test_a_rate_is_known_by_what_it_is_made_of(factor: int, top: str, bottom: str, digits: int) -> None:
    finding = found(rate_column(factor, top, bottom, digits)())["sum.derived"]
    assert finding.columns == ("Rate", top, bottom)


def test_ten_lines_of_the_source_are_named() -> None:
    finding = found(unmapped_code())["value.unmapped"]
    assert finding.lines == tuple(range(2, 602, 60))
    assert "«off_site» (10)" in finding.sentence
    assert found(total_at_the_foot())["sum.total_row"].lines == (602,)


def test_a_unit_is_told_with_both_readings() -> None:
    sentence = found(PLANTED["micros read as units"][1]())["unit.micros"].sentence
    assert sentence.startswith("«Spend» looks like micros: as it stands a ")
    assert "USD" in sentence


def test_traps_are_seen_before_there_is_a_mapping() -> None:
    assert found(micros_report(), mapped=False)["unit.micros"].severity == "warning"
    assert "sum.total_row" in found(total_at_the_foot(), mapped=False)
    assert "sum.derived" in found(rate_column(1, "Clicks", "Impressions", 5)(), mapped=False)
    assert "time.day_or_month" in found(day_or_month(), mapped=False)
    assert "value.repeated_event" in found(repeated_events(), mapped=False)
    assert "friend.revenue_is_cost" in found(revenue_is_cost(), mapped=False)


def test_what_the_mapping_handles_is_a_note() -> None:
    file = repeated_events().rule("event_id", "dedup_key", "dedup")
    assert found(file)["value.repeated_event"].severity == "note"
    assert found(same_column_twice().rule("Cost", "cost", "drop"))["sum.duplicate_column"].severity == "note"


def test_the_future_is_seen_from_a_given_moment() -> None:
    now = datetime(2026, 3, 20, 12, tzinfo=UTC)
    finding = found(daily_report(), now=now)["time.future"]
    assert finding.rows == 9 * 20
    assert "2026-03-30" in finding.sentence
    assert "time.future" not in found(daily_report(), now=now + timedelta(days=20))


def test_days_are_mature_when_the_window_has_passed() -> None:
    assert "time.immature" not in found(daily_report(), now=datetime(2026, 5, 1, tzinfo=UTC))


def test_a_column_of_the_reading_day_tells_how_old_days_are() -> None:
    file = (
        daily_report()
        .change(Read=pl.lit("2026-06-01"))
        .rule("Read", "as_of", "to_utc", format="iso", source_tz="UTC")
    )
    assert "time.immature" not in found(file)


def test_an_hour_that_was_gone_through_twice_is_told() -> None:
    file = local_stream().each("event_time", lambda v: "2026-11-01 01:30:00", where=lambda i: i < 3)
    file = File(file.frame.drop("local_day"), file.rules, file.card)
    assert (found(file)["time.repeated_hour"].severity, found(file)["time.repeated_hour"].rows) == ("note", 3)


def test_a_file_of_exactly_as_many_rows_as_a_spreadsheet_has_is_suspicious() -> None:
    frame = pl.DataFrame({"a": ["x"] * 65_535})
    findings = find_traps(opened(frame), None, None, sample_rows=1000)
    assert [(f.rule, f.severity, f.lines) for f in findings] == [
        ("value.truncated_file", "warning", (65_536,))
    ]


def test_the_end_of_a_long_file_is_looked_at_too() -> None:
    file = total_at_the_foot()
    findings = find_traps(file.source, file.mapping, file.card, sample_rows=50)
    assert any(f.rule == "sum.total_row" and f.lines == (602,) for f in findings)
    assert "of the 550 looked at" in next(f.sentence for f in findings if f.rule == "sum.total_row")


def test_an_empty_file_and_one_without_numbers_have_no_trap() -> None:
    assert find_traps(opened(pl.DataFrame({"a": pl.Series([], dtype=pl.String)})), None, None) == []
    assert find_traps(opened(pl.DataFrame({"a": ["x", None, "y"]})), None, None) == []


def test_hostile_cells_raise_nothing() -> None:
    odd = [
        "\x00",
        "=1+1",
        "9" * 5000,
        "NaN",
        "-inf",
        "1e999",
        "\u202e12",
        "<b>",
        "{}",
        "--",
        "0x1F",
        "١٢٣",
        "😀" * 50,
    ]
    frame = pl.DataFrame(
        dict.fromkeys(("clicks", "impressions", "cost", "date", "campaign id", "x" * 3000), odd * 3)
    )
    mapping = Mapping(
        rules=tuple(
            Rule(source_field=n, target=t)
            for n, t in (("clicks", "clicks"), ("cost", "cost"), ("date", "date_local"))
        )
    )
    for given in (mapping, None):
        for finding in find_traps(opened(frame), given, SourceCard(account_timezone="No/Where")):
            assert len(finding.sentence) < 1000


def test_a_mapping_of_columns_that_are_not_there_raises_nothing() -> None:
    mapping = Mapping(
        rules=(Rule(source_field="gone", target="cost", transform={"op": "divide", "by_field": "also gone"}),)
    )
    assert find_traps(opened(pl.DataFrame({"a": ["1", "2"]})), mapping, None) == []


def test_twenty_thousand_rows_of_forty_columns_take_a_moment() -> None:
    """The figure for the whole sample is in benchmarks; this only sees that nothing grows out of hand."""
    file = daily_report(days=50, campaigns=40)
    wide = pl.concat([file.frame] * 10).with_columns(
        **{f"extra {i}": pl.col("Clicks").cast(pl.Int64).mul(i + 2).cast(pl.String) for i in range(29)}
    )
    started = time.process_time()
    find_traps(opened(wide), file.mapping, file.card)
    assert time.process_time() - started < 5
