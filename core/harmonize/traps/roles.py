"""What a column most likely stands for, by its name alone: only where no mapping says it.

Only names that are hardly ever used for anything else are known; a trap that is suspected by a wrong guess would be
worse than one that is not seen.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

_MONEY_UNIT = r"( (usd|eur|gbp|micros?|cents?|microcents?|millicents?|amount|local))?"

#: RMIS column -> pattern that a name in lower-case words has to match whole.
NAMES: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "ts": re.compile(
            r"(event |click |impression |report )?(ts|timestamp|time|datetime|occurred at|event time utc)"
        ),
        "date_local": re.compile(r"(report |local |event )?(date|day)( local)?"),
        "event_type": re.compile(r"event( type| name)?"),
        "event_id": re.compile(r"(event|record|message) id"),
        "order_id": re.compile(r"order id"),
        "campaign_id": re.compile(r"campaign id"),
        "sku": re.compile(r"(sku|asin|advertised (sku|asin))"),
        "retailer": re.compile(r"retailer( name)?"),
        "currency": re.compile(r"currency( code)?"),
        "impressions": re.compile(r"(total |ad )?(impressions|imps|impr)"),
        "viewable_impressions": re.compile(r"viewable (impressions|imps)"),
        "measurable_impressions": re.compile(r"measurable (impressions|imps)"),
        "clicks": re.compile(r"(total |ad )?(clicks|clk)"),
        "cost": re.compile(rf"(total |ad |media )?(cost|spend|ad spend){_MONEY_UNIT}"),
        "bid": re.compile(rf"(keyword |max )?(bid|max cpc){_MONEY_UNIT}"),
        "price": re.compile(rf"(unit |item |product )?price{_MONEY_UNIT}"),
        "attributed_sales": re.compile(rf"(total |attributed )?sales( \d+ ?d(ays?)?)?{_MONEY_UNIT}"),
        "attributed_units": re.compile(r"(total |attributed )?units( sold)?( \d+ ?d(ays?)?)?"),
        "attributed_conversions": re.compile(
            r"(total |attributed )?(conversions|orders|purchases)( \d+ ?d(ays?)?)?"
        ),
    }
)


def guess_roles(columns: Sequence[str]) -> dict[str, str]:
    """Source column -> RMIS column, for names that say plainly what they are. The first of two equal ones wins."""
    found: dict[str, str] = {}
    for column in columns:
        words = plain_words(column)
        target = next((name for name, pattern in NAMES.items() if pattern.fullmatch(words)), None)
        if target is not None and target not in found.values():
            found[column] = target
    return found


_ID_LAST = re.compile(r"(^| )(id|ids|nr|code|zip|gtin|upc|ean|asin|sku|key|hash|order number)$")
_MEASURED = re.compile(
    r"(^| )(sales|units?|orders|conversions|purchases|spend|cost|clicks|impressions|revenue|detail|views)( |$)"
)


def is_called_id(name: str) -> bool:
    """Whether a name ends like one of identifiers («campaign id», but not «sales of the same sku»)."""
    words = plain_words(name)
    return _ID_LAST.search(words) is not None and _MEASURED.search(words) is None


def plain_words(name: str) -> str:
    """`adSpend_USD (14d)` as «ad spend usd 14 d»: lower-case words with one space between them."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name[:200])
    split = re.sub(r"(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])", " ", split)
    return re.sub(r"[^a-z0-9]+", " ", split.lower().rpartition(".")[2] or split.lower()).strip()
