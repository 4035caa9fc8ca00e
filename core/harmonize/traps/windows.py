"""One number several times: attribution windows and splits beside each other, and the retailer's word for your cost."""

import re
from collections.abc import Iterator
from itertools import pairwise

import polars as pl

from core.harmonize.records import Rule
from core.harmonize.traps.evidence import Evidence, Finding, Severity, listed
from core.harmonize.traps.roles import plain_words
from core.rmis.facts import FactGroup, fact_column

MIN_ROWS = 10
AGREE = 0.97
_DAYS = re.compile(r"(?<![a-z0-9])(\d{1,3}) ?d(?:ay|ays)?(?![a-z])")
_SALES_WORD = re.compile(r"revenue|sales|gmv|earnings|umsatz|ingresos|turnover")
_DELIVERY_COST = re.compile(r"(^| )(cost|spend|cpc)( |$)")
#: (part, whole) of the scope of products and of the buyers.
_WHOLES = frozenset({"total", "all_goals"})


def window_traps(evidence: Evidence) -> Iterator[Finding]:
    families = list(_families(evidence))
    for family in families:
        yield from _windows(evidence, family)
    if evidence.mapping is not None:
        yield from _one_meaning(evidence)
        yield from _splits(evidence)
    yield from _false_friends(evidence)


def _families(evidence: Evidence) -> Iterator[dict[int, str]]:
    """Columns that differ by a number of days alone: window → column, shortest first."""
    groups: dict[tuple[object, ...], dict[int, str]] = {}
    for name in evidence.measures:
        rule = evidence.rule(name)
        days = rule.qualifiers.get("window_click_days") if rule else None
        if rule is not None and rule.target and isinstance(days, int):
            rest = {k: v for k, v in rule.qualifiers.items() if k != "window_click_days"}
            key: tuple[object, ...] = (rule.target, tuple(sorted(rest.items(), key=str)))
            groups.setdefault(key, {}).setdefault(days, name)
            continue
        words = plain_words(name)
        found = _DAYS.search(words)
        if found and 1 <= int(found[1]) <= 400:
            groups.setdefault((_DAYS.sub("#", words),), {}).setdefault(int(found[1]), name)
    for group in groups.values():
        if len(group) > 1:
            yield dict(sorted(group.items()))


def _windows(evidence: Evidence, family: dict[int, str]) -> Iterator[Finding]:
    names = list(family.values())
    used = [name for name in names if evidence.mapping is None or name in evidence.used]
    listed_days = ", ".join(f"{days} d" for days in family)
    rules = [evidence.rule(name) for name in used]
    alike = len(used) > 1 and len({_meaning(rule) for rule in rules if rule}) < len(rules)
    severity: Severity = "warning" if evidence.mapping is None or alike else "note"
    step = "Give each its window in its qualifiers and name one as the headline; never add them."
    sentence = f"{listed(names)} are the same number for {len(names)} windows ({listed_days})."
    if len(used) > 1:
        rows = evidence.frame.height
        yield Finding(
            "sum.windows", severity, sentence, tuple(names), rows, (), step if severity == "warning" else ""
        )
    days = list(family)
    for shorter, longer in pairwise(days):
        yield from _above(evidence, family[shorter], family[longer], f"{shorter} days", f"{longer} days")


def _meaning(rule: Rule) -> tuple[object, ...]:
    return (rule.target, tuple(sorted(rule.qualifiers.items(), key=str)))


def _above(evidence: Evidence, part: str, whole: str, small: str, large: str) -> Iterator[Finding]:
    """Rows in which the part is larger than its whole: the columns are not what they are said to be."""
    smaller, larger = evidence.amount(part), evidence.amount(whole)
    if smaller is None or larger is None:
        return
    wrong = ((smaller > larger + 0.005) & (larger >= 0)).fill_null(value=False)
    told = int((smaller.is_not_null() & larger.is_not_null()).sum())
    count = int(wrong.sum())
    if told < MIN_ROWS or count == 0:
        return
    sentence = (
        f"{listed([part])} ({small}) is larger than {listed([whole])} ({large}) in {evidence.share(count)}, although it "
        "is a part of it."
    )
    step = (
        "Check which column has which window or scope; they may be swapped, or attributed by different rules."
    )
    yield Finding(
        "sum.part_above_whole", "warning", sentence, (part, whole), count, evidence.lines_where(wrong), step
    )


