"""Which operation of RMIS §3 a column needs, from the type of its target and from how its values are written."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from core.harmonize.records import Transform
from core.harmonize.suggest.closed_words import closed_targets, word_map
from core.harmonize.suggest.evidence import EVENTS, Evidence
from core.harmonize.suggest.profile import ColumnProfile, ValueKind
from core.harmonize.suggest.times import TimeShape
from core.harmonize.suggest.units import Unit
from core.harmonize.suggest.values import is_currency
from core.rmis.facts import FactColumn, FactGroup, FactType, fact_column
from core.rmis.vocabularies import TransformOp

MAX_WORDS = 200
_MONTH_FIRST = ("America/",)
_KEPT = frozenset(
    {TransformOp.DIVIDE, TransformOp.MULTIPLY, TransformOp.SUM_DELTA, TransformOp.DEDUP, TransformOp.EXPLODE}
    | {TransformOp.REGEX_SPLIT, TransformOp.PSEUDONYMIZE, TransformOp.PAD_GTIN, TransformOp.STRING_ID}
)


@dataclass(frozen=True, slots=True)
class Setting:
    """What a transform depends on beside its column: the account's zone, the units found, whether a stream.

    `zone_known`: somebody said the zone; where nobody did it is UTC for want of a better one.
    """

    account_timezone: str
    units: Mapping[str, Unit]
    stream: bool = False
    zone_known: bool = True


def choose_transform(each: Evidence, target: str, setting: Setting) -> Transform:
    """The operation for a column whose target is decided; `drop` where RMIS has no place for it."""
    fact = fact_column(target) if target else None
    if fact is None or fact.group is FactGroup.DERIVED:
        return Transform(op=TransformOp.DROP)
    rule = each.rule
    if rule is not None and (rule.target or "") == target:
        kept = _documented(each, rule.transform, setting)
        if kept is not None:
            return kept
    return _by_type(each, fact, setting)


def _documented(each: Evidence, transform: Transform, setting: Setting) -> Transform | None:
    """A confirmed or documented operation where it fits these values, else None."""
    if transform.op is TransformOp.DROP:
        # A person's «leave it out» holds; a documented repeat is no repeat where the file has it alone.
        return transform if each.rule_from == "memory" else None
    if transform.op is TransformOp.DEDUP:
        return Transform(op=TransformOp.DEDUP, on=each.name)
    if (
        transform.op is TransformOp.DIVIDE
        and not each.column.whole
        and each.column.kind is not ValueKind.EMPTY
    ):
        return None
    if transform.op in _KEPT:
        return transform
    if transform.op is TransformOp.ENUM_MAP and transform.map:
        known = {value: transform.map.get(value) for value in each.column.values[:MAX_WORDS]}
        missing = (
            word_map(each.rule.target or "", [v for v, word in known.items() if word is None])
            if (each.rule and each.rule.target in closed_targets())
            else {}
        )
        return Transform(op=TransformOp.ENUM_MAP, map={**transform.map, **known, **missing})
    if transform.op is TransformOp.TO_UTC:
        if each.column.time is None:
            return transform
        return _to_utc(each.column, each.column.time, setting, transform.source_tz)
    return None


def _by_type(each: Evidence, fact: FactColumn, setting: Setting) -> Transform:
    column = each.column
    if column.kind is ValueKind.LIST:
        event = next((EVENTS[concept] for concept in sorted(each.reading.concepts() & EVENTS.keys())), None)
        return Transform(op=TransformOp.EXPLODE, path=column.name, const=event)
    match fact.dtype:
        case FactType.TIMESTAMP:
            if column.time is None:
                return Transform()
            spans = bool(each.reading.concepts() & {"week", "month"})
            shape = replace(column.time, grain="aggregate") if spans else column.time
            return _to_utc(column, shape, setting, _zone_of_name(each))
        case FactType.DATE:
            plain = column.time is None or column.time.format == "%Y-%m-%d"
            return Transform() if plain or not column.time else _to_utc(column, column.time, setting, None)
        case FactType.IDENTIFIER:
            return _identifier(column, fact.name)
        case FactType.WORD:
            return _words(column, fact.name)
        case FactType.INTEGER | FactType.NUMBER:
            return _number(each, fact, setting)
    return _text(column, fact.name)


def _identifier(column: ColumnProfile, target: str) -> Transform:
    match target:
        case "upc":
            return Transform(op=TransformOp.PAD_GTIN, to=14)
        case "user_id":
            return Transform(op=TransformOp.PSEUDONYMIZE)
        case "dedup_key":
            return Transform(op=TransformOp.DEDUP, on=column.name)
    return Transform(op=TransformOp.STRING_ID)


def _words(column: ColumnProfile, target: str) -> Transform:
    values = column.values[:MAX_WORDS]
    if target not in closed_targets() or not values:
        return Transform()
    return Transform(op=TransformOp.ENUM_MAP, map=word_map(target, values))


def _text(column: ColumnProfile, target: str) -> Transform:
    if target == "currency" and column.values and not all(map(is_currency, column.values)):
        raised = {
            value: value.upper() if is_currency(value.upper()) else None
            for value in column.values[:MAX_WORDS]
        }
        return Transform(op=TransformOp.ENUM_MAP, map=raised)
    digits = sum(value.isdecimal() and len(value) > 4 for value in column.values)
    if target in ("keyword", "search_term") and 0.15 * len(column.values) <= digits < len(column.values):
        return Transform(op=TransformOp.REGEX_SPLIT, numeric_goes_to="product_id")
    return Transform()


def _number(each: Evidence, fact: FactColumn, setting: Setting) -> Transform:
    unit = setting.units.get(each.name)
    if unit is not None and unit.by != 1:
        op = TransformOp.DIVIDE if unit.by > 1 else TransformOp.MULTIPLY
        return Transform(op=op, by=unit.by if unit.by > 1 else round(1 / unit.by))
    strip = written_signs(each.column)
    if "either_way" in each.column.marks and fact.dtype is FactType.INTEGER:
        strip = _thousands_of_counts(each.column, strip)
    if strip:
        return Transform(op=TransformOp.PARSE_NUMBER, strip=strip)
    if "parentheses" in each.column.marks:
        return Transform(op=TransformOp.PARSE_NUMBER)
    measured = fact.group in (FactGroup.DELIVERY, FactGroup.MONEY, FactGroup.OUTCOME)
    if setting.stream and measured:
        return Transform(op=TransformOp.SUM_DELTA)
    return Transform()


def written_signs(column: ColumnProfile) -> str:
    """Signs that must go before a number can be read: currency signs and separators of thousands."""
    if not column.marks & {"currency_sign", "grouped", "percent", "decimal_comma"}:
        return ""
    found = dict.fromkeys(sign for sign in column.signs if not sign.isspace())
    text = "".join(column.values[:60])
    found.update(dict.fromkeys(sign for sign in " \u00a0\u202f'’" if sign in text))
    # A point among the signs is what says that the comma is the decimal sign.
    if "decimal_comma" in column.marks:
        found["."] = None
    elif "," in text or column.separators.commas:
        found[","] = None
    if "percent" in column.marks:
        found["%"] = None
    return "".join(found)


def _thousands_of_counts(column: ColumnProfile, strip: str) -> str:
    """A count is a whole number: what stands before three digits sets thousands apart."""
    if column.separators.mixed:
        return strip
    sign = "." if column.separators.point_three else ","
    return "".join(letter for letter in strip if letter not in ".,") + sign


def _zone_of_name(each: Evidence) -> str | None:
    return "UTC" if re.search(r"(?:^|[^a-z])(?:utc|gmt)(?:$|[^a-z])", each.name, re.IGNORECASE) else None


def _to_utc(column: ColumnProfile, shape: TimeShape, setting: Setting, zone: str | None) -> Transform:
    """Values with an offset are UTC already; others are of the zone that the name says, else of the account's."""
    known = zone if zone and zone != "account_timezone" else "account_timezone"
    grain = shape.grain
    if grain == "event" and shape.format == "%Y%m%d%H":
        grain = "hour"
    return Transform(
        op=TransformOp.TO_UTC,
        format=_day_or_month_first(column, shape, setting),
        source_tz="UTC" if shape.offset else known,
        grain=grain,
    )


def _day_or_month_first(column: ColumnProfile, shape: TimeShape, setting: Setting) -> str:
    """Where the values allow both orders: days close together say which, else the account's part of the world."""
    if not shape.rival or column.distinct > 2:
        return shape.format
    american = setting.account_timezone.startswith(_MONTH_FIRST)
    first = [form for form in (shape.format, shape.rival) if form.startswith("%m") == american]
    return first[0] if first else shape.format
