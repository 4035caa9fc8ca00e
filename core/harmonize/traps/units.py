"""Money in the wrong unit: micros, cents, millicents or microcents that are read as units of the currency, or the reverse.

What a click, a thousand impressions, an item and a dollar of cost usually come to is known within a factor of a few.
Each unit is judged by how far it puts those rates from their usual values (in standard deviations of their decimal
logarithm); another unit has to explain the rows far better than the present one before anything is said.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType

import polars as pl

from core.harmonize.counted import agree
from core.harmonize.traps.evidence import Evidence, Finding, listed
from core.harmonize.traps.rates import Rate, rates_of
from core.harmonize.traps.roles import plain_words
from core.rmis.vocabularies import TransformOp

UNITS = MappingProxyType({"cents": 1e2, "millicents": 1e5, "micros": 1e6, "microcents": 1e8})
#: How much better (in nats) another unit has to explain the rows. ln(100): odds of a hundred to one.
NEEDED = 4.6
#: Whole numbers speak for a small unit, fractions of it against one.
WHOLE_BONUS, FRACTION_MALUS = 3.0, 4.0
FRACTION_SHARE = 0.1
FEW_ROWS, OBVIOUS = 20, 20.0
#: Another unit that is less than a hundred times less likely is named beside the likeliest.
UNDECIDED = 4.6
NAMED_BONUS = 6.0
USUAL_UNITS = MappingProxyType({"millicents": 0.5, "microcents": 0.5})
MIXED_DECADES = 1.6
MIXED_SHARE, MIXED_ROWS = 0.02, 5
#: Roughly how many units one US dollar is: what is plausible in yen is not in dollars.
PER_DOLLAR = MappingProxyType(
    {
        **{
            "JPY": 150,
            "KRW": 1400,
            "INR": 85,
            "IDR": 16000,
            "VND": 25000,
            "HUF": 360,
            "CLP": 950,
            "COP": 4000,
        },
        **{"TWD": 32, "THB": 35, "PHP": 57, "MXN": 18, "ZAR": 18, "SEK": 10, "NOK": 11, "DKK": 7, "CZK": 23},
        **{
            "PLN": 4,
            "BRL": 5.5,
            "TRY": 35,
            "RUB": 90,
            "ARS": 1000,
            "NGN": 1500,
            "KES": 130,
            "EGP": 50,
            "CNY": 7,
        },
        **{"HKD": 8, "UAH": 41, "RON": 4.6, "ILS": 3.7, "SAR": 3.8, "AED": 3.7, "PKR": 280, "PEN": 3.7},
    }
)
WITHOUT_DECIMALS = frozenset({"JPY", "KRW", "IDR", "VND", "CLP", "HUF", "COP", "TWD"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """The factor by which a column has to be divided to be plausible, and how much better (in nats) that explains it.

    `unit` is what its raw numbers are then in, `also` a unit that explains them nearly as well («» where there is none).
    """

    column: str
    factor: float
    gain: float
    rates: tuple[Rate, ...]
    unit: str = ""
    also: str = ""


def unit_traps(evidence: Evidence) -> Iterator[Finding]:
    """Columns of money whose unit is not the one that the mapping says (without a mapping: not the currency's)."""
    rates = rates_of(evidence)
    costs = [v for name in evidence.columns_of("cost") if (v := judge(evidence, name, rates.pop(name, [])))]
    if any(verdict.factor != 1 for verdict in costs):
        # A wrong cost says nothing about sales.
        rates = {name: [rate for rate in found if not rate.over_cost] for name, found in rates.items()}
    verdicts = [*costs, *(v for name, found in rates.items() if (v := judge(evidence, name, found)))]
    for verdict in verdicts:
        if verdict.factor != 1:
            yield _suspect(evidence, verdict)
    wrong = [verdict for verdict in verdicts if verdict.factor != 1]
    right = [verdict for verdict in verdicts if verdict.factor == 1]
    if wrong and (right or len({verdict.factor for verdict in wrong}) > 1):
        yield _mixed_row(wrong, right)
    yield from _mixed_columns(evidence)
    yield from click_rate_traps(evidence)


def judge(evidence: Evidence, column: str, rates: list[Rate]) -> Verdict | None:
    """The most plausible factor of one column; 1 where nothing explains the rows far better. None without evidence."""
    rows = max((rate.rows for rate in rates), default=0)
    if not rates or rows < FEW_ROWS // 2:
        return None
    scale = PER_DOLLAR.get(evidence.currency or "", 1)
    spread = 1.0 if evidence.currency else 1.3
    present = _surprise(rates, 1, scale, spread)
    undone = _undone(evidence, column)
    signs = _signs_of_units(evidence, column) if undone == 1 else {}
    gains = {
        factor: present - _surprise(rates, factor, scale, spread) + signs.get(factor, 0.0)
        for factor in _factors(undone, alone=len(rates) == 1 and rates[0].weak)
    }
    best, second, *_ = sorted(gains, key=lambda factor: -gains[factor])
    gain = gains[best]
    if gain < NEEDED or (rows < FEW_ROWS and gain < OBVIOUS):
        return Verdict(column, 1.0, gain, tuple(rates))
    also = _unit(second / undone) if gain - gains[second] < UNDECIDED else ""
    return Verdict(column, best, gain, tuple(rates), _unit(best / undone), also)


def _unit(size: float) -> str:
    return next((name for name, parts in UNITS.items() if math.isclose(parts, size)), "units of the currency")


def _surprise(rates: list[Rate], factor: float, scale: float, spread: float) -> float:
    """Mean of z²/2 over the rates. They are not independent, so their sum would count the same evidence twice."""
    total = 0.0
    for rate in rates:
        usual = rate.usual * (scale if rate.is_money else 1)
        z = math.log10(max(rate.value, 1e-12) / factor / usual) / (rate.spread * spread)
        total += z * z / 2
    return total / len(rates)


def _undone(evidence: Evidence, column: str) -> float:
    """The factor that would undo the mapping's own division or multiplication; 1 where there is none."""
    rule = evidence.rule(column)
    by = rule.transform.by if rule else None
    if rule is None or by is None:
        return 1.0
    return {TransformOp.DIVIDE: 1 / by, TransformOp.MULTIPLY: by}.get(rule.transform.op, 1.0)


def _factors(undone: float, *, alone: bool) -> list[float]:
    """What the numbers may have to be divided by, seen from where the mapping has brought them."""
    # A price alone may well be 1,299 units: only a unit that nobody could mistake is told.
    sizes = [1.0, *(size for size in UNITS.values() if not alone or size > 1e3)]
    return [size * undone for size in sizes if not math.isclose(size * undone, 1)]


def _signs_of_units(evidence: Evidence, column: str) -> dict[float, float]:
    """What the digits and the name say for or against each unit, in nats.

    Fractions speak against every small unit. Prices are whole cents, so in micros they are whole ten thousands; micros
    are far more usual than millicents. A name that says its unit is believed.
    """
    numbers = evidence.number(column)
    told = numbers.filter(numbers != 0).drop_nulls() if numbers is not None else None
    signs = {size: math.log(USUAL_UNITS.get(name, 1.0)) for name, size in UNITS.items()}
    words = (
        plain_words(column).replace("micro cents", "microcents").replace("milli cents", "millicents").split()
    )
    for name, size in UNITS.items():
        if name in words or name.removesuffix("s") in words:
            signs[size] += NAMED_BONUS
    if told is None or told.len() < FEW_ROWS // 2 or evidence.currency in WITHOUT_DECIMALS:
        return signs
    fractions = (told != told.round(0)).mean()
    share = float(fractions) if isinstance(fractions, float) else 0.0
    bonus = -FRACTION_MALUS if share >= FRACTION_SHARE else WHOLE_BONUS if share == 0 else 0.0
    signs = {size: value + bonus for size, value in signs.items()}
    whole_cents = [size for size in UNITS.values() if size > 100 and bool((told % (size / 100) == 0).all())]
    if whole_cents:
        signs[max(whole_cents)] += WHOLE_BONUS
    return signs


def _suspect(evidence: Evidence, verdict: Verdict) -> Finding:
    rate = max(verdict.rates, key=lambda each: abs(math.log10(max(each.value, 1e-12) / each.usual)))
    money = f" {evidence.currency}" if evidence.currency and rate.is_money else ""
    now, then = f"{_plain(rate.value)}{money}", f"{_plain(rate.value / verdict.factor)}{money}"
    column, rows = listed([verdict.column]), evidence.share(rate.rows)
    maybe = f" (or {verdict.also})" if verdict.also else ""
    if verdict.factor > 1:
        sentence = (
            f"{column} looks like {verdict.unit}{maybe}: as it stands {rate.means} {now} ({rows}); in {verdict.unit} it "
            f"is {then}."
        )
        size = UNITS.get(verdict.unit, verdict.factor)
        step = f"If the report says so, divide {column} by {size:,.0f}."
        return Finding(f"unit.{verdict.unit}", "warning", sentence, (verdict.column,), rate.rows, (), step)
    sentence = f"{column} becomes too small: {rate.means} {now} ({rows}); as {verdict.unit}{maybe} it would be {then}."
    step = f"Look up the unit of {column} in the report and correct or remove its division."
    return Finding("unit.overdivided", "warning", sentence, (verdict.column,), rate.rows, (), step)


def _mixed_row(wrong: list[Verdict], right: list[Verdict]) -> Finding:
    parts = [f"{listed([v.column])} {v.unit}" for v in wrong]
    parts += [f"{listed([v.column])} units of the currency" for v in right]
    columns = tuple(v.column for v in [*wrong, *right])
    sentence = "Amounts of one row are in different units: " + ", ".join(parts) + "."
    step = "Give each of these columns its own division; one for all of them would be wrong."
    return Finding(
        "unit.mixed_row", "warning", sentence, columns, max(v.rates[0].rows for v in wrong), (), step
    )


def _mixed_columns(evidence: Evidence) -> Iterator[Finding]:
    """Some rows of one column a hundred times or more what the others are: two units in one column."""
    for name in evidence.columns_of("cost"):
        base = next((c for target in ("clicks", "impressions") for c in evidence.columns_of(target)), None)
        cost, counts = evidence.number(name), evidence.number(base) if base else None
        if cost is None or counts is None or base is None:
            continue
        usable = (cost > 0) & (counts > 0)
        decades = (cost / counts).set(~usable.fill_null(value=False), None).log(10)
        middle = decades.median()
        if not isinstance(middle, float):
            continue
        apart = (decades - middle).abs() >= MIXED_DECADES
        odd = int(apart.sum() or 0)
        if odd < max(MIXED_ROWS, MIXED_SHARE * int(usable.sum() or 0)):
            continue
        usual = decades.filter(apart).median()
        times = 10 ** abs((usual if isinstance(usual, float) else middle) - middle)
        sentence = (
            f"{listed([name])} holds two units: for {listed([base])} alike, {evidence.share(odd)} {agree(odd, 'are')} about "
            f"{times:,.0f} times above or below the others."
        )
        step = (
            "Find what tells these rows apart (a marketplace, an ad product) and harmonize them on their own."
        )
        yield Finding(
            "unit.mixed_column", "warning", sentence, (name,), odd, evidence.lines_where(apart), step
        )


def click_rate_traps(evidence: Evidence) -> Iterator[Finding]:
    """More clicks than impressions, or clicks for more than half of them: swapped or wrong columns."""
    for clicked in evidence.columns_of("clicks"):
        for shown in evidence.columns_of("impressions"):
            clicks, impressions = evidence.amount(clicked), evidence.amount(shown)
            if clicks is None or impressions is None:
                continue
            rows = (impressions > 0) & clicks.is_not_null()
            rate = (clicks / impressions).filter(rows)
            middle = rate.median()
            if rate.len() < FEW_ROWS // 2 or not isinstance(middle, float) or middle <= 0.5:
                continue
            above = (clicks > impressions * 0.5) & rows
            rule = "unit.ctr_above_one" if middle > 1 else "unit.ctr_high"
            sentence = (
                f"Half of all rows have {_plain(middle)} or more {listed([clicked])} for each of {listed([shown])}; "
                "usual is below 0.1."
            )
            step = "Check whether the two columns are swapped, or one of them counts something else."
            lines, count = evidence.lines_where(above), int(above.sum() or 0)
            yield Finding(rule, "warning", sentence, (clicked, shown), count, lines, step)


def _plain(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return (
        f"{value:.2f}"
        if value >= 0.01
        else f"{value:.2g}"
        if value >= 1e-4
        else f"{pl.Series([value])[0]:.1e}"
    )
