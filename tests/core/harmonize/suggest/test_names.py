"""What names mean. The oracle is what the public documentation of each report says of the column."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.harmonize.suggest.names import WINDOW, read_name


def meaning(name: str) -> str:
    senses = read_name(name).senses
    return max(senses, key=lambda target: senses[target].score) if senses else "?"


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("impr", "impressions"),
        ("numAdsShown", "impressions"),
        ("vertoningen", "impressions"),
        ("Показы", "impressions"),
        ("表示回数", "impressions"),
        ("노출수", "impressions"),
        ("clk", "clicks"),
        ("Klicks", "clicks"),
        ("Amount spent (USD)", "cost"),
        ("Coût", "cost"),
        ("metrics.cost_micros", "cost"),
        ("Ad Fees", "cost"),
        ("14 Day Total Sales", "attributed_sales"),
        ("Chiffre d'affaires", "attributed_sales"),
        ("GMV", "attributed_sales"),
        ("Conv. value", "attributed_sales"),
        ("売上金額(合計720時間)", "attributed_sales"),
        ("itemRevenue", "attributed_sales"),
        ("unitsSoldOtherSku14d", "attributed_units"),
        ("Qty", "attributed_units"),
        ("purchases7d", "attributed_conversions"),
        ("post_view_convs", "attributed_conversions"),
        ("New-to-brand orders", "ntb_conversions"),
        ("assistedSales", "assisted_sales"),
        ("campaign", "campaign_name"),
        ("campaign.id", "campaign_id"),
        ("ad_group_ad.ad.id", "creative_id"),
        ("adgroupid", "ad_group_id"),
        ("Line item name", "ad_group_name"),
        ("Customer search term", "search_term"),
        ("campaignBudgetCurrencyCode", "currency"),
        ("max_cpc_bid", "bid"),
        ("daily_budget", "budget"),
        ("buy type", "cost_model"),
        ("gtin14", "upc"),
        ("sale price", "promo_price"),
        ("Video plays at 100%", "video_completes"),
        ("atc", "add_to_cart"),
        ("idempotency_id", "dedup_key"),
        ("hashed_user_id", "user_id"),
        ("last_updated_at", "as_of"),
        ("unique reach", "reach"),
        ("retailer_net_revenue", "retailer_net_revenue"),
        ("platform_fee", "cost_component.platform_fee"),
    ],
)
def test_a_name_means_its_column(name: str, target: str) -> None:
    assert meaning(name) == target


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("clickThroughRate", "derived.ctr"),
        ("CPC medio", "derived.cpc"),
        ("Cost / conv.", "derived.cpa"),
        ("Conv. value / cost", "derived.roas"),
        ("ACoS", "derived.acos"),
        ("vCPM", "derived.cpm"),
        ("eCPC", "derived.cpc"),
        ("click conversion rate", "derived.cvr"),
        ("ntb_sales_pct", "derived.ntb_rate"),
        ("% Viewable Impressions", "derived.viewability_rate"),
        ("Average order value", ""),
        ("cost_per_add_to_cart", ""),
        ("VTR", ""),
        ("TACoS", ""),
        ("Search impr. share", ""),
        ("videoFirstQuartileViews", ""),
        ("Frequency", ""),
        ("invalid_clicks", ""),
        ("campaign_end_date", ""),
        ("country", ""),
    ],
)
def test_rates_and_what_rmis_has_no_place_for_are_no_measures(name: str, target: str) -> None:
    assert meaning(name) == target


def test_the_head_of_a_name_decides() -> None:
    assert meaning("campaign budget") == "budget"
    assert meaning("purchased product name") == "product_name"
    assert meaning("CPC sale amount") == "attributed_sales"


@pytest.mark.parametrize(
    ("name", "days"),
    [
        ("sales14d", [14]),
        ("L30 sales", [30]),
        ("7 Day Total Orders", [7]),
        ("conv_click_14d_view_1d", [14, 1]),
        ("売上金額(合計720時間)", [30]),
        ("売上金額(合計12時間)", [0.5]),
        ("attributedOrders3days", [3]),
        ("sales", []),
        ("gtin14", []),
    ],
)
def test_windows_are_read_in_days(name: str, days: list[float]) -> None:
    assert [piece.days for piece in read_name(name).pieces if piece.concept == WINDOW] == days


def test_a_misspelt_or_shortened_word_is_known_but_counts_less() -> None:
    assert meaning("campain name") == "campaign_name"
    assert meaning("cmpgn_nm") in ("campaign_name", "campaign_id")
    assert read_name("campain").score("campaign_name") < read_name("campaign").score("campaign_name")


def test_an_unknown_name_means_nothing() -> None:
    assert meaning("xqzv") == "?"


def test_what_stays_unexplained_lowers_the_score() -> None:
    assert read_name("impressions").score("impressions") > read_name("campaign impressions").score(
        "impressions"
    )
    assert read_name("impression share").score("impressions") < 0.4


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300))
def test_any_name_is_read_within_a_moment(name: str) -> None:
    started = time.process_time()
    reading = read_name(name)
    assert time.process_time() - started < 2
    assert all(0 <= sense.score <= 1 for sense in reading.senses.values())
