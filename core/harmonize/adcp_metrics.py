"""Sums of harmonized rows as the metrics of AdCP: counts, money, and rates that are computed from these."""

from collections.abc import Mapping
from types import MappingProxyType

import polars as pl

from core.harmonize.records import Qualifier
from core.rmis.comparability import DERIVED_MEASURES, ratio

Sums = Mapping[str, object]

#: RMIS sum -> AdCP field.
SUMS: Mapping[str, str] = MappingProxyType(
    {
        "impressions": "impressions",
        "cost": "spend",
        "clicks": "clicks",
        "video_views": "views",
        "video_completes": "completed_views",
        "attributed_conversions": "conversions",
        "attributed_sales": "conversion_value",
        "attributed_units": "units_sold",
        "ntb_units": "new_to_brand_units",
        "measurable_impressions": "",
        "viewable_impressions": "",
        "ntb_conversions": "",
    }
)
#: RMIS derived measure -> AdCP field. All are computed from the sums.
RATES: Mapping[str, str] = MappingProxyType(
    {
        "ctr": "ctr",
        "cpc": "cost_per_click",
        "cpm": "cpm",
        "cpa": "cost_per_acquisition",
        "roas": "roas",
        "ntb_rate": "new_to_brand_rate",
    }
)
PRICING: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "cpc": ("cpc", "cpc"),
        "cpm": ("cpm", "cpm"),
        "vcpm": ("vcpm", ""),
        "cpa": ("cpa", "cpa"),
        "flat": ("flat_rate", ""),
    }
)


def sums_of(lazy: pl.LazyFrame, keys: list[str]) -> list[dict[str, object]]:
    """Sums of each group; a sum of nothing but blanks is None, because blank is not zero."""
    columns = lazy.collect_schema().names()
    added = [
        pl.when(pl.col(name).count() > 0).then(pl.col(name).cast(pl.Float64).sum()).alias(name)
        for name in SUMS
        if name in columns
    ]
    if not keys:
        return lazy.select(added).collect(engine="streaming").to_dicts()
    extra = [pl.col(n).drop_nulls().first().alias(n) for n in ("campaign_status",) if n in columns]
    models = [
        pl.col(n).drop_nulls().unique().sort().implode().alias(n) for n in ("cost_model",) if n in columns
    ]
    return lazy.group_by(keys).agg(*added, *extra, *models).sort(keys).collect(engine="streaming").to_dicts()


def metrics(sums: Sums, meaning: Mapping[str, Qualifier] | None = None) -> dict[str, object]:
    """The AdCP fields of one group. What was not reported is left out."""
    told: dict[str, object] = {
        field: plain_number(value)
        for name, field in SUMS.items()
        if field and (value := sum_of(sums, name)) is not None
    }
    for measure, field in RATES.items():
        top, bottom, factor = DERIVED_MEASURES[measure]
        rate = ratio(sum_of(sums, top), sum_of(sums, bottom), factor)
        if rate is not None:
            told[field] = round(rate, 6)
    views, completes = sum_of(sums, "impressions"), sum_of(sums, "video_completes")
    if completes is not None and (rate := ratio(completes, views)) is not None:
        told["completion_rate"] = round(rate, 6)
    return {**told, **_viewability(sums, meaning or {})}


def _viewability(sums: Sums, meaning: Mapping[str, Qualifier]) -> dict[str, object]:
    measurable, viewable = sum_of(sums, "measurable_impressions"), sum_of(sums, "viewable_impressions")
    if measurable is None and viewable is None:
        return {}
    parts = {
        "measurable_impressions": measurable,
        "viewable_impressions": viewable,
        "viewable_rate": ratio(viewable, measurable),
    }
    told: dict[str, object] = {
        name: plain_number(value) for name, value in parts.items() if value is not None
    }
    standard = meaning.get("viewability_standard")
    if standard in ("mrc", "groupm"):
        told["standard"] = standard
    return {"viewability": told}


def package_of(sums: Sums, currency: str) -> dict[str, object] | None:
    """An ad group, where its price model is known: AdCP asks for model and rate, and neither is made up here."""
    models = sums.get("cost_model")
    known = [str(model) for model in models] if isinstance(models, list) else []
    if len(known) != 1 or known[0] not in PRICING:
        return None
    model, measure = PRICING[known[0]]
    spend = sum_of(sums, "cost") or 0.0
    if measure:
        top, bottom, factor = DERIVED_MEASURES[measure]
        rate = ratio(sum_of(sums, top), sum_of(sums, bottom), factor)
    else:
        rate = ratio(spend, sum_of(sums, "viewable_impressions"), 1000) if model == "vcpm" else spend
    if rate is None:
        return None
    told = {"spend": plain_number(spend), **metrics(sums)}
    return {
        "package_id": str(sums["ad_group_id"]),
        **told,
        "pricing_model": model,
        "rate": round(rate, 6),
        "currency": currency,
    }


def sum_of(sums: Sums, name: str) -> float | None:
    value = sums.get(name)
    return float(value) if isinstance(value, int | float) else None


def plain_number(value: float) -> float | int:
    """Whole numbers as such, others without the dust of binary fractions."""
    return int(value) if float(value).is_integer() else round(value, 6)