def _one_meaning(evidence: Evidence) -> Iterator[Finding]:
    """Several columns that the mapping says are the same outcome with the same qualifiers."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for name in evidence.measures:
        rule = evidence.rule(name)
        if rule is not None and not rule.dropped and _is_outcome(rule.target):
            groups.setdefault(_meaning(rule), []).append(name)
    for names in groups.values():
        if len(names) < 2:
            continue
        target = evidence.used[names[0]]
        sentence = (
            f"{listed(names)} all become {target} with the same qualifiers: only one of them can be it."
        )
        step = "Give each its own window and scope, or leave out what is a copy."
        yield Finding("sum.same_meaning", "warning", sentence, tuple(names), evidence.frame.height, (), step)


def _splits(evidence: Evidence) -> Iterator[Finding]:
    """Scopes of one outcome under one window: the same SKU and new buyers are parts of the total."""
    rules = [r for found in evidence.rules.values() for r in found[:1] if r.target and not r.dropped]
    outcomes = [r for r in rules if _is_outcome(r.target) and r.source_field in evidence.measures]
    for part in outcomes:
        scope = part.qualifiers.get("sku_scope")
        if scope not in ("same_sku", "other_sku"):
            continue
        for whole in outcomes:
            if whole.target != part.target or whole.qualifiers.get("sku_scope") not in _WHOLES:
                continue
            if _without(part, "sku_scope") == _without(whole, "sku_scope"):
                large = str(whole.qualifiers.get("sku_scope"))
                yield from _above(evidence, part.source_field, whole.source_field, str(scope), large)
    yield from _new_buyers(evidence, outcomes)


def _new_buyers(evidence: Evidence, outcomes: list[Rule]) -> Iterator[Finding]:
    """New buyers are a part of all buyers; where `new_to_brand` is false, the other number is not of all."""
    for new in outcomes:
        if not (new.target or "").startswith("ntb_"):
            continue
        target = (new.target or "").replace("ntb_", "attributed_")
        for every in outcomes:
            alike = _without(new, "new_to_brand") == _without(every, "new_to_brand")
            if every.target == target and alike and "new_to_brand" not in every.qualifiers:
                yield from _above(evidence, new.source_field, every.source_field, "new buyers", "all buyers")


def _without(rule: Rule, qualifier: str) -> dict[str, object]:
    return {name: value for name, value in rule.qualifiers.items() if name != qualifier}


def _is_outcome(target: str | None) -> bool:
    column = fact_column(target) if target else None
    return column is not None and column.group is FactGroup.OUTCOME


def _false_friends(evidence: Evidence) -> Iterator[Finding]:
    """A revenue that is the advertiser's cost: it equals a cost, or clicks times their price, or needs no sale."""
    for name in evidence.measures:
        target = evidence.used.get(name)
        as_sales = target in ("attributed_sales", "ntb_sales")
        if not (as_sales or (target is None and not evidence.is_dropped(name) and _is_called_sales(name))):
            continue
        money = evidence.amount(name)
        if money is None or int((money > 0).sum()) < MIN_ROWS:
            continue
        reason = _equals_cost(evidence, name, money) or (
            _needs_no_sale(evidence, money) if as_sales else None
        )
        if reason is None:
            continue
        columns, said = reason
        sentence = f"{listed([name])} {said}: it is what the retailer earned, which is the advertiser's cost, not sales."
        step = f"Map {listed([name])} to cost, or leave it out beside a column of the same cost."
        rows = int((money > 0).sum())
        yield Finding("friend.revenue_is_cost", "warning", sentence, (name, *columns), rows, (), step)


def _is_called_sales(name: str) -> bool:
    words = plain_words(name)
    return _SALES_WORD.search(words) is not None and not _DELIVERY_COST.search(words)


def _equals_cost(evidence: Evidence, name: str, money: pl.Series) -> tuple[tuple[str, ...], str] | None:
    for other in evidence.measures:
        if other == name or not (evidence.roles.get(other) == "cost" or _is_called(other, "cost", "spend")):
            continue
        cost = evidence.amount(other)
        if cost is not None and _agree(money, cost):
            return (other,), f"equals {listed([other])} in at least {AGREE:.0%} of the rows"
    clicks = next(iter(evidence.columns_of("clicks")), None)
    counted = evidence.amount(clicks) if clicks else None
    if counted is None or clicks is None:
        return None
    for other in evidence.measures:
        if other in (name, clicks) or not _is_called(other, "cpc", "price per click", "bid"):
            continue
        price = evidence.amount(other)
        if price is not None and price.n_unique() > 1 and _agree(money, price * counted):
            return (other, clicks), f"equals {listed([clicks])} times {listed([other])}"
    return None


def _needs_no_sale(evidence: Evidence, money: pl.Series) -> tuple[tuple[str, ...], str] | None:
    """There is money wherever somebody clicked, sold or not, and a click's worth of it."""
    sold = next(
        (c for t in ("attributed_units", "attributed_conversions") for c in evidence.columns_of(t)), None
    )
    clicks = next(iter(evidence.columns_of("clicks")), None)
    units, counted = evidence.amount(sold) if sold else None, evidence.amount(clicks) if clicks else None
    if units is None or counted is None or sold is None or clicks is None:
        return None
    unsold = ((units == 0) & (counted > 0)).fill_null(value=False)
    rows = int(unsold.sum())
    paid = int(((money > 0) & unsold).sum())
    if rows < 2 * MIN_ROWS or paid < 0.8 * rows:
        return None
    return (
        sold,
        clicks,
    ), f"is there in {paid:,} of {rows:,} rows with {listed([clicks])} and no {listed([sold])}"


def _is_called(name: str, *words: str) -> bool:
    plain = f" {plain_words(name)} "
    return any(f" {word} " in plain for word in words)


def _agree(left: pl.Series, right: pl.Series) -> bool:
    told = (left.is_not_null() & right.is_not_null() & ((left != 0) | (right != 0))).fill_null(value=False)
    if int(told.sum()) < MIN_ROWS or left.filter(told).n_unique() < 5:
        return False
    close = ((left - right).abs() <= 0.01 + 0.002 * right.abs()).filter(told).mean()
    return isinstance(close, float) and close >= AGREE
