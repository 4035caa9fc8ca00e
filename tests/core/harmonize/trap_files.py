"""Generated reports without any trap, as a source would be opened, and the mapping that reads them rightly."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from core.harmonize.records import Mapping, Rule, SourceCard

LINE = "__line"
CLICK_14 = {"window_click_days": 14, "touch": "click", "sku_scope": "total"}
#: How many people shop in each hour of their day: few at night.
HOURS = (6, 4, 3, 2, 2, 4, 10, 20, 30, 38, 42, 46, 52, 48, 44, 44, 48, 56, 66, 78, 86, 74, 44, 18)


@dataclass(frozen=True)
class Raw:
    """What is needed of an opened source."""

    columns: tuple[str, ...]
    frame: pl.LazyFrame


def opened(frame: pl.DataFrame, first_line: int = 2) -> Raw:
    numbered = frame.with_row_index(LINE, offset=first_line)
    return Raw(tuple(frame.columns), numbered.lazy())


def texts(rows: Sequence[dict[str, object]]) -> pl.DataFrame:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pl.DataFrame(
        {n: [None if row.get(n) is None else str(row[n]) for row in rows] for n in names},
        schema=dict.fromkeys(names, pl.String),
    )


@dataclass(frozen=True)
class File:
    """A raw file and what is known of it; `change` and `rule` plant a trap."""

    frame: pl.DataFrame
    rules: list[dict[str, Any]]
    card: SourceCard

    @property
    def source(self) -> Raw:
        return opened(self.frame)

    @property
    def mapping(self) -> Mapping:
        return Mapping(
            rules=tuple(Rule(**rule) for rule in self.rules),
            currency=self.card.currency,
            account_timezone=self.card.account_timezone,
        )

    def change(self, **columns: pl.Expr | pl.Series) -> "File":
        return File(self.frame.with_columns(**columns), self.rules, self.card)

    def each(
        self, column: str, do: Callable[[str], object], where: Callable[[int], bool] = lambda i: True
    ) -> "File":
        """Rewrite the filled cells of one column, in the rows (from 0) that `where` takes."""
        old = self.frame.get_column(column).to_list()
        new = [None if v is None else str(do(v)) if where(i) else v for i, v in enumerate(old)]
        return self.change(**{column: pl.Series(column, new, dtype=pl.String)})

    def rule(self, source_field: str, target: str | None, op: str = "none", **more: Any) -> "File":
        """Replace or add one rule; `qualifiers` apart, `more` are parameters of the operation."""
        qualifiers = more.pop("qualifiers", {})
        kept = [rule for rule in self.rules if rule["source_field"] != source_field]
        new = {"source_field": source_field, "target": target, "transform": {"op": op, **more}}
        return File(self.frame, [*kept, {**new, "qualifiers": qualifiers}], self.card)

    def add_rows(self, rows: Sequence[dict[str, object]]) -> "File":
        extra = texts([dict.fromkeys(self.frame.columns) | dict(row) for row in rows])
        return File(pl.concat([self.frame, extra.select(self.frame.columns)]), self.rules, self.card)


@cache
def daily_report(
    seed: int = 1,
    *,
    days: int = 30,
    campaigns: int = 20,
    currency: str = "USD",
    zone: str = "America/New_York",
    per_dollar: float = 1,
) -> File:
    """One row for each day and campaign: counts, cost with cents, and outcomes of a 14-day click window."""
    rng = random.Random(seed)
    rows: list[dict[str, object]] = []
    bids = {i: rng.lognormvariate(-0.2, 0.5) for i in range(campaigns)}
    digits = 0 if per_dollar > 50 else 2
    for day in range(days):
        for number in range(campaigns):
            shown = int(rng.lognormvariate(6.5, 0.8)) + 20
            clicks = max(0, round(rng.gauss(0.02 * shown, math.sqrt(0.02 * shown))))
            price = rng.choice((3.49, 8.99, 12.5, 24.99, 7.2)) * per_dollar
            orders = sum(rng.random() < 0.11 for _ in range(clicks))
            units = orders + sum(rng.random() < 0.3 for _ in range(orders))
            new = sum(rng.random() < 0.4 for _ in range(orders))
            rows.append(
                {
                    "Report Day": (date(2026, 3, 1) + timedelta(days=day)).isoformat(),
                    "Campaign": f"{123456789012345678 + 7919 * number}",
                    "Campaign Name": f"Campaign {rng.choice(('Spring', 'Brand', 'Always on'))} {number}",
                    "Placement": rng.choice(("top_of_search", "product_page", "rest")),
                    "Impressions": shown,
                    "Clicks": clicks,
                    "Spend": f"{clicks * bids[number] * rng.uniform(0.6, 1.1) * per_dollar:.{digits}f}",
                    "Orders": orders,
                    "Units": units,
                    "Sales": f"{units * price * rng.uniform(0.8, 1):.{digits}f}",
                    "New Buyers": new,
                }
            )
    rules = [
        _rule("Report Day", "ts", "to_utc", format="%Y-%m-%d", source_tz="account_timezone", grain="day"),
        _rule("Campaign", "campaign_id", "string_id"),
        _rule("Campaign Name", "campaign_name"),
        _rule(
            "Placement",
            "placement_type",
            "enum_map",
            map={
                "top_of_search": "sponsored_product",
                "product_page": "sponsored_display",
                "rest": "unknown",
            },
        ),
        _rule("Impressions", "impressions"),
        _rule("Clicks", "clicks"),
        _rule("Spend", "cost"),
        _rule("Orders", "attributed_conversions", qualifiers=CLICK_14),
        _rule("Units", "attributed_units", qualifiers=CLICK_14),
        _rule("Sales", "attributed_sales", qualifiers=CLICK_14),
        _rule("New Buyers", "ntb_conversions", qualifiers={**CLICK_14, "new_to_brand": True}),
    ]
    return File(texts(rows), rules, SourceCard(currency=currency, account_timezone=zone))


def event_stream(
    seed: int = 2,
    *,
    events: int = 1500,
    zone: str = "America/Los_Angeles",
    write: Callable[[datetime], str] = lambda moment: f"{moment:%Y-%m-%dT%H:%M:%SZ}",
    source_tz: str = "UTC",
    format: str = "iso",
) -> File:
    """Single events whose hours follow the day of people in `zone`; `write` puts the UTC moment into text."""
    rng = random.Random(seed)
    rows: list[dict[str, object]] = []
    for _ in range(events):
        hour = rng.choices(range(24), HOURS)[0]
        local = datetime(2026, 5, 3, hour, rng.randrange(60), rng.randrange(60), tzinfo=ZoneInfo(zone))
        moment = (local + timedelta(days=rng.randrange(20))).astimezone(UTC)
        kind = rng.choices(("impression", "click", "purchase"), (85, 12, 3))[0]
        rows.append(
            {
                "event_time": write(moment),
                "event_id": f"{rng.getrandbits(64):016x}",
                "event_name": kind,
                "campaign": f"{rng.randrange(10**6, 10**6 + 40)}",
                "media_cost": f"{rng.uniform(0.2, 1.6):.2f}" if kind == "click" else "0.00",
                "local_day": f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%d}",
            }
        )
    rows.sort(key=lambda row: str(row["event_time"]))
    rules = [
        _rule("event_time", "ts", "to_utc", format=format, source_tz=source_tz, grain="event"),
        _rule("event_id", "event_id", "string_id"),
        _rule("event_name", "event_type"),
        _rule("campaign", "campaign_id", "string_id"),
        _rule("media_cost", "cost"),
        _rule("local_day", "date_local"),
    ]
    return File(texts(rows), rules, SourceCard(currency="USD", account_timezone=zone))


def european_report(seed: int = 3) -> File:
    """Decimal commas, points between thousands, days first, a euro sign behind the amount."""
    file = daily_report(seed, currency="EUR", zone="Europe/Berlin")
    comma = file.each("Spend", lambda v: f"{float(v):,.2f} €".translate(str.maketrans(",.", ".,")))
    comma = comma.each("Sales", lambda v: f"{float(v):,.2f}".translate(str.maketrans(",.", ".,")))
    comma = comma.each("Report Day", lambda v: f"{date.fromisoformat(v):%d.%m.%Y}")
    return (
        comma.rule("Spend", "cost", "parse_number", strip=". €")
        .rule("Sales", "attributed_sales", "parse_number", strip=".", qualifiers=CLICK_14)
        .rule("Report Day", "ts", "to_utc", format="%d.%m.%Y", source_tz="account_timezone", grain="day")
    )


def micros_report(seed: int = 4) -> File:
    """Money in micros, read as micros."""
    file = daily_report(seed)
    for name in ("Spend", "Sales"):
        file = file.each(name, lambda v: round(float(v) * 1e6))
    return file.rule("Spend", "cost", "divide", by=1e6).rule(
        "Sales", "attributed_sales", "divide", by=1e6, qualifiers=CLICK_14
    )


def cents_report(seed: int = 5) -> File:
    """Money in cents, read as cents."""
    file = daily_report(seed)
    for name in ("Spend", "Sales"):
        file = file.each(name, lambda v: round(float(v) * 100))
    return file.rule("Spend", "cost", "divide", by=100).rule(
        "Sales", "attributed_sales", "divide", by=100, qualifiers=CLICK_14
    )


def display_report(seed: int = 6) -> File:
    """Bought by the thousand impressions: a few clicks that cost a lot each."""
    rng = random.Random(seed)
    rows: list[dict[str, object]] = []
    for day in range(40):
        for line in range(8):
            shown = rng.randrange(8_000, 90_000)
            rows.append(
                {
                    "day": f"{date(2026, 1, 5) + timedelta(days=day):%m/%d/%Y}",
                    "line": f"L{line:04d}",
                    "imps": shown,
                    "measurable": int(shown * rng.uniform(0.9, 0.98)),
                    "viewable": int(shown * rng.uniform(0.5, 0.8)),
                    "clicks": int(shown * rng.uniform(0.0004, 0.0012)),
                    "net_media": f"${shown * rng.uniform(7, 14) / 1000:,.2f}",
                }
            )
    rules = [
        _rule("day", "ts", "to_utc", format="%m/%d/%Y", source_tz="account_timezone", grain="day"),
        _rule("line", "ad_group_id", "string_id"),
        _rule("imps", "impressions"),
        _rule("measurable", "measurable_impressions"),
        _rule("viewable", "viewable_impressions", qualifiers={"viewability_standard": "mrc"}),
        _rule("clicks", "clicks"),
        _rule("net_media", "cost", "parse_number", strip="$,"),
    ]
    return File(texts(rows), rules, SourceCard(currency="USD", account_timezone="America/Chicago"))


def typed_report(seed: int = 7) -> File:
    """As a Parquet file gives it: dates, whole numbers and floats instead of text."""
    file = daily_report(seed)
    whole = ["Impressions", "Clicks", "Orders", "Units", "New Buyers"]
    return file.change(
        **{name: pl.col(name).cast(pl.Int64) for name in whole},
        **{name: pl.col(name).cast(pl.Float64) for name in ("Spend", "Sales")},
        **{"Report Day": pl.col("Report Day").str.to_date()},
    )


def windowed_report(seed: int = 8) -> File:
    """Three windows of the same sales and two scopes, each told apart by its qualifiers."""
    file = daily_report(seed)
    sales = [float(v) for v in file.frame.get_column("Sales").to_list()]
    rng = random.Random(seed)
    shares = [(rng.uniform(0.5, 0.8), rng.uniform(0.85, 1.0), rng.uniform(0.2, 0.7)) for _ in sales]
    file = file.change(
        **{
            "Sales 7d": pl.Series([f"{s * a * b:.2f}" for s, (a, b, _) in zip(sales, shares, strict=True)]),
            "Sales 14d same SKU": pl.Series(
                [f"{s * c:.2f}" for s, (_, _, c) in zip(sales, shares, strict=True)]
            ),
            "Sales 30d": pl.Series(
                [f"{s * (1 + (1 - a)):.2f}" for s, (a, _, _) in zip(sales, shares, strict=True)]
            ),
        }
    )
    file = file.rule("Sales 7d", "attributed_sales", qualifiers={**CLICK_14, "window_click_days": 7})
    file = file.rule("Sales 30d", "attributed_sales", qualifiers={**CLICK_14, "window_click_days": 30})
    same = {**CLICK_14, "sku_scope": "same_sku"}
    return file.rule("Sales 14d same SKU", "attributed_sales", qualifiers=same)


def yen_report() -> File:
    """A currency without decimals: a click costs over a hundred."""
    return daily_report(9, currency="JPY", zone="Asia/Tokyo", per_dollar=150)


def local_stream() -> File:
    """Local times, and the mapping says so."""
    zone = ZoneInfo("America/Los_Angeles")
    return event_stream(
        10,
        write=lambda m: f"{m.astimezone(zone):%Y-%m-%d %H:%M:%S}",
        source_tz="account_timezone",
        format="%Y-%m-%d %H:%M:%S",
    )


def offset_stream() -> File:
    """Every time says its own offset."""
    zone = ZoneInfo("America/Los_Angeles")
    return event_stream(11, write=lambda m: m.astimezone(zone).isoformat(timespec="seconds"))


CLEAN: dict[str, Callable[[], File]] = {
    "daily": daily_report,
    "daily_other_seed": lambda: daily_report(101),
    "short": lambda: daily_report(12, days=4, campaigns=6),
    "european": european_report,
    "micros": micros_report,
    "cents": cents_report,
    "display": display_report,
    "typed": typed_report,
    "windows": windowed_report,
    "yen": yen_report,
    "events_utc": event_stream,
    "events_local": local_stream,
    "events_offset": offset_stream,
    "events_tokyo": lambda: event_stream(13, zone="Asia/Tokyo"),
    "events_berlin": lambda: event_stream(14, zone="Europe/Berlin"),
}


def _rule(source_field: str, target: str, op: str = "none", **more: Any) -> dict[str, Any]:
    qualifiers = more.pop("qualifiers", {})
    transform = {"op": op, **more}
    return {"source_field": source_field, "target": target, "transform": transform, "qualifiers": qualifiers}
