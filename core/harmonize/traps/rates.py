"""What a click, a thousand impressions, an item and a unit of cost come to in a sample: robust medians with their rows."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from core.harmonize.records import Rule
from core.harmonize.traps.evidence import Evidence
from core.rmis.vocabularies import TransformOp

MIN_ROWS = 10
MIN_EVENTS = 30


@dataclass(frozen=True, slots=True)
class Rate:
    """A median rate of a column of money. `usual` in US dollars with the deviation of its log10; `means` reads on."""

    means: str
    value: float
    usual: float
    spread: float
    rows: int
    is_money: bool = True
    over_cost: bool = False
    weak: bool = False


def rates_of(evidence: Evidence) -> dict[str, list[Rate]]:
    """For each column of money, the rates that tell its unit."""
    found = {name: list(_cost_rates(evidence, name)) for name in evidence.columns_of("cost")}
    for target in ("attributed_sales", "ntb_sales"):
        found |= {name: list(_sales_rates(evidence, name, target)) for name in evidence.columns_of(target)}
    for target, means, usual in (("bid", "a click is bid", 1.0), ("price", "an item costs", 12.0)):
        for name in evidence.columns_of(target):
            if rate := _alone(evidence.amount(name), means, usual):
                found[name] = [rate]
    return {name: rates for name, rates in found.items() if rates}


def _cost_rates(evidence: Evidence, column: str) -> Iterator[Rate]:
    cost = evidence.amount(column)
    if cost is None:
        return
    clicks = _first(evidence, "clicks")
    impressions = _first(evidence, "impressions")
    if clicks is not None and (rate := _median_ratio(cost, clicks)):
        yield Rate("a click costs", rate[0], 0.8, 0.45, rate[1])
    if impressions is not None and (rate := _median_ratio(cost, impressions)):
        yield Rate("a thousand impressions cost", rate[0] * 1000, 6.0, 0.6, rate[1])
    if clicks is None and impressions is None:
        yield from _event_rates(evidence, cost)


def _event_rates(evidence: Evidence, cost: pl.Series) -> Iterator[Rate]:
    """Rows are single events: what a click costs is all cost over all clicks."""
    total = float(cost.sum() or 0)
    counts = _event_counts(evidence)
    if total <= 0:
        return
    if counts.get("click", 0) >= MIN_EVENTS:
        yield Rate("a click costs", total / counts["click"], 0.8, 0.5, counts["click"])
    if counts.get("impression", 0) >= 10 * MIN_EVENTS:
        yield Rate(
            "a thousand impressions cost", total / counts["impression"] * 1000, 6.0, 0.6, counts["impression"]
        )


def _event_counts(evidence: Evidence) -> dict[str, int]:
    for name in evidence.columns_of("event_type"):
        rule = evidence.rule(name)
        counted = evidence.text(name).drop_nulls().value_counts()
        found: dict[str, int] = {}
        for value, count in counted.iter_rows():
            word = _event_word(rule, str(value))
            found[word] = found.get(word, 0) + int(count)
        return found
    return {}


def _event_word(rule: Rule | None, value: str) -> str:
    if rule is not None and rule.transform.op is TransformOp.ENUM_MAP and rule.transform.map:
        return rule.transform.map.get(value) or value
    return value.lower()


def _sales_rates(evidence: Evidence, column: str, target: str) -> Iterator[Rate]:
    sales = evidence.amount(column)
    if sales is None:
        return
    prefix = target.removesuffix("sales")
    units, orders = _first(evidence, f"{prefix}units"), _first(evidence, f"{prefix}conversions")
    price, cost = _first(evidence, "price"), _first(evidence, "cost")
    if units is not None and (rate := _median_ratio(sales, units)):
        yield Rate("an item sells for", rate[0], 15.0, 0.7, rate[1])
        compared = _median_ratio(sales, units * price) if price is not None else None
        if compared:
            yield Rate("sold over list price is", compared[0], 1.0, 0.3, compared[1], is_money=False)
    elif orders is not None and (rate := _median_ratio(sales, orders)):
        yield Rate("an order comes to", rate[0], 30.0, 0.7, rate[1])
    if cost is not None and target == "attributed_sales" and (rate := _median_ratio(sales, cost)):
        yield Rate("sales over cost are", rate[0], 4.0, 0.6, rate[1], is_money=False, over_cost=True)


def _alone(values: pl.Series | None, means: str, usual: float) -> Rate | None:
    if values is None:
        return None
    told = values.filter(values > 0)
    middle = told.median()
    if told.len() < MIN_ROWS or not isinstance(middle, float):
        return None
    return Rate(means, middle, usual, 0.6, told.len(), weak=True)


def _median_ratio(top: pl.Series, bottom: pl.Series) -> tuple[float, int] | None:
    usable = ((top > 0) & (bottom > 0)).fill_null(value=False)
    ratios = (top / bottom).filter(usable)
    middle = ratios.median()
    if ratios.len() < MIN_ROWS or not isinstance(middle, float):
        return None
    return middle, ratios.len()


def _first(evidence: Evidence, target: str) -> pl.Series | None:
    names = evidence.columns_of(target)
    return evidence.amount(names[0]) if names else None
