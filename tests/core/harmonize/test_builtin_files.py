"""The built-in mappings: every file is a valid mapping with its source, and no rule sums what must not be summed."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import pytest
import yaml

import core.harmonize
from core.harmonize.records import Mapping, Rule, Transform
from core.rmis.facts import FactGroup, FactType, fact_column
from core.rmis.vocabularies import Grain, TransformOp

FOLDER = Path(core.harmonize.__file__).parent / "builtin"
FILES = sorted(FOLDER.glob("*.yaml"))
# A word of a name: camelCase, snake_case, dotted and spaced names fall apart; «AverageCpc» is average, cpc.
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
RATE_WORDS = {
    "ctr",
    "vctr",
    "cpc",
    "ecpc",
    "cpm",
    "ecpm",
    "cpo",
    "cpa",
    "acos",
    "roas",
    "cvr",
    "rate",
    "percentage",
}
ZONES = available_timezones() | {"UTC"}
ID_TARGETS_BY_OP = {TransformOp.STRING_ID, TransformOp.PSEUDONYMIZE, TransformOp.DEDUP, TransformOp.PAD_GTIN}


@dataclass(frozen=True)
class BuiltIn:
    """One file: what it says of itself, and its mapping."""

    stem: str
    about: dict[str, Any]
    mapping: Mapping

    @property
    def by_field(self) -> dict[str, Rule]:
        return {rule.source_field: rule for rule in self.mapping.rules}

    @property
    def kept(self) -> list[Rule]:
        return [rule for rule in self.mapping.rules if not rule.dropped]


@cache
def built_in(path: Path) -> BuiltIn:
    document = yaml.CSafeLoader(path.read_text(encoding="utf-8")).get_single_data()
    about = document.pop("builtin")
    return BuiltIn(path.stem, about, Mapping.model_validate(document))


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def one(request: pytest.FixtureRequest) -> BuiltIn:
    return built_in(request.param)


def named(stem: str) -> BuiltIn:
    return built_in(FOLDER / f"{stem}.yaml")


def is_outcome(target: str | None) -> bool:
    column = fact_column(target or "")
    return column is not None and column.group is FactGroup.OUTCOME


def in_headline(rule: Rule, headline: object) -> bool:
    if isinstance(headline, list):
        return rule.source_field in headline
    if isinstance(headline, dict):
        return all(rule.qualifiers.get(name) == value for name, value in headline.items())
    return not rule.qualifiers


def words_of(name: str) -> list[str]:
    return [word.lower() for word in WORD.findall(name)]


def names_a_rate(name: str) -> bool:
    # eBay begins the names of its click-priced campaigns with cpc_; the rate stands behind it.
    return bool(RATE_WORDS & set(words_of(name.removeprefix("cpc_"))))


# What every file holds


def test_there_are_mappings_for_the_reports_that_people_meet_most() -> None:
    networks = {built_in(path).mapping.network for path in FILES}
    assert len(FILES) >= 25
    assert {"amazon_ads", "amazon_marketing_stream", "amazon_marketing_cloud", "walmart_connect"} <= networks
    assert {"criteo", "instacart", "roundel"} <= networks


def test_no_two_files_speak_of_the_same_report() -> None:
    reports = [(built_in(path).mapping.network, built_in(path).mapping.report) for path in FILES]
    assert len(set(reports)) == len(reports)


def test_the_folder_holds_mappings_alone() -> None:
    assert sorted(FOLDER.iterdir()) == FILES


def test_a_file_says_where_it_was_documented(one: BuiltIn) -> None:
    assert set(one.about) <= {"source", "documented", "aliases", "stands_in"}
    assert re.fullmatch(r"https://[a-z0-9.-]+\.[a-z]{2,}/\S+", one.about["source"])
    if "documented" in one.about:
        assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", one.about["documented"])


def test_a_file_says_what_it_maps_and_knows_no_retailer_of_its_own(one: BuiltIn) -> None:
    assert one.mapping.retailer == ""
    assert one.mapping.network
    assert one.mapping.report
    assert one.mapping.version == 1
    assert one.mapping.account_timezone in ZONES
    assert one.stem.startswith(one.mapping.network.split("_")[0])


def test_a_column_is_named_once(one: BuiltIn) -> None:
    fields = [rule.source_field for rule in one.mapping.rules]
    assert len(set(fields)) == len(fields)
    assert len(fields) >= 6


def test_a_file_survives_a_round_trip_as_a_plain_mapping(one: BuiltIn) -> None:
    assert Mapping.model_validate(one.mapping.plain()) == one.mapping


# Nothing is summed twice


def test_a_column_of_rmis_that_is_no_outcome_has_one_rule(one: BuiltIn) -> None:
    targets = [rule.target for rule in one.kept if not is_outcome(rule.target)]
    assert sorted(set(targets)) == sorted(targets)


def test_two_outcome_numbers_of_one_target_differ_in_their_qualifiers(one: BuiltIn) -> None:
    said = [
        (rule.target, tuple(sorted(rule.qualifiers.items()))) for rule in one.kept if is_outcome(rule.target)
    ]
    assert len(set(said)) == len(said)


def test_the_headline_chooses_one_number_for_every_outcome_that_has_several(one: BuiltIn) -> None:
    outcomes = [rule for rule in one.kept if is_outcome(rule.target)]
    for target in {rule.target for rule in outcomes}:
        candidates = [rule for rule in outcomes if rule.target == target]
        chosen = [rule for rule in candidates if in_headline(rule, one.mapping.headline)]
        assert len(candidates) == 1 or len(chosen) == 1, (target, [rule.source_field for rule in chosen])


def test_a_headline_names_columns_or_qualifiers_that_the_file_has(one: BuiltIn) -> None:
    headline = one.mapping.headline
    if isinstance(headline, list):
        assert set(headline) <= {rule.source_field for rule in one.kept if is_outcome(rule.target)}
    elif isinstance(headline, dict):
        assert any(in_headline(rule, headline) for rule in one.kept if is_outcome(rule.target))


def test_a_derived_rate_is_left_out(one: BuiltIn) -> None:
    for rule in one.mapping.rules:
        column = fact_column(rule.target or "")
        if column is not None and column.group is FactGroup.DERIVED:
            assert rule.transform.op is TransformOp.DROP, rule.source_field


def test_a_column_with_the_name_of_a_rate_is_left_out(one: BuiltIn) -> None:
    for rule in one.kept:
        assert not names_a_rate(rule.source_field), rule.source_field


def test_the_check_for_names_of_rates_sees_them() -> None:
    for name in ("clickThroughRate", "AverageCpc", "broad_roas", "eCPM", "event.ctr", "ECPM_IN_MICRO_DOLLAR"):
        assert names_a_rate(name), name
    for name in ("costType", "cpc_impressions", "creative_name"):
        assert not names_a_rate(name), name


# Units, clocks, identifiers, words


def test_an_identifier_keeps_every_digit(one: BuiltIn) -> None:
    for rule in one.kept:
        column = fact_column(rule.target or "")
        assert column is not None
        if column.dtype is FactType.IDENTIFIER:
            assert rule.transform.op in ID_TARGETS_BY_OP, rule.source_field


def test_a_user_is_never_kept_by_name(one: BuiltIn) -> None:
    for rule in one.kept:
        if rule.target == "user_id":
            assert rule.transform.op is TransformOp.PSEUDONYMIZE


def test_a_gtin_is_padded(one: BuiltIn) -> None:
    for rule in one.kept:
        if rule.target == "upc":
            assert rule.transform == Transform(op=TransformOp.PAD_GTIN, to=14)


def test_a_time_has_its_format_its_clock_and_its_grain(one: BuiltIn) -> None:
    for rule in one.kept:
        if rule.target == "ts":
            check_clock(rule.transform)


def check_clock(transform: Transform) -> None:
    assert transform.op is TransformOp.TO_UTC
    assert transform.format == "iso" or "%" in str(transform.format)
    assert transform.source_tz == "account_timezone" or transform.source_tz in ZONES
    assert transform.grain in tuple(Grain)


def test_micros_in_a_name_are_divided_by_a_million(one: BuiltIn) -> None:
    for rule in one.kept:
        if {"micros", "micro"} & set(words_of(rule.source_field)):
            assert rule.transform == Transform(op=TransformOp.DIVIDE, by=1e6), rule.source_field


def test_a_closed_word_is_translated_into_words_of_rmis(one: BuiltIn) -> None:
    for rule in one.kept:
        column = fact_column(rule.target or "")
        assert column is not None
        if column.dtype is FactType.WORD:
            assert rule.transform.op is TransformOp.ENUM_MAP, rule.source_field
            assert set((rule.transform.map or {}).values()) <= {*column.words, None}, rule.source_field


# Qualifiers agree with the names


def test_a_window_in_the_name_is_the_window_of_the_rule(one: BuiltIn) -> None:
    for rule in one.kept:
        told = re.search(r"(\d+)(?:d|days)(?![a-z])", rule.source_field)
        if told and is_outcome(rule.target):
            windows = {rule.qualifiers.get("window_click_days"), rule.qualifiers.get("window_view_days")} - {
                None
            }
            assert windows == {int(told[1])}, rule.source_field


def test_clicks_or_views_at_the_end_of_an_outcome_are_its_touch(one: BuiltIn) -> None:
    for rule in one.kept:
        last = words_of(re.sub(r"_?\d+d$", "", rule.source_field))[-1]
        if is_outcome(rule.target) and last in {"clicks", "views"}:
            assert rule.qualifiers["touch"] == last.removesuffix("s"), rule.source_field


def test_same_and_other_sku_in_a_name_are_the_scope(one: BuiltIn) -> None:
    for rule in one.kept:
        flat = "".join(words_of(rule.source_field))
        if is_outcome(rule.target) and "samesku" in flat:
            assert rule.qualifiers["sku_scope"] == "same_sku", rule.source_field
        if is_outcome(rule.target) and ("othersku" in flat or "indirect" in flat):
            assert rule.qualifiers["sku_scope"] == "other_sku", rule.source_field


def test_a_new_to_brand_number_says_so(one: BuiltIn) -> None:
    for rule in one.kept:
        if is_outcome(rule.target):
            assert bool(rule.qualifiers.get("new_to_brand")) is str(rule.target).startswith("ntb_")


# Aliases and stand-ins


def test_an_alias_is_another_name_of_a_column_of_the_file(one: BuiltIn) -> None:
    for heading, field in one.about.get("aliases", {}).items():
        assert field in one.by_field, heading
        assert heading not in one.by_field


def test_a_stand_in_is_a_dropped_column_beside_a_kept_one(one: BuiltIn) -> None:
    for entry in one.about.get("stands_in", []):
        assert set(entry) <= {"source_field", "instead_of", "transform"}
        assert one.by_field[entry["source_field"]].dropped
        principal = one.by_field[entry["instead_of"]]
        assert not principal.dropped
        transform = Transform.model_validate(entry.get("transform", {"op": "none"}))
        Rule(source_field=entry["source_field"], target=principal.target, transform=transform)
        if principal.target == "ts":
            check_clock(transform)


# What the documents say, by hand


def test_amazon_sponsored_products_count_clicks_of_fourteen_days() -> None:
    rule = named("amazon_ads_sp_campaigns").by_field["sales14d"]
    assert rule.target == "attributed_sales"
    assert rule.transform.op is TransformOp.NONE
    assert rule.qualifiers == {"window_click_days": 14, "touch": "click", "sku_scope": "total"}


def test_amazon_spend_is_cost_once() -> None:
    fields = named("amazon_ads_sp_campaigns").by_field
    assert not fields["cost"].dropped
    assert fields["spend"].dropped
    assert fields["spend"].target == "cost"


def test_a_summary_without_a_day_takes_its_time_from_the_first_day() -> None:
    entries = {entry["source_field"]: entry for entry in named("amazon_ads_sp_campaigns").about["stands_in"]}
    assert entries["startDate"]["instead_of"] == "date"
    assert entries["startDate"]["transform"]["grain"] == "aggregate"


def test_the_headings_of_the_console_are_known() -> None:
    aliases = named("amazon_ads_sp_search_term").about["aliases"]
    assert aliases["7 Day Total Sales"] == "sales7d"
    assert aliases["Customer Search Term"] == "searchTerm"
    assert named("amazon_ads_sb_campaigns").about["aliases"]["14 Day Total Orders (#)"] == "purchases"


def test_the_bought_product_is_the_product_of_a_purchase_report() -> None:
    fields = named("amazon_ads_sp_purchased_product").by_field
    assert fields["purchasedAsin"].target == "product_id"
    assert fields["advertisedAsin"].dropped


def test_an_order_of_the_dsp_is_a_campaign() -> None:
    fields = named("amazon_ads_dsp_campaign").by_field
    assert fields["orderId"].target == "campaign_id"
    assert fields["lineItemId"].target == "ad_group_id"
    assert not any(rule.target == "order_id" for rule in fields.values())


def test_older_sponsored_brands_numbers_hold_views_too() -> None:
    brands = named("amazon_ads_v2_sponsored_brands").by_field["attributedSales14d"]
    products = named("amazon_ads_v2_sponsored_products").by_field["attributedSales14d"]
    assert brands.qualifiers["touch"] == "click_or_view"
    assert products.qualifiers["touch"] == "click"


@pytest.mark.parametrize(
    "stem", [path.stem for path in FILES if path.stem.startswith("amazon_marketing_stream")]
)
def test_a_stream_is_deduplicated_and_its_deltas_are_summed(stem: str) -> None:
    stream = named(stem)
    if stem.endswith("budget_usage"):
        return
    assert stream.by_field["idempotency_id"].target == "dedup_key"
    assert stream.by_field["idempotency_id"].transform.op is TransformOp.DEDUP
    assert stream.by_field["time_window_start"].transform.grain == "hour"
    for rule in stream.kept:
        column = fact_column(str(rule.target))
        assert column is not None
        measured = column.group in {FactGroup.DELIVERY, FactGroup.MONEY, FactGroup.OUTCOME}
        if measured and rule.target != "currency":
            assert rule.transform.op is TransformOp.SUM_DELTA, rule.source_field


@pytest.mark.parametrize(
    ("stem", "column", "divisor"),
    [
        ("amazon_marketing_cloud_dsp_impressions", "total_cost", 1e5),
        ("amazon_marketing_cloud_dsp_impressions", "supply_cost", 1e8),
        ("amazon_marketing_cloud_dsp_impressions", "audience_fee", 1e8),
        ("amazon_marketing_cloud_dsp_impressions", "campaign_budget_amount", 1e5),
        ("amazon_marketing_cloud_dsp_impressions", "bid_price", 1e8),
        ("amazon_marketing_cloud_dsp_clicks", "click_cost", 1e5),
        ("amazon_marketing_cloud_sponsored_ads_traffic", "spend", 1e8),
        ("google_ads_shopping_performance", "metrics.cost_micros", 1e6),
        ("pinterest_ads_analytics", "SPEND_IN_MICRO_DOLLAR", 1e6),
    ],
)
def test_money_is_divided_as_its_document_says(stem: str, column: str, divisor: float) -> None:
    assert named(stem).by_field[column].transform == Transform(op=TransformOp.DIVIDE, by=divisor)


def test_a_clock_that_says_z_but_is_local_is_not_the_time_of_a_clean_room_row() -> None:
    impressions = named("amazon_marketing_cloud_dsp_impressions")
    assert impressions.by_field["impression_dt_utc"].transform.source_tz == "UTC"
    assert impressions.by_field["impression_dt"].dropped
    local = {entry["source_field"]: entry["transform"] for entry in impressions.about["stands_in"]}
    assert local["impression_dt"]["source_tz"] == "account_timezone"
    assert local["impression_dt"]["format"].endswith("Z")


def test_fees_that_stand_on_every_conversion_are_not_summed() -> None:
    fields = named("amazon_marketing_cloud_attributed_events_by_conversion_time").by_field
    for column in ("supply_cost", "audience_fee", "click_cost", "clicks", "impressions"):
        assert fields[column].dropped, column


def test_the_revenue_of_the_retailer_is_the_cost_of_the_advertiser() -> None:
    fields = named("vtex_ads_campaigns").by_field
    assert fields["ad_revenue"].target == "cost"
    assert fields["sales_revenue"].target == "attributed_sales"


def test_numbers_with_misleading_names_are_taken_for_what_they_are() -> None:
    assert named("shopee_campaign_daily").by_field["broad_order_amount"].target == "attributed_units"
    assert named("shopee_shop_daily").by_field["broad_conversions"].target == "derived.cvr"
    assert named("ebay_promoted_listings_general").by_field["sales"].target == "attributed_conversions"
    assert named("otto_sponsored_product_ads").by_field["TOTAL_VIEWS"].target == "impressions"
    assert named("amazon_marketing_stream_sb_traffic").by_field["placement_type"].target == "placement"


def test_store_sales_of_walmart_are_marked_as_such() -> None:
    fields = named("walmart_connect_ad_item").by_field
    assert fields["inStoreAttributedSales14days"].qualifiers["sales_channel"] == "store"
    assert "sales_channel" not in fields["attributedSales14days"].qualifiers
    assert named("walmart_connect_display_campaign").mapping.account_timezone == "America/New_York"


def test_uber_numbers_know_the_day_they_are_counted_on() -> None:
    fields = named("uber_ad_performance").by_field
    assert fields["sales_7d_on_order_date"].qualifiers["date_basis"] == "order"
    assert fields["sales_7d_on_click_date"].qualifiers["date_basis"] == "interaction"
    assert fields["exposed_sales_7d_on_impression_date"].qualifiers["touch"] == "view"


def test_assisted_sales_are_never_attributed_sales() -> None:
    fields = named("criteo_line_items").by_field
    assert fields["assistedSales"].target == "assisted_sales"
    assert fields["attributedSales"].qualifiers == {"touch": "click_or_view", "model": "last_touch"}
