"""In which unit amounts are written: whole currency, cents, micros, millicents or microcents.

The name says it, or plausible prices of a click do: 1,234,000 for one click is 1.23 in micros.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.harmonize.suggest.evidence import Evidence
from core.harmonize.suggest.profile import Numbers
from core.rmis.facts import FactGroup, fact_column

NAMED = {"micros": 1e6, "cents": 1e2, "millicents": 1e5, "microcents": 1e8, "nanos": 1e9, "millis": 1e3}
#: unit → how unlikely it is before the values are seen (decimal powers of implausibility).
_UNITS = {1.0: 0.0, 1e6: 0.3, 1e2: 0.8, 1e5: 1.2, 1e8: 1.2}
#: A usual price of a click and of a thousand impressions, in US dollars.
CLICK_PRICE, MILLE_PRICE, RETURN = 0.8, 4.0, 5.0
#: Units of a currency that buy about what one US dollar buys in clicks.
_CURRENCY_SCALE = {
    "JPY": 60.0, "KRW": 500.0, "INR": 12.0, "RUB": 20.0, "IDR": 1500.0, "VND": 3000.0, "CLP": 150.0, "COP": 600.0,
    "ARS": 200.0, "HUF": 120.0, "MXN": 5.0, "CZK": 8.0, "SEK": 5.0, "NOK": 5.0, "DKK": 4.0, "TRY": 6.0, "THB": 6.0,
    "TWD": 10.0, "PHP": 12.0, "KZT": 100.0, "UAH": 10.0, "NGN": 200.0,
}  # fmt: skip
_LEAST_ROWS = 3


@dataclass(frozen=True, slots=True)
class Unit:
    """Divide by `by` to get units of the currency; 1 is the currency itself, below 1 a multiple of it."""

    by: float
    because: str


def find_units(
    columns: Sequence[Evidence], targets: Mapping[str, str], currency: str | None
) -> dict[str, Unit]:
    """The unit of every amount whose name or values say that it is not the currency itself.

    `targets`: column → decided target.
    """
    scale = _CURRENCY_SCALE.get(currency or "", 1.0)
    money = [each for each in columns if is_amount(targets.get(each.name, ""))]
    units = {each.name: unit for each in money if (unit := _named(each))}
    by_target = {target: each for each in reversed(columns) if (target := targets.get(each.name, ""))}
    for each in money:
        if each.name not in units and each.rule is None and each.column.whole:
            unit = _measured(each, targets[each.name], by_target, units, scale)
            if unit is not None:
                units[each.name] = unit
    for each in columns:
        counted = fact_column(targets.get(each.name, "") or "?")
        if counted and counted.group is FactGroup.DELIVERY and "thousands" in each.reading.concepts():
            units[each.name] = Unit(1 / 1000, "its name says thousands")
    return units


def is_amount(target: str) -> bool:
    """Whether a target is an amount of money."""
    if target in ("bid", "budget", "price", "promo_price"):
        return True
    fact = fact_column(target) if target else None
    if fact is None:
        return False
    return fact.name.endswith("_sales") or (fact.group is FactGroup.MONEY and fact.name != "currency")


def _named(each: Evidence) -> Unit | None:
    readings = [(each.reading, "its name"), *([(each.document, "its description")] if each.document else [])]
    for reading, where in readings:
        for concept in sorted(reading.concepts() & NAMED.keys()):
            if each.column.whole or concept != "cents" or "decimal_comma" not in each.column.marks:
                return Unit(NAMED[concept], f"{where} says {concept}")
    return None


def _measured(
    each: Evidence, target: str, by_target: Mapping[str, Evidence], units: Mapping[str, Unit], scale: float
) -> Unit | None:
    for other, usual, factor in (("clicks", CLICK_PRICE, 1.0), ("impressions", MILLE_PRICE, 1000.0)):
        if target.startswith("cost") and other in by_target:
            price = _middle_ratio(each, by_target[other])
            if price is not None:
                return _likeliest(
                    price * factor, usual * scale, f"cost for each of «{by_target[other].name}»"
                )
    if target == "bid" and _round_micros(each.column.numbers) and each.column.high > 20_000 * scale:
        return Unit(1e6, "its values are plausible only in micros")
    if target.endswith("_sales") and "cost" in by_target:
        spent = by_target["cost"]
        gain = _middle_ratio(each, spent)
        known = units.get(spent.name)
        if gain is not None and known is not None and 0.02 < gain < 5_000:
            return Unit(known.by, f"it is written like «{spent.name}»")
        if gain is not None and gain > 20_000 * RETURN:
            return _likeliest(gain, RETURN, f"sales for each of «{spent.name}»")
    if _round_micros(each.column.numbers) and each.column.low >= 1e6 and scale < 100:
        return Unit(1e6, "its values are round millions, plausible only in micros")
    return None


def _middle_ratio(top: Evidence, bottom: Evidence) -> float | None:
    above, below = top.column.numbers, bottom.column.numbers
    if above is None or below is None or len(above) != len(below):
        return None
    usable = np.isfinite(above) & np.isfinite(below) & (above > 0) & (below > 0)
    if usable.sum() < _LEAST_ROWS:
        return None
    return float(np.median(above[usable] / below[usable]))


def _likeliest(ratio: float, usual: float, of: str) -> Unit | None:
    """The unit under which a ratio comes nearest to the usual one; None where that is the currency itself."""
    far = {unit: abs(np.log10(ratio / unit / usual)) + cost for unit, cost in _UNITS.items()}
    unit = min(far, key=lambda each: far[each])
    return Unit(unit, f"the {of} is plausible only ÷ {unit:,.0f}") if unit != 1 else None


def _round_micros(numbers: Numbers | None) -> bool:
    """Whether all numbers are whole multiples of 10,000: amounts with two decimals, written in millionths."""
    if numbers is None:
        return False
    known = numbers[np.isfinite(numbers) & (numbers != 0)]
    return bool(known.size) and bool(np.all(known % 10_000 == 0))
