"""Harmonized rows become a delivery response whose every number can be checked by hand."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from core.errors import InvalidInputError
from core.harmonize.export_adcp import to_adcp
from core.harmonize.records import SourceCard
from core.rmis.adcp import adcp_problems

CARD = SourceCard(retailer="Alpha", account_timezone="America/New_York", currency="USD")
#: Midnight of 4 March 2026 in New York.
MIDNIGHT = datetime(2026, 3, 4, 5, tzinfo=UTC)


def rows(**changes: Any) -> pl.DataFrame:
    told = {
        "ts": [MIDNIGHT, MIDNIGHT, MIDNIGHT + timedelta(days=1), MIDNIGHT],
        "grain": ["day"] * 4,
        "date_local": [date(2026, 3, 4), date(2026, 3, 4), date(2026, 3, 5), date(2026, 3, 4)],
        "campaign_id": ["900719925474099301", "900719925474099301", "900719925474099301", "B"],
        "campaign_status": ["Paused", "Paused", None, "ENABLED"],
        "ad_group_id": ["g1", "g2", "g1", None],
        "cost_model": ["cpc", "cpm", "cpc", None],
        "impressions": [1000, 2000, 500, 100],
        "measurable_impressions": [800, None, None, None],
        "viewable_impressions": [600, None, None, None],
        "clicks": [10, 20, 10, 0],
        "cost": [0.1, 0.2, 20.0, None],
        "currency": ["USD"] * 4,
        "attributed_conversions": [1, 3, 0, None],
        "attributed_units": [1, 4, 0, None],
        "attributed_sales": [10.0, 30.6, 0.0, None],
        "ntb_conversions": [1, 0, 0, None],
        "window_click_days": [14] * 4,
        "touch": ["click"] * 4,
        "sku_scope": ["total"] * 4,
        "suppressed": [False, False, True, None],
    }
    return pl.DataFrame({**told, **changes})


def test_the_whole_is_the_sum_of_the_rows() -> None:
    document = to_adcp(rows().lazy(), CARD)
    assert document["aggregated_totals"] == {
        "impressions": 3600,
        "spend": 20.3,
        "clicks": 40,
        "conversions": 4,
        "conversion_value": 40.6,
        "units_sold": 5,
        "ctr": round(40 / 3600, 6),
        "cost_per_click": 0.5075,
        "cpm": round(20.3 / 3600 * 1000, 6),
        "cost_per_acquisition": 5.075,
        "roas": 2.0,
        "new_to_brand_rate": 0.25,
        "viewability": {"measurable_impressions": 800, "viewable_impressions": 600, "viewable_rate": 0.75},
        "media_buy_count": 2,
    }
    assert (document["status"], document["adcp_version"], document["currency"]) == ("completed", "3.1", "USD")


def test_the_period_ends_at_midnight_of_the_account() -> None:
    assert to_adcp(rows(), CARD)["reporting_period"] == {
        "start": "2026-03-04T05:00:00Z",
        "end": "2026-03-06T05:00:00Z",
    }
    short = rows().with_columns(
        ts=pl.lit(datetime(2026, 3, 8, 5, tzinfo=UTC)), date_local=pl.lit(date(2026, 3, 8))
    )
    period: Any = to_adcp(short, CARD)["reporting_period"]
    assert period["end"] == "2026-03-09T04:00:00Z"  # that day had 23 hours


def test_a_campaign_is_a_media_buy_with_its_packages_and_days() -> None:
    first, second = cast(to_adcp(rows(), CARD)["media_buy_deliveries"])
    assert (first["media_buy_id"], first["status"]) == ("900719925474099301", "paused")
    assert [(p["package_id"], p["pricing_model"], p["rate"], p["spend"]) for p in first["by_package"]] == [
        ("g1", "cpc", 1.005, 20.1),
        ("g2", "cpm", 0.1, 0.2),
    ]
    assert [(d["date"], d["impressions"], d["spend"]) for d in first["daily_breakdown"]] == [
        ("2026-03-04", 3000, 0.3),
        ("2026-03-05", 500, 20),
    ]
    assert (second["media_buy_id"], second["status"], second["by_package"]) == ("B", "active", [])


def test_what_was_not_reported_is_left_out_and_a_missing_spend_is_named() -> None:
    document = to_adcp(rows(), CARD)
    second = cast(document["media_buy_deliveries"])[1]
    assert second["totals"] == {"spend": 0.0, "impressions": 100, "clicks": 0, "ctr": 0.0}
    assert "daily_breakdown" not in second
    assert cast(document["ext"])["rmis"]["spend_not_reported"] == ["B"]


def test_qualifiers_go_along() -> None:
    document = to_adcp(rows(), CARD)
    assert document["attribution_window"] == {"post_click": {"interval": 14, "unit": "days"}}
    assert cast(document["ext"])["rmis"] == {
        "qualifiers": {"window_click_days": 14, "touch": "click", "sku_scope": "total"},
        "spend_not_reported": ["B"],
        "suppressed_rows": 1,
    }
    given = to_adcp(
        rows().drop("window_click_days", "touch", "sku_scope"),
        CARD,
        qualifiers={"window_click_days": 7, "window_view_days": 1, "model": "last_touch"},
    )
    assert given["attribution_window"] == {
        "post_click": {"interval": 7, "unit": "days"},
        "post_view": {"interval": 1, "unit": "days"},
        "model": "last_touch",
    }


def test_outcomes_of_two_windows_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="window_click_days is 7, 14"):
        to_adcp(rows(window_click_days=[7, 14, 14, 14]), CARD)


def test_two_currencies_and_none_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="EUR, USD"):
        to_adcp(rows(currency=["USD", "EUR", "USD", "USD"]), CARD)
    with pytest.raises(InvalidInputError, match="Neither they nor the card"):
        to_adcp(rows().drop("currency"), SourceCard())
    assert to_adcp(rows().drop("currency"), CARD)["currency"] == "USD"


@pytest.mark.parametrize("name", ["campaign_id", "cost", "ts"])
def test_rows_without_the_needed_columns_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"no {name}"):
        to_adcp(rows().drop(name), CARD)


def test_rows_that_adcp_cannot_say_are_refused_with_the_place() -> None:
    with pytest.raises(InvalidInputError, match=r"cost_per_acquisition: -5\.175 is less than"):
        to_adcp(rows(cost=[-1.0, 0.2, -20.0, 0.1]), CARD)
    with pytest.raises(InvalidInputError, match="ctr"):
        to_adcp(rows(clicks=[9000, 0, 0, 0]), CARD)


def test_no_rows_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="no rows with a time"):
        to_adcp(rows().head(0), CARD)


def test_single_events_are_counted() -> None:
    events = pl.DataFrame(
        {
            "ts": ["2026-03-04T23:30:00Z", "2026-03-05T04:30:00Z", "2026-03-05T05:30:00Z"],
            "grain": ["event"] * 3,
            "event_type": ["impression", "click", "impression"],
            "campaign_id": ["A"] * 3,
            "cost": [0.0, 0.8, None],
        }
    )
    document = to_adcp(events, CARD)
    assert document["reporting_period"] == {"start": "2026-03-04T23:30:00Z", "end": "2026-03-05T05:30:01Z"}
    delivery = cast(document["media_buy_deliveries"])[0]
    assert delivery["totals"] == {
        "impressions": 2,
        "clicks": 1,
        "spend": 0.8,
        "ctr": 0.5,
        "cost_per_click": 0.8,
        "cpm": 400.0,
    }
    assert [day["date"] for day in delivery["daily_breakdown"]] == ["2026-03-04"]


def test_reach_is_never_added() -> None:
    assert "reach" not in cast(to_adcp(rows().with_columns(reach=pl.lit(50)), CARD)["aggregated_totals"])


def test_the_check_names_the_place_of_a_fault() -> None:
    document = to_adcp(rows(), CARD)
    assert adcp_problems(document) == []
    deliveries = cast(document["media_buy_deliveries"])
    del deliveries[0]["totals"]["spend"]
    deliveries[1]["status"] = "ENABLED"
    problems = adcp_problems({**document, "currency": "usd"})
    assert [problem.split(":")[0] for problem in problems] == [
        "currency",
        "media_buy_deliveries.0.totals",
        "media_buy_deliveries.1.status",
    ]


def cast(value: object) -> Any:
    return value
