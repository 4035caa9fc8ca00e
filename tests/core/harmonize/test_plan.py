from pathlib import Path

import pytest

from core.errors import InvalidInputError
from core.harmonize.fields import Names
from core.harmonize.plan import make_plan
from core.harmonize.plan_findings import coverage_of, plan_findings
from core.harmonize.records import SourceCard
from tests.core.harmonize.apply_files import lines_of, mapping_of, source_of

NONE = {"op": "none"}


def test_names_are_found_as_written_then_loosely_and_never_where_two_would_fit() -> None:
    names = Names(["Cost", "total  spend", "Clicks", "clicks", "a.b.c"])
    assert names.find("Cost") == "Cost"
    assert names.find(" COST ") == "Cost"
    assert names.find("Total Spend") == "total  spend"
    assert names.find("CLICKS") is None
    assert names.find("clicks") == "clicks"
    assert names.prefix("a.b.c.d.e") == "a.b.c"
    assert names.prefix("x.y") is None


def test_day_and_grain_of_a_time_rule_yield_to_rules_of_their_own(tmp_path: Path) -> None:
    source = source_of(tmp_path, "t,d\n2026-03-01,2026-03-02\n")
    time_rule = ("t", "ts", {"op": "to_utc", "format": "%Y-%m-%d"})
    alone = make_plan(source, mapping_of(time_rule))
    assert [slot.target for slot in alone.slots] == ["ts", "date_local", "grain"]
    both = make_plan(source, mapping_of(time_rule, ("d", "date_local")))
    assert [(slot.target, slot.field) for slot in both.slots] == [
        ("ts", "t"),
        ("grain", "t"),
        ("date_local", "d"),
    ]


def test_rows_of_a_report_are_aggregates_and_those_of_a_log_are_not(tmp_path: Path) -> None:
    source = source_of(tmp_path, "t,e\n2026-03-01,click\n")
    day = ("t", "ts", {"op": "to_utc", "format": "%Y-%m-%d"})
    assert make_plan(source, mapping_of(day)).constants["event_type"] == "aggregate"
    assert "event_type" not in make_plan(source, mapping_of(day, ("e", "event_type"))).constants
    log = ("t", "ts", {"op": "to_utc", "format": "iso", "grain": "event"})
    assert "event_type" not in make_plan(source, mapping_of(log)).constants


def test_windows_that_are_kept_apart_share_a_row_where_their_qualifiers_are_equal(tmp_path: Path) -> None:
    source = source_of(tmp_path, "s7,u7,s7b,s14\n1,2,3,4\n")
    seven = {"window_click_days": 7}
    plan = make_plan(
        source,
        mapping_of(
            ("s7", "attributed_sales", NONE, seven),
            ("s7b", "attributed_sales", NONE, seven),
            ("u7", "ntb_units", NONE, seven),
            ("s14", "attributed_sales", NONE, {"window_click_days": 14}),
            headline="14d",
        ),
    )
    assert [dict(group) for group in plan.apart_groups] == [seven, seven]
    assert {slot.field: slot.apart for slot in plan.slots} == {"s7": 0, "s7b": 1, "u7": None, "s14": None}


def test_a_whole_row_is_one_row_unless_the_mapping_says_otherwise(tmp_path: Path) -> None:
    source = lines_of(tmp_path, [{"a": 1, "i": [1]}, {"a": 2, "i": [2]}])
    assert make_plan(source, mapping_of(("a", "cost"))).plain_rows
    for transform in ({"op": "dedup"}, {"op": "explode", "const": "onsite"}, {"op": "explode", "path": "i"}):
        assert not make_plan(source, mapping_of(("a", "cost"), ("i", "sku", transform))).plain_rows


def test_coverage_counts_columns_that_have_values(tmp_path: Path) -> None:
    source = source_of(tmp_path, "a,b,c,d\n1,2,,4\n")
    plan = make_plan(source, mapping_of(("a", "cost"), ("d", None, {"op": "drop"})))
    assert coverage_of(source, plan, {"column.0": 1, "column.1": 1, "column.2": 0, "column.3": 1}) == (
        pytest.approx(2 / 3),
        ("b",),
    )


def test_a_plan_says_what_it_had_to_choose(tmp_path: Path) -> None:
    source = source_of(tmp_path, "s7,s14,u30\n1,2,3\n")
    plan = make_plan(
        source,
        mapping_of(
            ("s7", "attributed_sales", NONE, {"window_click_days": 7}),
            ("s14", "attributed_sales", NONE, {"window_click_days": 14}),
            ("u30", "attributed_units", NONE, {"window_click_days": 30}),
        ),
    )
    told = [(each.rule, each.severity) for each in plan_findings(source, plan, repeated=2)]
    assert told == [("headline.open", "note"), ("headline.mixed", "warning"), ("rows.repeated", "note")]


def test_an_unknown_zone_or_currency_of_the_card_is_refused(tmp_path: Path) -> None:
    source = source_of(tmp_path, "t\n2026-03-01\n")
    with pytest.raises(InvalidInputError, match="time zone"):
        make_plan(source, mapping_of(("t", "ts", {"op": "to_utc"})), SourceCard(account_timezone="Moon"))
