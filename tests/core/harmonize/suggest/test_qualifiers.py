"""The terms under which an outcome was counted."""

import pytest

from core.harmonize.records import Rule, SourceCard
from core.harmonize.suggest import qualifiers as terms
from core.harmonize.suggest.memory import ConfirmedRule, Memory
from core.harmonize.suggest.names import read_name
from core.harmonize.suggest.profile import profile_values
from core.harmonize.suggest.suggest import suggest

SALES, ORDERS = "attributed_sales", "attributed_conversions"


@pytest.mark.parametrize(
    ("name", "target", "said"),
    [
        ("attributedSales14dSameSKU", SALES, {"window_click_days": 14, "sku_scope": "same_sku"}),
        ("salesClicks14d", SALES, {"window_click_days": 14, "touch": "click"}),
        ("purchases_1d_view", ORDERS, {"window_view_days": 1, "touch": "view"}),
        ("post_view_convs", ORDERS, {"touch": "view"}),
        (
            "sales click_14d_view_1d",
            SALES,
            {"window_click_days": 14, "window_view_days": 1, "touch": "click_or_view"},
        ),
        ("7 Day Other SKU Sales", SALES, {"window_click_days": 7, "sku_scope": "other_sku"}),
        ("inStoreAttributedSales14days", SALES, {"window_click_days": 14, "sales_channel": "store"}),
        ("last-touch online revenue", SALES, {"model": "last_touch", "sales_channel": "online"}),
        ("conversions by conv. time", ORDERS, {"date_basis": "order"}),
        ("All conv. value", SALES, {"sku_scope": "all_goals"}),
        ("brand halo sales", SALES, {"sku_scope": "brand"}),
        ("repeat_customer_sales", SALES, {"new_to_brand": False}),
        ("売上金額(合計12時間)", SALES, {"window_click_days": None}),
        ("Umsatz", SALES, {}),
    ],
)
def test_a_name_says_its_terms(name: str, target: str, said: dict[str, object]) -> None:
    assert terms.terms_of_name(read_name(name), target) == said


@pytest.mark.parametrize(
    ("headline", "said"),
    [
        ({"window_click_days": 14, "touch": "unspecified", "model": None}, {"window_click_days": 14}),
        ("14d", {"window_click_days": 14}),
        (["sales14d"], {}),
        (None, {}),
    ],
)
def test_a_headline_is_read_in_each_form(headline: object, said: dict[str, object]) -> None:
    assert terms.terms_of_headline(SourceCard(headline=headline)) == said


BOTH = {"window_click_days": 14, "window_view_days": 1, "touch": "click_or_view"}


@pytest.mark.parametrize(
    ("name", "joined"),
    [
        ({}, BOTH),
        ({"touch": "click"}, {"touch": "click", "window_click_days": 14}),
        ({"touch": "view"}, {"touch": "view", "window_view_days": 1}),
        ({"window_click_days": 7}, {"window_click_days": 7, "touch": "click_or_view"}),
        ({"sku_scope": "same_sku"}, {"sku_scope": "same_sku", **BOTH}),
        ({"window_click_days": None}, {"touch": "click_or_view"}),
    ],
)
def test_the_headline_completes_only_what_fits(name: dict[str, object], joined: dict[str, object]) -> None:
    assert terms.join_terms(name, [BOTH]) == joined


def test_a_network_says_its_touch_and_an_unknown_network_nothing() -> None:
    amazon = SourceCard(network="Amazon Ads", report="Sponsored Products search term")
    assert terms.terms_of_network(amazon) == {"touch": "click"}
    assert terms.terms_of_network(SourceCard(network="Somewhere")) == {}
    assert terms.terms_of_network(None) == {}


def test_one_window_for_both_touches_holds_for_both() -> None:
    default = terms.terms_of_network(SourceCard(network="Amazon Ads", report="DSP campaign"))
    assert terms.both_windows({"window_click_days": 7}, default)["window_view_days"] == 7
    assert "window_view_days" not in terms.both_windows({"window_click_days": 7, "touch": "click"}, default)


def test_total_is_the_total_of_the_split_that_stands_beside_it() -> None:
    split = {"total": {}, "same": {"sku_scope": "same_sku"}, "shop": {"sales_channel": "store"}}
    assert terms.widen_total(split, ["total"])["total"] == {"sku_scope": "total", "sales_channel": "total"}
    assert terms.widen_total({"total": {}, "clicks": {"touch": "click"}}, ["total"])["total"] == {}


def test_orders_of_a_product_beside_those_of_its_shop_are_of_the_same_sku() -> None:
    concepts = {
        "Product Orders": frozenset({"product", "order"}),
        "Store Orders": frozenset({"store", "order"}),
    }
    split = terms.split_by_shop({name: {} for name in concepts}, concepts)
    assert split == {"Product Orders": {"sku_scope": "same_sku"}, "Store Orders": {"sku_scope": "total"}}
    alone = {"Product Sales": frozenset({"product", "sale"})}
    assert terms.split_by_shop({"Product Sales": {}}, alone) == {"Product Sales": {}}


def test_only_outcomes_take_terms() -> None:
    assert terms.takes_terms("ntb_sales")
    assert not terms.takes_terms("clicks")
    assert not terms.takes_terms(None)


_DAYS = ("7 Day Total Sales", "7 Day Total Orders (#)", "7 Day Total Units (#)")
_PARTS = ("7 Day Advertised SKU Units (#)", "7 Day Other SKU Units (#)", "7 Day Advertised SKU Sales")


def terms_in(names: tuple[str, ...], card: SourceCard) -> dict[str, dict[str, object]]:
    columns = [profile_values(name, ["5", "6", "9"]) for name in ("Impressions", "Clicks", "Spend", *names)]
    return {each.source_field: each.qualifiers for each in suggest(columns, card=card)}


@pytest.mark.parametrize("network", ["Amazon Ads", "North Ads"])
def test_totals_of_sales_units_and_orders_are_of_all_products_alike(network: str) -> None:
    made = terms_in((*_DAYS, *_PARTS), SourceCard(network=network, report="Sponsored Products"))
    assert {name: made[name]["sku_scope"] for name in _DAYS} == dict.fromkeys(_DAYS, "total")
    assert made[_PARTS[2]]["sku_scope"] == "same_sku"


def test_documentation_adds_no_terms_that_the_target_or_the_bare_number_implies() -> None:
    card = SourceCard(network="Amazon Ads", report="Sponsored Display campaigns")
    made = terms_in(("purchases", "sales", "salesPromotedClicks", "newToBrandSales"), card)
    both = {"window_click_days": 14, "window_view_days": 14, "touch": "click_or_view"}
    assert made["purchases"] == made["sales"] == made["newToBrandSales"] == both
    assert made["salesPromotedClicks"] == {"window_click_days": 14, "touch": "click", "sku_scope": "same_sku"}
    assert terms_in(_DAYS, SourceCard(network="Amazon Ads"))[_DAYS[0]]["window_click_days"] == 7


def test_what_a_person_confirmed_keeps_its_terms() -> None:
    said = {"window_click_days": 14, "sku_scope": "total", "model": "last_touch"}
    rule = Rule(source_field="Sales 14d", target="attributed_sales", qualifiers=said)
    memory = Memory((ConfirmedRule("North Ads", "Sales 14d", rule),))
    columns = [profile_values("Sales 14d", ["5.10", "6.20"]), profile_values("Clicks", ["1", "2"])]
    made = suggest(columns, card=SourceCard(network="North Ads"), memory=memory)
    assert made[0].qualifiers == said
