"""Answers with a schema: RMIS records, rules of a mapping, calls of tools."""

import json
from typing import Any

import pytest

from core.datasets.check_records import schemas
from core.datasets.records import Example, Fix, Split
from core.datasets.table import table_of
from core.datasets.turns import with_tools

TOOLS = json.dumps(
    [
        {
            "type": "function",
            "function": {
                "name": "plan_budget",
                "parameters": {"properties": {"weeks": {}, "total": {}}, "required": ["total"]},
            },
        },
        {"name": "explain", "parameters": {}},
    ]
)


def found(*answers: Any, system: str = "") -> dict[str, tuple[list[int], str]]:
    rows = [
        Example(
            f"q {n}", each if isinstance(each, str) else json.dumps(each), Split.TRAIN, None, n + 1, system
        )
        for n, each in enumerate(answers)
    ]
    return {each.rule: (each.places.tolist(), each.message) for each in schemas(table_of(rows))}


def rule_of(**changes: Any) -> dict[str, Any]:
    return {"target": "cost", "transform": {"op": "divide", "by": 100}, "qualifiers": {}, **changes}


@pytest.mark.parametrize(
    ("changes", "rule", "reason"),
    [
        ({"target": "spend_usd"}, "unknown_target", "'spend_usd' is not a column of RMIS"),
        ({"target": 7}, "unknown_target", "7 is not a column of RMIS"),
        ({"transform": {"op": "guess"}}, "bad_transform", "op:"),
        ({"transform": {"op": "divide"}}, "bad_transform", "divide needs either by or by_field"),
        ({"transform": {"op": "divide", "by": 0}}, "bad_transform", "divide needs a positive number"),
        ({"transform": {"op": "none", "by": 2}}, "bad_transform", "none takes no by"),
        ({"transform": None}, "bad_transform", ""),
        ({"transform": ["divide"]}, "bad_transform", ""),
        (
            {"transform": {"op": "to_utc", "source_tz": "Mars/Base"}},
            "bad_transform",
            "no time zone 'Mars/Base'",
        ),
        ({"transform": {"op": "to_utc", "grain": "century"}}, "bad_transform", "no grain 'century'"),
        ({"transform": {"op": "pad_gtin", "to": 9}}, "bad_transform", "not 9"),
        ({"transform": {"op": "regex_split", "pattern": "("}}, "bad_transform", "no regular expression"),
        (
            {"transform": {"op": "regex_split", "numeric_goes_to": "x"}},
            "bad_transform",
            "'x' is not a column",
        ),
        (
            {"target": "device", "transform": {"op": "enum_map", "map": {"a": "fridge"}}},
            "bad_transform",
            "'fridge'",
        ),
        ({"qualifiers": {"touch": "hover"}}, "bad_qualifier", "touch is one of"),
        ({"qualifiers": {"window": 7}}, "bad_qualifier", "«window» is no qualifier"),
        ({"qualifiers": {"window_click_days": "two weeks"}}, "bad_qualifier", "whole number of days"),
        ({"qualifiers": [1]}, "bad_qualifier", "an object of names"),
    ],
)
def test_a_mapping_rule_that_cannot_be_used_is_found_with_the_reason(changes, rule, reason) -> None:
    told = found(rule_of(), rule_of(**changes), rule_of(target=None, transform={"op": "drop"}))
    assert set(told) == {rule}
    places, message = told[rule]
    assert places == [1]
    assert reason in message
    assert message.startswith("1 answer ")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"target": None, "transform": {"op": "none"}},
        {"target": "derived.ctr", "transform": {"op": "drop"}},
        {
            "target": "ts",
            "transform": {"op": "to_utc", "format": "iso", "source_tz": "Europe/Berlin", "grain": "day"},
        },
        {"target": "device", "transform": {"op": "enum_map", "map": {"phone": "mobile", "?": None}}},
        {"target": "cost_component.supply", "transform": "none"},
        {"qualifiers": {"window_click_days": 14, "touch": "click", "new_to_brand": True}},
        {"qualifiers": None},
    ],
)
def test_a_mapping_rule_that_can_be_used_is_left_alone(changes) -> None:
    assert found(rule_of(**changes)) == {}


def test_every_answer_of_an_rmis_set_is_held_to_the_schema() -> None:
    records = [{"ts": f"2026-01-02T03:04:{n:02d}Z", "clicks": n} for n in range(10)]
    told = found(*records, {"clicks": "many"}, {"foo": 1}, {"clicks": 1.5})
    assert told["rmis_record"][0] == [10, 11, 12]
    assert "clicks must be a whole number" in told["rmis_record"][1]
    assert found({"foo": 1}, {"bar": 2}, {"clicks": "many"}) == {}


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ({"tool": "", "arguments": {}}, "the tool has no name"),
        ({"tool": 5, "arguments": {}}, "the tool has no name"),
        ({"tool": "plan_budget", "arguments": "none"}, "arguments of plan_budget are no object"),
        ({"tool": "buy", "arguments": {}}, "no tool buy is offered"),
        ({"tool": "plan_budget", "arguments": {"weeks": 2}}, "plan_budget needs total"),
        ({"tool": "plan_budget", "arguments": {"total": 2, "days": 1}}, "plan_budget knows no days"),
    ],
)
def test_a_call_that_the_offered_tools_do_not_take_is_found(call, reason) -> None:
    good = {"tool": "plan_budget", "arguments": {"total": 10, "weeks": 2}}
    told = found(
        good, call, {"tool": "explain", "arguments": {"anything": 1}}, system=with_tools("Be brief.", TOOLS)
    )
    assert told["tool_call"][0] == [1]
    assert reason in told["tool_call"][1]


def test_where_no_tools_are_offered_only_the_form_of_a_call_is_checked() -> None:
    assert found({"tool": "buy", "arguments": {}}) == {}
    assert set(found({"tool": "buy", "arguments": []})) == {"tool_call"}
    assert found({"tool": "buy", "arguments": {}}, system="Tools: [broken") == {}


def test_many_rows_are_counted_with_the_first_reason_and_a_fix() -> None:
    rows = [Example(f"q {n}", json.dumps(rule_of(target="x")), Split.TRAIN, None, n) for n in range(3)]
    (each,) = schemas(table_of(rows))
    assert each.message.startswith(
        "3 answers name targets that RMIS does not have, the first one: 'x' is not"
    )
    assert each.fix is Fix.DROP_ROWS
