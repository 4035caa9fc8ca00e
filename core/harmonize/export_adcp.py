"""Harmonized rows as an AdCP media buy delivery response: totals for each campaign, its ad groups and its days.

Version 3.1 of the Ad Context Protocol (https://github.com/adcontextprotocol/adcp). A campaign is a media buy, an ad
group a package. What RMIS knows and AdCP has no field for (scope of products, channel, basis of the date) stands in
`ext.rmis`, so that the numbers keep their meaning. Reach is left out: it cannot be added over rows.
"""

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from types import MappingProxyType
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from core.errors import InvalidInputError
from core.harmonize.adcp_metrics import metrics, package_of, sum_of, sums_of
from core.harmonize.records import Qualifier, SourceCard
from core.rmis.adcp import adcp_problems
from core.rmis.vocabularies import QUALIFIERS

ADCP_VERSION = "3.1"
STATUS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("paused", "suspended"), "paused"),
        **dict.fromkeys(("completed", "complete", "ended", "finished", "archived", "closed"), "completed"),
        **dict.fromkeys(("scheduled", "pending", "pending_start"), "pending_start"),
        **dict.fromkeys(("canceled", "cancelled"), "canceled"),
        **dict.fromkeys(("rejected", "failed"), "rejected"),
    }
)
_DAY = "__day"
_GRAINS: Mapping[str, timedelta] = MappingProxyType(
    {"hour": timedelta(hours=1), "event": timedelta(seconds=1)}
)


def to_adcp(
    frame: pl.LazyFrame | pl.DataFrame,
    card: SourceCard | None,
    *,
    qualifiers: Mapping[str, Qualifier] | None = None,
) -> dict[str, object]:
    """A delivery response (plain data, ready for JSON) that has been validated against the AdCP schema.

    `qualifiers` are those of the outcomes where the frame has no columns of them. Raises InvalidInputError where there
    is no campaign, cost, currency or time, where there are several currencies or outcomes of several meanings, and
    where the rows cannot be said in AdCP (a sum below zero, more clicks than impressions).
    """
    lazy = _with_counts(frame.lazy())
    columns = set(lazy.collect_schema().names())
    _require(columns)
    lazy = _with_day(lazy, columns, card)
    meaning = _meaning(lazy, columns, qualifiers or {})
    currency = _currency(lazy, columns, card)
    deliveries = _deliveries(lazy, columns, currency)
    totals = metrics(sums_of(lazy, [])[0], meaning)
    document: dict[str, object] = {
        "status": "completed",
        "adcp_version": ADCP_VERSION,
        "reporting_period": _period(lazy, card),
        "currency": currency,
        **_window(meaning),
        "media_buy_deliveries": deliveries,
        **_extension(lazy, columns, meaning),
    }
    if "impressions" in totals:
        document["aggregated_totals"] = {**totals, "media_buy_count": len(deliveries)}
    if problems := adcp_problems(document):
        raise InvalidInputError(
            "These rows cannot be written as AdCP delivery metrics.",
            "; ".join(problems[:3]) + ".",
            "Look at the findings of these rows: units, swapped columns, or corrections without their originals.",
        )
    return document


def _require(columns: set[str]) -> None:
    missing = [name for name in ("campaign_id", "cost", "ts") if name not in columns]
    if missing:
        raise InvalidInputError(
            "These rows cannot be written as AdCP delivery metrics.",
            f"They have no {', '.join(missing)}.",
            "Map these columns first.",
        )


def _with_counts(lazy: pl.LazyFrame) -> pl.LazyFrame:
    """Single events count as one impression or click each, where the rows have no counts of their own."""
    schema = lazy.collect_schema()
    if "event_type" not in schema or "impressions" in schema or "clicks" in schema:
        return lazy
    word = pl.col("event_type").cast(pl.String)
    return lazy.with_columns(
        (word == "impression").cast(pl.Int64).alias("impressions"),
        (word == "click").cast(pl.Int64).alias("clicks"),
    )


def _with_day(lazy: pl.LazyFrame, columns: set[str], card: SourceCard | None) -> pl.LazyFrame:
    """Each row's day of the account: `date_local` where it is there."""
    schema = lazy.collect_schema()
    if schema["ts"] == pl.String:
        lazy = lazy.with_columns(
            pl.col("ts").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us").dt.replace_time_zone("UTC")
        )
    elif not isinstance(schema["ts"], pl.Datetime) or schema["ts"].time_zone is None:
        raise InvalidInputError("The column ts holds no times in UTC.", "", "Harmonize the rows first.")
    if "date_local" in columns:
        day = pl.col("date_local")
        return lazy.with_columns(
            (day if schema["date_local"] == pl.Date else day.str.to_date("%Y-%m-%d")).alias(_DAY)
        )
    return lazy.with_columns(pl.col("ts").dt.convert_time_zone(_zone(card).key).dt.date().alias(_DAY))


def _zone(card: SourceCard | None) -> ZoneInfo:
    try:
        return ZoneInfo(card.account_timezone if card else "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidInputError(
            "The card's time zone is not known.", "It must be an IANA name.", "Write it as America/New_York."
        ) from None


