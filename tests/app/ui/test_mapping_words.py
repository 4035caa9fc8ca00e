"""Rules in words, and the transform that an operation begins with."""

import pytest

from app.ui.mappings.words import (
    OP_HELP,
    OP_WORDS,
    QUALIFIER_WORDS,
    carries_qualifiers,
    default_transform,
    ops_for,
    qualifier_words,
    rule_words,
    target_words,
    targets,
    transform_words,
)
from core.harmonize.records import Rule, Transform
from core.rmis.facts import FACT_COLUMNS
from core.rmis.vocabularies import QUALIFIERS, TransformOp


def test_every_operation_qualifier_and_column_has_words() -> None:
    assert set(OP_WORDS) == set(OP_HELP) == set(TransformOp)
    assert set(QUALIFIER_WORDS) == set(QUALIFIERS)
    assert sorted(targets()) == sorted(column.name for column in FACT_COLUMNS)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"op": "divide", "by": 1e6}, "÷ 1,000,000 (micros)"),
        ({"op": "divide", "by": 100}, "÷ 100 (cents)"),
        ({"op": "multiply", "by": 1000}, "× 1,000"),
        ({"op": "divide", "by_field": "fx"}, "÷ fx"),
        (
            {"op": "to_utc", "format": "%Y-%m-%d", "source_tz": "Europe/Berlin"},
            "time %Y-%m-%d, Europe/Berlin",
        ),
        ({"op": "enum_map", "map": {"a": "click", "b": "view"}}, "2 words"),
        ({"op": "pad_gtin"}, "GTIN, 14 digits"),
        ({"op": "drop"}, "leave out"),
    ],
)
def test_a_transform_in_words(told: dict[str, object], words: str) -> None:
    assert transform_words(Transform.model_validate(told)) == words


def test_qualifiers_in_words_leave_out_what_is_not_said() -> None:
    told = {"window_click_days": 14, "window_view_days": 0, "touch": "unspecified", "sku_scope": "same_sku"}
    assert qualifier_words(told) == "14 d click, 0 d view, same sku"
    assert qualifier_words({"new_to_brand": True, "model": None}) == "new to brand"
    assert qualifier_words({}) == ""


def test_a_rule_in_words() -> None:
    rule = Rule(source_field="Sales", target="attributed_sales", qualifiers={"window_click_days": 7})
    assert rule_words(rule) == "attributed_sales · copy · 7 d click"
    assert rule_words(None) == "–"
    assert rule_words(Rule(source_field="x", transform=Transform(op="drop"))) == "left out · leave out"


def test_targets_are_shown_with_their_group() -> None:
    assert target_words("clicks") == "clicks · delivery"
    assert target_words("cost_component.supply") == "cost_component.supply · money"
    assert target_words(None) == target_words("") == "No place in RMIS"


def test_only_outcomes_and_viewability_carry_qualifiers() -> None:
    assert carries_qualifiers("attributed_sales")
    assert carries_qualifiers("viewable_impressions")
    assert not carries_qualifiers("cost")
    assert not carries_qualifiers(None)


@pytest.mark.parametrize(
    "target", [None, "ts", "clicks", "cost", "sku", "placement_type", "campaign_name", "date_local"]
)
def test_every_operation_begins_with_a_valid_transform(target: str | None) -> None:
    assert sorted(ops_for(target)) == sorted(TransformOp)
    for op in ops_for(target):
        assert default_transform(op, target, ["Click", "x"]).op is op


def test_words_of_a_closed_list_are_found_by_themselves() -> None:
    made = default_transform(TransformOp.ENUM_MAP, "event_type", ["CLICK", "other"])
    assert made.map == {"CLICK": "click", "other": None}
