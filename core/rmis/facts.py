"""The fact columns of RMIS §1 as typed definitions, and the check of one flat record against them."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from types import MappingProxyType

from core.rmis import vocabularies as words


class FactGroup(StrEnum):
    TIME = "time"
    EVENT = "what happened"
    PLACE = "where"
    PAYER = "who pays"
    PRODUCT = "what is sold"
    REASON = "why shown"
    DELIVERY = "delivery"
    MONEY = "money"
    OUTCOME = "outcome"
    DERIVED = "derived"
    GOVERNANCE = "governance"


class FactType(StrEnum):
    TIMESTAMP = "timestamp"  # ISO 8601, UTC, ends with Z
    DATE = "date"  # YYYY-MM-DD
    IDENTIFIER = "identifier"  # text, every character kept
    TEXT = "text"
    WORD = "word"  # one of a closed list
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True)
class FactColumn:
    """One RMIS column: its name, group and type; `words` lists the allowed values of a closed list."""

    name: str
    group: FactGroup
    dtype: FactType
    words: tuple[str, ...] = ()


def _columns(group: FactGroup, dtype: FactType, names: str) -> tuple[FactColumn, ...]:
    return tuple(FactColumn(name, group, dtype) for name in names.split())


def _word(name: str, group: FactGroup, allowed: type[StrEnum]) -> FactColumn:
    return FactColumn(name, group, FactType.WORD, tuple(allowed))


FACT_COLUMNS: tuple[FactColumn, ...] = (
    *_columns(FactGroup.TIME, FactType.TIMESTAMP, "ts as_of ingested_at"),
    _word("grain", FactGroup.TIME, words.Grain),
    *_columns(FactGroup.TIME, FactType.DATE, "date_local"),
    *_columns(FactGroup.TIME, FactType.TEXT, "account_timezone"),
    _word("event_type", FactGroup.EVENT, words.EventType),
    *_columns(
        FactGroup.EVENT,
        FactType.IDENTIFIER,
        "event_id order_id session_id request_id user_id dedup_key",
    ),
    *_columns(FactGroup.PLACE, FactType.TEXT, "retailer network placement page_type"),
    _word("channel", FactGroup.PLACE, words.Channel),
    _word("placement_type", FactGroup.PLACE, words.PlacementType),
    _word("device", FactGroup.PLACE, words.Device),
    *_columns(FactGroup.PLACE, FactType.INTEGER, "position"),
    *_columns(
        FactGroup.PAYER,
        FactType.IDENTIFIER,
        "account_id advertiser_id portfolio_id campaign_id ad_group_id creative_id",
    ),
    *_columns(
        FactGroup.PAYER,
        FactType.TEXT,
        "advertiser_name campaign_name campaign_status ad_group_name creative_name creative_type"
        " creative_size",
    ),
    *_columns(FactGroup.PRODUCT, FactType.IDENTIFIER, "product_id sku upc"),
    *_columns(FactGroup.PRODUCT, FactType.TEXT, "product_name brand category"),
    *_columns(FactGroup.PRODUCT, FactType.NUMBER, "price promo_price"),
    *_columns(FactGroup.REASON, FactType.TEXT, "keyword search_term audience budget_type"),
    *_columns(FactGroup.REASON, FactType.IDENTIFIER, "keyword_id"),
    *_columns(FactGroup.REASON, FactType.NUMBER, "bid budget"),
    _word("match_type", FactGroup.REASON, words.MatchType),
    _word("cost_model", FactGroup.REASON, words.CostModel),
    *_columns(
        FactGroup.DELIVERY,
        FactType.INTEGER,
        "impressions measurable_impressions viewable_impressions clicks reach page_views detail_page_views"
        " add_to_cart video_views video_completes branded_searches",
    ),
    *_columns(FactGroup.MONEY, FactType.NUMBER, "cost retailer_net_revenue"),
    *_columns(FactGroup.MONEY, FactType.TEXT, "currency"),
    *_columns(
        FactGroup.OUTCOME,
        FactType.INTEGER,
        "attributed_conversions attributed_units ntb_conversions ntb_units assisted_units",
    ),
    *_columns(FactGroup.OUTCOME, FactType.NUMBER, "attributed_sales ntb_sales assisted_sales"),
    *_columns(
        FactGroup.DERIVED,
        FactType.NUMBER,
        "derived.ctr derived.cpc derived.cpm derived.cpa derived.cvr derived.roas derived.acos"
        " derived.ntb_rate derived.viewability_rate derived.measurability",
    ),
    *_columns(FactGroup.GOVERNANCE, FactType.BOOLEAN, "suppressed ivt_filtered"),
)

FACT_BY_NAME: Mapping[str, FactColumn] = MappingProxyType({column.name: column for column in FACT_COLUMNS})

_UTC_TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z")
_CURRENCY = re.compile(r"[A-Z]{3}")


def fact_column(name: str) -> FactColumn | None:
    """The column of that name, or None; `cost_component.<part>` is a number of its own for every part."""
    known = FACT_BY_NAME.get(name)
    if known is None and name.startswith("cost_component.") and len(name) > len("cost_component."):
        return FactColumn(name, FactGroup.MONEY, FactType.NUMBER)
    return known


def validate_record(record: Mapping[str, object]) -> list[str]:
    """Problems of one flat RMIS record, as sentences; an empty list means that the record is valid.

    A value of None means «not reported» and is always allowed: blank is not zero.
    """
    problems: list[str] = []
    for name, value in record.items():
        column = fact_column(name)
        if column is None:
            problems.append(f"{name} is not a column of RMIS.")
        elif value is not None:
            problem = _problem_of(column, value)
            if problem:
                problems.append(f"{name} {problem}")
    return problems


def _problem_of(column: FactColumn, value: object) -> str:
    match column.dtype:
        case FactType.INTEGER:
            return "" if _is_whole(value) else f"must be a whole number, not {value!r}."
        case FactType.NUMBER:
            return "" if _is_number(value) else f"must be a number, not {value!r}."
        case FactType.BOOLEAN:
            return "" if isinstance(value, bool) else f"must be true or false, not {value!r}."
    if not isinstance(value, str):
        return f"must be text, not {value!r}."
    match column.dtype:
        case FactType.WORD:
            return (
                "" if value in column.words else f"must be one of {', '.join(column.words)}, not {value!r}."
            )
        case FactType.TIMESTAMP:
            return (
                "" if _is_utc(value) else f"must be a UTC time such as 2026-03-04T05:06:07Z, not {value!r}."
            )
        case FactType.DATE:
            return "" if _is_date(value) else f"must be a date such as 2026-03-04, not {value!r}."
    if column.name == "currency" and not _CURRENCY.fullmatch(value):
        return f"must be a three-letter currency code, not {value!r}."
    return ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_utc(value: str) -> bool:
    if not _UTC_TIMESTAMP.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_date(value: str) -> bool:
    try:
        return date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False