def _meaning(lazy: pl.LazyFrame, columns: set[str], given: Mapping[str, Qualifier]) -> dict[str, Qualifier]:
    """The qualifiers of the outcomes, one value each. Several would mean sums of unlike numbers."""
    told: dict[str, Qualifier] = {name: value for name, value in given.items() if value is not None}
    names = [name for name in QUALIFIERS if name in columns]
    if not names:
        return told
    values = (
        lazy.select(pl.col(name).drop_nulls().unique().sort().implode() for name in names)
        .collect()
        .row(0, named=True)
    )
    for name, found in values.items():
        if len(found) > 1:
            raise InvalidInputError(
                "Outcomes of different meanings cannot be added.",
                f"{name} is {', '.join(map(str, found[:5]))} in these rows.",
                f"Export the rows of each {name} on their own.",
            )
        if found:
            told[name] = found[0]
    return told


def _currency(lazy: pl.LazyFrame, columns: set[str], card: SourceCard | None) -> str:
    found = [card.currency] if card and card.currency else []
    if "currency" in columns:
        found = (
            lazy.select(pl.col("currency").cast(pl.String).drop_nulls().unique().sort())
            .collect()
            .to_series()
            .to_list()
        )
        found = found or ([card.currency] if card and card.currency else [])
    if len(found) != 1 or found[0] is None:
        said = f"They are in {', '.join(map(str, found))}." if found else "Neither they nor the card say it."
        raise InvalidInputError(
            "AdCP needs one currency for all rows.", said, "Export the rows of one currency."
        )
    return str(found[0])


def _deliveries(lazy: pl.LazyFrame, columns: set[str], currency: str) -> list[dict[str, object]]:
    known = lazy.filter(pl.col("campaign_id").is_not_null())
    packages: dict[str, list[dict[str, object]]] = {}
    if "ad_group_id" in columns:
        grouped = known.filter(pl.col("ad_group_id").is_not_null())
        for sums in sums_of(grouped, ["campaign_id", "ad_group_id"]):
            if package := package_of(sums, currency):
                packages.setdefault(str(sums["campaign_id"]), []).append(package)
    days: dict[str, list[dict[str, object]]] = {}
    for sums in sums_of(known, ["campaign_id", _DAY]):
        told = metrics(sums)
        if isinstance(sums[_DAY], date) and "impressions" in told and "spend" in told:
            days.setdefault(str(sums["campaign_id"]), []).append({"date": str(sums[_DAY]), **told})
    deliveries = []
    for sums in sums_of(known, ["campaign_id"]):
        name = str(sums["campaign_id"])
        delivery: dict[str, object] = {
            "media_buy_id": name,
            "status": STATUS.get(str(sums.get("campaign_status") or "").strip().lower(), "active"),
            "totals": {"spend": 0.0, **metrics(sums)},
            "by_package": packages.get(name, []),
        }
        if name in days:
            delivery["daily_breakdown"] = days[name]
        deliveries.append(delivery)
    return deliveries


def _period(lazy: pl.LazyFrame, card: SourceCard | None) -> dict[str, str]:
    """From the first moment to the end of the last; a day ends at midnight of the account's zone."""
    names = lazy.collect_schema().names()
    grain = pl.col("grain").cast(pl.String).mode().first() if "grain" in names else pl.lit("day")
    bounds = (
        pl.col("ts").min().alias("first"),
        pl.col("ts").max().alias("last"),
        pl.col(_DAY).max().alias("day"),
    )
    found = lazy.select(*bounds, grain.alias("grain")).collect(engine="streaming").row(0, named=True)
    first, last = found["first"], found["last"]
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        raise InvalidInputError(
            "There are no rows with a time.", "", "Export rows that say when something happened."
        )
    step = _GRAINS.get(str(found["grain"]))
    if step is not None:
        end = last + step
    else:
        midnight = datetime.combine(found["day"] + timedelta(days=1), time(), tzinfo=_zone(card))
        end = midnight.astimezone(first.tzinfo)
    return {"start": f"{first:%Y-%m-%dT%H:%M:%SZ}", "end": f"{end:%Y-%m-%dT%H:%M:%SZ}"}


def _window(meaning: Mapping[str, Qualifier]) -> dict[str, object]:
    told: dict[str, object] = {}
    for name, field in (("window_click_days", "post_click"), ("window_view_days", "post_view")):
        days = meaning.get(name)
        if isinstance(days, int) and days > 0:
            told[field] = {"interval": int(days), "unit": "days"}
    if meaning.get("model") not in (None, "unspecified"):
        told["model"] = meaning["model"]
    return {"attribution_window": told} if told else {}


def _extension(lazy: pl.LazyFrame, columns: set[str], meaning: Mapping[str, Qualifier]) -> dict[str, object]:
    told: dict[str, object] = {"qualifiers": dict(meaning)} if meaning else {}
    bought = sums_of(lazy.filter(pl.col("campaign_id").is_not_null()), ["campaign_id"])
    unpaid = [str(sums["campaign_id"]) for sums in bought if sum_of(sums, "cost") is None]
    if unpaid:
        told["spend_not_reported"] = unpaid  # AdCP asks for a spend; a 0 there is not what the retailer said
    if "suppressed" in columns:
        told["suppressed_rows"] = int(lazy.select(pl.col("suppressed").sum()).collect().item() or 0)
    without = int(lazy.select(pl.col("campaign_id").is_null().sum()).collect().item() or 0)
    if without:
        told["rows_without_campaign"] = without
    return {"ext": {"rmis": told}} if told else {}
