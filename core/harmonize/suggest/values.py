"""What a column's values say for and against each RMIS column, in evidence points (natural logarithms of odds)."""

import re
from collections.abc import Iterable

from core.harmonize.suggest.closed_words import closed_targets, known_share
from core.harmonize.suggest.profile import ColumnProfile, ValueKind
from core.rmis.facts import FactColumn, FactGroup, FactType, fact_column

_ZONE = re.compile(r"(?:[A-Z][A-Za-z]+/[A-Za-z_]+(?:/[A-Za-z_]+)?|UTC|GMT)")
_SIZE = re.compile(r"\d{1,4}\s?[x×X*]\s?\d{1,4}(?:\s?px)?")
_ASIN = re.compile(r"B0[0-9A-Z]{8}")
_CURRENCIES = frozenset(
    [
        "USD",
        "EUR",
        "GBP",
        "JPY",
        "CAD",
        "AUD",
        "CHF",
        "SEK",
        "NOK",
        "DKK",
        "PLN",
        "CZK",
        "HUF",
        "RON",
        "BGN",
        "TRY",
        "RUB",
        "UAH",
        "INR",
        "CNY",
        "HKD",
        "TWD",
        "KRW",
        "SGD",
        "MYR",
        "THB",
        "IDR",
        "VND",
        "PHP",
        "AED",
        "SAR",
        "ILS",
        "EGP",
        "ZAR",
        "NGN",
        "KES",
        "BRL",
        "MXN",
        "ARS",
        "CLP",
        "COP",
        "PEN",
        "UYU",
        "NZD",
        "KZT",
        "GHS",
        "MAD",
        "QAR",
        "KWD",
        "PKR",
        "BDT",
        "LKR",
    ]
)
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}|(?:\d{1,3}\.){3}\d{1,3}")
_NEVER, _AGAINST, _DOUBT = -6.0, -3.0, -1.0
_TEXTUAL = frozenset({ValueKind.TEXT, ValueKind.WORD, ValueKind.CODE, ValueKind.URL, ValueKind.UUID})


def value_points(column: ColumnProfile, target: str) -> float:
    """Points for `target`: positive where the values look like it, strongly negative where they cannot be it."""
    if column.kind is ValueKind.EMPTY or not target:
        return 0.0
    fact = fact_column(target)
    if fact is None:
        return 0.0
    if column.kind is ValueKind.LIST:
        return 0.0 if target == "event_type" else _NEVER
    match fact.dtype:
        case FactType.TIMESTAMP | FactType.DATE:
            return _time(column, target)
        case FactType.INTEGER | FactType.NUMBER:
            return _number(column, fact)
        case FactType.IDENTIFIER:
            return _identifier(column, target)
        case FactType.WORD:
            return _word(column, target)
        case FactType.BOOLEAN:
            flags = column.kind is ValueKind.BOOLEAN or (column.numeric and set(column.values) <= {"0", "1"})
            return 1.0 if flags else _AGAINST
    return _text(column, target)


def value_candidates(column: ColumnProfile) -> dict[str, float]:
    """Targets that the values alone suggest, whatever the column is called, with their points."""
    found: dict[str, float] = {}
    if column.kind is ValueKind.EMPTY:
        return found
    if column.kind is ValueKind.TIME and column.time and column.time.certain:
        found["ts"] = 3.6
    if _all(column, lambda value: value in _CURRENCIES):
        found["currency"] = 5.0
    if _all(column, _ZONE.fullmatch) and any("/" in value for value in column.values):
        found["account_timezone"] = 4.5
    if _all(column, _SIZE.fullmatch):
        found["creative_size"] = 4.5
    if _all(column, _ASIN.fullmatch):
        found["product_id"] = 4.0
    if _all(column, _ADDRESS.fullmatch):
        found["user_id"] = 6.5  # people's addresses are never kept as they are
    if _gtins(column) and column.distinct >= 3:
        found["upc"] = 4.2
    if column.kind in (ValueKind.WORD, ValueKind.CODE, ValueKind.TEXT) and column.distinct <= 20:
        for target in closed_targets():
            if known_share(target, column.values, whole=True) == 1.0 and max(map(len, column.values)) > 2:
                found[target] = 3.4 if column.distinct > 1 else 2.6
    return found


def is_currency(value: str) -> bool:
    """Whether a text is an ISO 4217 code that reports use."""
    return value in _CURRENCIES


def valid_gtin(text: str) -> bool:
    """Whether 8 to 14 digits end with their GS1 check digit."""
    if not text.isdecimal() or not text.isascii() or len(text) not in (8, 11, 12, 13, 14):
        return False
    digits = [int(sign) for sign in text.zfill(14)]
    weighed = sum(digit * (3 if index % 2 == 0 else 1) for index, digit in enumerate(digits[:-1]))
    return (10 - weighed % 10) % 10 == digits[-1]


def _all(column: ColumnProfile, test: object) -> bool:
    values = column.values[:60]
    return bool(values) and all(test(value) for value in values)  # type: ignore[operator]


