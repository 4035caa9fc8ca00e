"""Performance metrics by day and campaign, summed from simulated traffic, and the rates that follow from them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from core.demo.cards import CardColumn
from core.demo.retailers import RetailerSpec
from core.demo.traffic import Fact, local_day

Cells = dict[str, str | int | float | None]

METRIC_COLUMNS = (
    CardColumn("date", "day in the account's time zone", "date"),
    CardColumn("retailer", "fictitious retailer", ""),
    CardColumn("campaign_id", "campaign, as in the retailer's event file", ""),
    CardColumn("placement_type", "RMIS placement type", ""),
    CardColumn("currency", "ISO 4217", ""),
    CardColumn("impressions", "sum", "count"),
    CardColumn("clicks", "sum", "count"),
    CardColumn("cost", "sum", "currency"),
    CardColumn("conversions", "sum; blank where the file does not say", "count"),
    CardColumn("units", "sum; blank where the file does not say", "count"),
    CardColumn("sales", "attributed sales, sum; blank where the file does not say", "currency"),
    CardColumn("ntb_sales", "sales new to brand, sum; blank where the file does not say", "currency"),
    CardColumn("ctr", "clicks / impressions", "share"),
    CardColumn("cpc", "cost / clicks", "currency"),
    CardColumn("cpm", "1000 cost / impressions", "currency"),
    CardColumn("cvr", "conversions / clicks", "share"),
    CardColumn("roas", "sales / cost", "ratio"),
    CardColumn("acos", "cost / sales", "ratio"),
)


def metric_rows(traffic: Iterable[tuple[RetailerSpec, Sequence[Fact]]]) -> list[Cells]:
    """Sums by day and campaign of what each retailer's file says, and the rates computed from these sums."""
    rows: list[Cells] = []
    for spec, facts in traffic:
        said = {column.target for column in spec.columns}
        groups: dict[tuple[str, str], list[Fact]] = defaultdict(list)
        for fact in facts:
            groups[local_day(spec, fact), str(fact["campaign_id"])].append(fact)
        rows += [_metric_row(spec, said, day, group) for (day, _), group in sorted(groups.items())]
    return rows


def _metric_row(spec: RetailerSpec, said: set[str], day: str, facts: Sequence[Fact]) -> Cells:
    sums = _event_sums(said, facts) if "event_type" in said else _report_sums(said, facts)
    cents = sum(round(float(fact["cost"]) * 100) for fact in facts)
    cost, sales, clicks = cents / 100, sums["sales"], sums["clicks"]
    return {
        "date": day,
        "retailer": spec.name,
        "campaign_id": str(facts[0]["campaign_id"]),
        "placement_type": str(facts[0]["placement_type"]),
        "currency": spec.currency,
        "impressions": sums["impressions"],
        "clicks": clicks,
        "cost": f"{cost:.2f}",
        "conversions": sums["conversions"],
        "units": sums["units"],
        "sales": None if sales is None else f"{sales:.2f}",
        "ntb_sales": None if sums["ntb_sales"] is None else f"{sums['ntb_sales']:.2f}",
        "ctr": _rate(clicks, sums["impressions"]),
        "cpc": _rate(cost, clicks),
        "cpm": _rate(1000 * cost, sums["impressions"]),
        "cvr": _rate(sums["conversions"], clicks),
        "roas": _rate(sales, cost),
        "acos": _rate(cost, sales),
    }


def _event_sums(said: set[str], facts: Sequence[Fact]) -> dict[str, float | None]:
    def count(event_type: str) -> int:
        return sum(fact["event_type"] == event_type for fact in facts)

    return {
        "impressions": count("impression"),
        "clicks": count("click"),
        "conversions": count("purchase"),
        "units": _sum(said, facts, "attributed_units"),
        "sales": _sum(said, facts, "attributed_sales", money=True),
        "ntb_sales": None,
    }


def _report_sums(said: set[str], facts: Sequence[Fact]) -> dict[str, float | None]:
    return {
        "impressions": _sum(said, facts, "impressions"),
        "clicks": _sum(said, facts, "clicks"),
        "conversions": _sum(said, facts, "attributed_conversions"),
        "units": _sum(said, facts, "attributed_units"),
        "sales": _sum(said, facts, "attributed_sales", money=True),
        "ntb_sales": _sum(said, facts, "ntb_sales", money=True),
    }


def _sum(said: set[str], facts: Sequence[Fact], target: str, *, money: bool = False) -> float | None:
    """The sum of a column, in whole cents where it is money; None where the retailer's file does not have it."""
    if target not in said:
        return None
    if money:
        return sum(round(float(fact.get(target, 0)) * 100) for fact in facts) / 100
    return sum(int(fact.get(target, 0)) for fact in facts)


def _rate(above: float | None, below: float | None) -> float | None:
    """A rate to six places; None where it has no meaning: blank is not zero."""
    return None if above is None or not below else round(above / below, 6)
