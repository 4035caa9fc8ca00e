"""What the other columns of a report say of a column: quotients, repeated values, and which words stand together."""

from collections.abc import Callable, Sequence

from core.harmonize.suggest.evidence import Evidence
from core.harmonize.suggest.relations import Quotient, Relations

#: rate → (targets of the dividend, targets of the divisor). Sources: IAB/MRC Retail Media Measurement Guidelines 2024.
RATES = {
    "derived.ctr": (("clicks",), ("impressions",)),
    "derived.cpc": (("cost",), ("clicks",)),
    "derived.cpm": (("cost",), ("impressions",)),
    "derived.cpa": (("cost",), ("attributed_conversions", "attributed_units")),
    "derived.cvr": (("attributed_conversions", "attributed_units"), ("clicks",)),
    "derived.roas": (("attributed_sales",), ("cost",)),
    "derived.acos": (("cost",), ("attributed_sales",)),
    "derived.ntb_rate": (
        ("ntb_conversions", "ntb_units", "ntb_sales"),
        ("attributed_conversions", "attributed_units", "attributed_sales"),
    ),
    "derived.viewability_rate": (("viewable_impressions",), ("measurable_impressions", "impressions")),
    "derived.measurability": (("measurable_impressions",), ("impressions",)),
}
#: Points for a column that turned out to be part of a rate, and for a rate that turned out to be one.
PART, RATE = 3.4, 4.4
_SURE = 4.2


def weigh_context(columns: Sequence[Evidence], relations: Relations) -> None:
    """Add to each column's evidence what the others say."""
    by_name = {each.name: each for each in columns}
    _known_rates(by_name, relations)
    _found_rates(by_name, relations)
    _vocabulary(columns)
    _people_and_events(columns)


def _strength(each: Evidence, targets: Sequence[str]) -> float:
    return max((each.points.get(target, 0.0) for target in targets), default=0.0)


def _known_rates(by_name: dict[str, Evidence], relations: Relations) -> None:
    """A column named as a rate says what its dividend and its divisor are."""
    for name, quotients in relations.quotients.items():
        rate = by_name[name]
        named = [target for target in RATES if rate.points.get(target, 0.0) >= _SURE]
        if not named or not quotients:
            continue
        target = max(named, key=lambda each: rate.points[each])
        tops, bottoms = RATES[target]

        def fits(quotient: Quotient, tops: Sequence[str] = tops, bottoms: Sequence[str] = bottoms) -> float:
            top, bottom = by_name[quotient.top], by_name[quotient.bottom]
            return _capped(_strength(top, tops)) + _capped(_strength(bottom, bottoms))

        best = max(quotients, key=fits)
        rate.add(target, 1.5, f"it equals «{best.top}» ÷ «{best.bottom}» in every row")
        if fits(best) >= 3.0:
            _part(by_name[best.top], tops, f"«{name}» is it divided by «{best.bottom}»")
            _part(by_name[best.bottom], bottoms, f"«{name}» is «{best.top}» divided by it")


def _capped(points: float) -> float:
    return min(points, 6.0)


def _part(each: Evidence, targets: Sequence[str], because: str) -> None:
    if each.rule is not None:
        return
    known = [target for target in targets if each.points.get(target, 0.0) > 0.5]
    target = max(known, key=lambda name: each.points[name]) if known else targets[0]
    each.add(target, PART, because)


def _found_rates(by_name: dict[str, Evidence], relations: Relations) -> None:
    """A quotient of two well-known measures is a rate, whatever it is called."""
    for name, quotients in relations.quotients.items():
        each = by_name[name]
        best, points = each.best()
        if points >= _SURE and best != "":
            continue
        for target, (tops, bottoms) in RATES.items():
            proven = next(
                (q for q in quotients if _is(by_name[q.top], tops) and _is(by_name[q.bottom], bottoms)), None
            )
            if proven is not None:
                each.add(
                    target,
                    max(RATE, points + 0.6),
                    f"it equals «{proven.top}» ÷ «{proven.bottom}» in every row",
                )
                break
        else:
            first = quotients[0]
            each.add("", 1.5, f"it equals «{first.top}» ÷ «{first.bottom}» in every row")


def _is(each: Evidence, targets: Sequence[str]) -> bool:
    target, points = each.best()
    return target in targets and points >= _SURE


def _vocabulary(columns: Sequence[Evidence]) -> None:
    """Words that mean something else beside others: an «order» beside line items is a campaign."""
    concepts = [each.reading.concepts() for each in columns]
    targets = {each.best()[0] for each in columns if each.best()[1] >= _SURE}

    def anywhere(*wanted: str) -> bool:
        return any(set(wanted) <= found for found in concepts)

    if anywhere("lineitem") and not anywhere("campaign"):
        _shift(columns, lambda each: "order" in each.reading.concepts(), "campaign_id", "order_id", 2.5)
        _shift(columns, lambda each: "order" in each.reading.concepts(), "campaign_name", "order_id", 2.5)
    if anywhere("campaign"):
        for target in ("campaign_id", "campaign_name"):
            _shift(columns, lambda each: "insertion" in each.reading.concepts(), "portfolio_id", target, 2.0)
    if "clicks" in targets and "impressions" not in targets:
        bare = [each for each in columns if _only(each, "view")]
        for each in bare:
            each.add("impressions", 2.0, "no other column is what the clicks are of")
            each.add("page_views", -1.0)
            each.add("video_views", -0.5)
    if {"video_completes", "derived.vtr"} & targets or anywhere("quartile") or anywhere("videocomplete"):
        _shift(columns, lambda each: _only(each, "view"), "video_views", "page_views", 1.6)
    if anywhere("sale") and not anywhere("revenue"):
        return
    if "cost" not in {each.best()[0] for each in columns if not _only(each, "revenue")}:
        _revenue_as_cost(columns, anywhere("sale"))


def _people_and_events(columns: Sequence[Evidence]) -> None:
    """A customer of nearly every row is a person; a bare id of single events is what repeats are known by."""
    for each in columns:
        many = each.column.rows >= 8 and each.column.distinct > 0.5 * each.column.rows
        if many and "account" in each.reading.concepts() and {"customer", "member"} & set(each.reading.words):
            each.add("user_id", 8.0, "nearly every row has another one")
    if any(each.best()[0] == "event_type" and each.best()[1] >= _SURE for each in columns):
        for each in columns:
            if each.reading.concepts() == {"id"} and each.column.distinct >= 0.8 * each.column.rows:
                each.add("dedup_key", 5.0, "each event has its own")


def _revenue_as_cost(columns: Sequence[Evidence], sales_known: bool) -> None:
    """A retailer's report calls «revenue» what the advertiser pays, where nothing else is the cost."""
    for each in columns:
        if _only(each, "revenue") and sales_known:
            each.add("cost", 2.6, "no other column is the cost, and sales have a column of their own")
            each.add("attributed_sales", -1.5)


def _only(each: Evidence, concept: str) -> bool:
    """Whether a name says this concept and no other that counts."""
    silent = {"filler", "number", "0", "total", "gross", "net", "creative", "attributed", "code_usd", concept}
    return concept in each.reading.concepts() and each.reading.concepts() <= silent


def _shift(
    columns: Sequence[Evidence], chosen: Callable[[Evidence], bool], to: str, away: str, points: float
) -> None:
    for each in columns:
        if chosen(each) and (to in each.points or to == ""):
            each.add(to, points, "of the columns beside it")
            if away in each.points:
                each.add(away, -points / 2)