def _gtins(column: ColumnProfile) -> bool:
    values = column.values[:60]
    long = [value for value in values if len(value) >= 11]
    return len(long) == len(values) and sum(map(valid_gtin, values)) >= 0.95 * len(values)


def _time(column: ColumnProfile, target: str) -> float:
    if column.time is None:
        return -2.0 if column.kind is ValueKind.WHOLE and target == "ts" else _NEVER
    if target == "date_local":
        return 0.5 if column.time.grain == "day" and not column.time.offset else _AGAINST
    if target == "ts":
        return 1.0 if column.time.certain else 0.5
    return 1.0


def _number(column: ColumnProfile, fact: FactColumn) -> float:
    if not column.numeric:
        return _NEVER
    if fact.group is FactGroup.DERIVED:
        return -1.5 if column.whole and column.high > 1000 and column.decimals == 0 else 0.4
    if column.kind is ValueKind.PERCENT:
        return _NEVER
    if fact.name == "position":
        return 0.5 if column.low >= 0 and column.high < 2000 else _AGAINST
    if fact.dtype is FactType.INTEGER:
        if column.kind is ValueKind.MONEY or "leading_zeros" in column.marks:
            return -4.0
        if not column.whole:
            fractional = fact.group is FactGroup.OUTCOME
            return -0.6 if fractional else -2.2
        return 0.3
    if fact.group in (FactGroup.MONEY, FactGroup.OUTCOME) or fact.name in (
        "bid",
        "budget",
        "price",
        "promo_price",
    ):
        if column.kind is ValueKind.MONEY:
            return 1.5
        return 0.5 if column.decimals in (2, 3, 4, 5, 6) else -0.2
    return 0.0


def _identifier(column: ColumnProfile, target: str) -> float:
    match column.kind:
        case ValueKind.DECIMAL | ValueKind.PERCENT | ValueKind.MONEY:
            return _AGAINST
        case ValueKind.TIME:
            return -2.0 if column.time and column.time.certain and column.lengths[1] < 13 else -0.5
        case ValueKind.BOOLEAN | ValueKind.URL:
            return _AGAINST
    if target == "upc":
        if _gtins(column):
            return 1.5
        return -0.5 if _all(column, lambda value: value.isdecimal() and 7 < len(value) < 15) else -2.5
    spaced = _share(" " in value for value in column.values[:60])
    if spaced > 0.3:
        return -2.8
    if column.kind is ValueKind.WHOLE:
        points = 0.8 if column.lengths[0] >= 4 else 0.0
        if target in ("session_id", "user_id", "event_id", "request_id") and column.lengths[0] < 6:
            points -= 3.0
        return points - (1.5 if "negative" in column.marks else 0.0)
    if column.kind in (ValueKind.UUID, ValueKind.CODE):
        return 0.8 + (0.5 if target == "product_id" and _all(column, _ASIN.fullmatch) else 0.0)
    return -1.0


def _word(column: ColumnProfile, target: str) -> float:
    if column.numeric or column.kind in (ValueKind.TIME, ValueKind.UUID, ValueKind.URL):
        return -4.0
    if target not in closed_targets():
        return _DOUBT
    known = known_share(target, column.values[:40])
    if known == 0:
        return -5.0 if target == "placement_type" else -3.2
    return -1.0 + 2.6 * known


def _text(column: ColumnProfile, target: str) -> float:
    if target == "currency":
        return 3.0 if _all(column, is_currency) else _NEVER
    if target == "account_timezone":
        return 2.0 if _all(column, _ZONE.fullmatch) else -1.5
    if target == "creative_size":
        return 2.0 if _all(column, _SIZE.fullmatch) else -0.8
    if column.kind in (ValueKind.DECIMAL, ValueKind.PERCENT, ValueKind.MONEY):
        return -4.0
    if column.kind is ValueKind.TIME:
        return -3.0
    if column.kind is ValueKind.WHOLE:
        return -5.0 if target.endswith("_name") or target in ("page_type", "brand") else -1.6
    if column.kind is ValueKind.UUID:
        return -3.0
    if column.kind is ValueKind.BOOLEAN:
        return -2.0
    if column.kind is ValueKind.URL and target != "placement":
        return -2.5
    return _long_or_short(column, target)


def _long_or_short(column: ColumnProfile, target: str) -> float:
    """Names have spaces and letters; statuses and types repeat."""
    spaced = _share(" " in value for value in column.values[:60])
    if target.endswith("_name"):
        code = column.kind is ValueKind.CODE and column.lengths[0] >= 8
        return -1.2 if code and spaced == 0 else 0.3 + 0.5 * min(spaced * 2, 1)
    if target in ("campaign_status", "budget_type", "creative_type"):
        return 0.4 if column.distinct <= 8 else -0.6
    return 0.2


def _share(flags: Iterable[bool]) -> float:
    found = list(flags)
    return sum(found) / len(found) if found else 0.0
