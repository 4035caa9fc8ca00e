from typing import Any

import pytest

from core.errors import InvalidInputError
from core.harmonize.headline import HeadlinePlan, is_measure, read_headline, split_headline
from core.harmonize.records import SourceCard
from tests.core.harmonize.apply_files import mapping_of

NONE = {"op": "none"}
WINDOWS = [
    ("sales7d", "attributed_sales", NONE, {"window_click_days": 7}),
    ("sales14d", "attributed_sales", NONE, {"window_click_days": 14}),
    ("sales30d", "attributed_sales", NONE, {"window_click_days": 30}),
    ("units7d", "attributed_units", NONE, {"window_click_days": 7}),
    ("units14d", "attributed_units", NONE, {"window_click_days": 14}),
]


def split(*rules: tuple[Any, ...], headline: Any = None, card: Any = None) -> HeadlinePlan:
    return split_headline(
        mapping_of(*rules, headline=headline), SourceCard(headline=card) if card is not None else None
    )


def chosen(plan: HeadlinePlan) -> dict[str, str]:
    return {target: rule.source_field for target, rule in plan.headline.items()}


def test_one_column_for_a_target_is_clear() -> None:
    plan = split(("s", "attributed_sales", NONE, {"window_click_days": 7}), ("c", "cost"))
    assert (chosen(plan), plan.apart, plan.conflicts) == ({"attributed_sales": "s"}, (), ())
    assert plan.qualifiers == {"window_click_days": 7}


@pytest.mark.parametrize(
    "headline",
    [
        {"window_click_days": 7},
        {"window_click_days": "7"},
        "7d",
        "7 day click",
        ["sales7d", "units7d"],
        "7d_click",
    ],
)
def test_the_headline_may_be_qualifiers_a_window_or_columns(headline: Any) -> None:
    plan = split(*WINDOWS, headline=headline)
    assert chosen(plan) == {"attributed_sales": "sales7d", "attributed_units": "units7d"}
    assert [rule.source_field for rule in plan.apart] == ["sales14d", "sales30d", "units14d"]
    assert plan.qualifiers["window_click_days"] == 7


def test_the_card_counts_for_more_than_the_mapping() -> None:
    plan = split(*WINDOWS, headline="7d", card="14d")
    assert chosen(plan) == {"attributed_sales": "sales14d", "attributed_units": "units14d"}


def test_without_a_headline_the_longest_window_that_all_have_is_taken_and_said() -> None:
    plan = split(*WINDOWS)
    assert chosen(plan) == {"attributed_sales": "sales14d", "attributed_units": "units14d"}
    assert len(plan.conflicts) == 2
    assert "sales7d" in plan.conflicts[0]


def test_the_total_comes_before_its_splits() -> None:
    plan = split(
        ("same", "attributed_sales", NONE, {"window_click_days": 30, "sku_scope": "same_sku"}),
        ("all", "attributed_sales", NONE, {"window_click_days": 14, "sku_scope": "total"}),
        (
            "store",
            "attributed_sales",
            NONE,
            {"window_click_days": 30, "sku_scope": "total", "sales_channel": "store"},
        ),
    )
    assert chosen(plan) == {"attributed_sales": "all"}


def test_new_to_brand_sales_do_not_contradict_the_others() -> None:
    plan = split(
        ("s", "attributed_sales", NONE, {"window_click_days": 14}),
        ("n", "ntb_sales", NONE, {"window_click_days": 14, "new_to_brand": True}),
        headline={"window_click_days": 14, "new_to_brand": False},
    )
    assert plan.conflicts == ()
    assert plan.qualifiers == {"window_click_days": 14, "new_to_brand": False}


def test_a_headline_that_no_column_fits_is_said() -> None:
    plan = split(*WINDOWS, headline="90d")
    assert chosen(plan)["attributed_sales"] == "sales14d"
    assert "90d" in plan.conflicts[0]


def test_what_the_headline_says_of_qualifiers_that_rules_leave_open_is_taken() -> None:
    plan = split(("s", "attributed_sales"), headline={"window_click_days": 14, "touch": "click"})
    assert plan.qualifiers == {"window_click_days": 14, "touch": "click"}
    assert plan.conflicts == ()


def test_columns_with_different_windows_leave_the_qualifier_blank_and_say_so() -> None:
    plan = split(
        ("s", "attributed_sales", NONE, {"window_click_days": 14, "touch": "click"}),
        ("u", "attributed_units", NONE, {"window_click_days": 30, "touch": "click"}),
    )
    assert plan.qualifiers == {"touch": "click"}
    assert "window_click_days" in plan.conflicts[0]


def test_other_measures_with_windows_are_told_apart_too() -> None:
    plan = split(
        ("d14", "detail_page_views", NONE, {"window_click_days": 14}),
        ("d30", "detail_page_views", NONE, {"window_click_days": 30}),
        ("v1", "viewable_impressions", NONE, {"viewability_standard": "mrc"}),
        headline="14d",
    )
    assert chosen(plan) == {"detail_page_views": "d14"}


def test_rules_that_are_dropped_or_stand_in_rows_of_their_own_are_no_candidates() -> None:
    plan = split(
        ("a", "attributed_sales", {"op": "drop"}, {"window_click_days": 30}),
        ("b", "attributed_sales", {"op": "explode", "const": {"channel": "online"}}),
        ("c", "attributed_sales", NONE, {"window_click_days": 7}),
    )
    assert chosen(plan) == {"attributed_sales": "c"}


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("14d", {"window_click_days": 14}),
        ("14d_click", {"window_click_days": 14, "touch": "click"}),
        ("7-day view", {"window_view_days": 7, "touch": "view"}),
        ("14d_click_1d_view", {"window_click_days": 14, "window_view_days": 1, "touch": "click_or_view"}),
        ("30 days", {"window_click_days": 30}),
    ],
)
def test_windows_in_words(text: str, stated: dict[str, Any]) -> None:
    assert read_headline(text) == (stated, ())


def test_a_text_without_a_window_names_a_column() -> None:
    assert read_headline("Total Sales") == ({}, ("Total Sales",))


def test_a_text_that_is_a_column_names_that_column_whatever_window_stands_in_it() -> None:
    plan = split(
        ("s14d", "attributed_sales", NONE, {"window_click_days": 14}),
        ("t14d", "attributed_sales"),
        headline="t14d",
    )
    assert chosen(plan) == {"attributed_sales": "t14d"}


def test_a_headline_of_unknown_qualifiers_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="windoww"):
        read_headline({"windoww": 14})


def test_measures_are_what_adds_up() -> None:
    adding = ["cost", "clicks", "attributed_sales", "cost_component.supply", "ntb_units"]
    others = ["price", "bid", "position", "campaign_id", "currency", "derived.roas", "nonsense"]
    assert [is_measure(name) for name in adding] == [True] * 5
    assert [is_measure(name) for name in others] == [False] * 7
