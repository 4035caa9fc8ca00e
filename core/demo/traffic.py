"""Simulated advertising traffic: impressions that lead to clicks, carts and purchases, as true RMIS rows.

The rows are the truth; `core.demo.events` writes them as each retailer would. Only whole-number draws and
comparisons are used, so a seed gives the same rows on every machine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from types import MappingProxyType
from zoneinfo import ZoneInfo

from core.demo.products import Product
from core.demo.retailers import RetailerSpec, Scalar
from core.rmis.vocabularies import EventType, TransformOp

Fact = dict[str, Scalar]

FIRST_DAY = datetime(2026, 3, 2, tzinfo=UTC)
DAYS = 28
# Monday to Sunday, and the hours of a day: when people shop.
WEEKDAY_WEIGHTS = (90, 88, 92, 96, 110, 128, 120)
HOUR_WEIGHTS = (6, 4, 3, 2, 2, 4, 10, 20, 30, 38, 42, 46, 52, 48, 44, 44, 48, 56, 66, 78, 86, 74, 44, 18)
DEVICE_WEIGHTS = MappingProxyType({"mobile": 58, "desktop": 30, "tablet": 12})
MATCH_WEIGHTS = MappingProxyType({"exact": 40, "phrase": 25, "broad": 25, "auto": 10})

IMPRESSIONS_OF_EVENT_FILE = 1750
CART_RATE, PURCHASE_RATE, NEW_BUYER_RATE = 0.42, 0.46, 0.35
LONGEST_DELAY = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a placement performs: click rate, and its price in cents, for a click or for a thousand impressions."""

    click_rate: float
    per_click: bool
    lowest_cents: int
    highest_cents: int
    daily_impressions: int


BEHAVIOUR = MappingProxyType(
    {
        "sponsored_product": Behaviour(0.075, True, 35, 110, 420),
        "sponsored_brand": Behaviour(0.055, True, 60, 160, 260),
        "sponsored_display": Behaviour(0.035, True, 40, 90, 340),
        "onsite_display": Behaviour(0.022, False, 500, 1200, 520),
        "offsite_display": Behaviour(0.012, False, 250, 700, 760),
        "video": Behaviour(0.020, False, 1200, 2400, 240),
        "audio": Behaviour(0.006, False, 800, 1500, 180),
        "ctv": Behaviour(0.004, False, 2200, 3600, 300),
        "instore": Behaviour(0.0, False, 400, 900, 380),
    }
)


@dataclass(slots=True)
class Campaign:
    """One line of a retailer's campaigns. `unbilled` is what was delivered and is not yet a whole cent, in 1/1000."""

    placement_type: str
    campaign_id: str
    ad_group_id: str
    creative_id: str
    keyword_id: str
    cost_model: str
    match_type: str
    price_cents: int
    products: list[Product]
    unbilled: int = 0


def simulate_traffic(spec: RetailerSpec, products: Sequence[Product], seed: int) -> list[Fact]:
    """True RMIS rows of one retailer, ordered by time: single events, or report rows where its file counts."""
    rng = Random(f"{seed}:{spec.slug}:traffic")
    campaigns = _draw_campaigns(spec, products, rng)
    counts = any(column.target == "impressions" for column in spec.columns)
    facts = _report_rows(spec, campaigns, rng) if counts else _events(spec, campaigns, rng)
    for fact in facts:
        fact.update(spec.constants)
        fact.setdefault("currency", spec.currency)
    return sorted(facts, key=lambda fact: (str(fact["ts"]), str(fact["campaign_id"])))


def local_day(spec: RetailerSpec, fact: Fact) -> str:
    """The day of a fact in the account's time zone, YYYY-MM-DD."""
    moment = datetime.fromisoformat(str(fact["ts"]))
    return f"{moment.astimezone(ZoneInfo(spec.timezone)):%Y-%m-%d}"


def _draw_campaigns(spec: RetailerSpec, products: Sequence[Product], rng: Random) -> list[Campaign]:
    """One campaign for every placement that the retailer has, and more for the frequent ones."""
    placements = _words(spec, "placement_type")
    usual = [
        each for each in placements if each in ("sponsored_product", "sponsored_brand", "onsite_display")
    ]
    models = _words(spec, "cost_model")
    campaigns = []
    for placement in [*placements, *usual, *usual, *usual, *usual]:
        behaviour = BEHAVIOUR[placement]
        model = rng.choice(models) if models else "cpc" if behaviour.per_click else "cpm"
        campaigns.append(
            Campaign(
                placement_type=placement,
                campaign_id=_identifier(spec, "campaign_id", rng),
                ad_group_id=_identifier(spec, "ad_group_id", rng),
                creative_id=_identifier(spec, "creative_id", rng),
                keyword_id=_identifier(spec, "keyword_id", rng),
                cost_model=model,
                match_type=_weighted(MATCH_WEIGHTS, rng),
                price_cents=rng.randrange(behaviour.lowest_cents, behaviour.highest_cents),
                products=rng.sample(list(products), 5),
            )
        )
    return campaigns


def _events(spec: RetailerSpec, campaigns: Sequence[Campaign], rng: Random) -> list[Fact]:
    """Impressions, and what followed them: a click, a cart, a purchase within the click window."""
    facts: list[Fact] = []
    weights = [BEHAVIOUR[campaign.placement_type].daily_impressions for campaign in campaigns]
    for _ in range(IMPRESSIONS_OF_EVENT_FILE):
        campaign = rng.choices(campaigns, weights)[0]
        product, moment = rng.choice(campaign.products), _draw_moment(spec, rng)
        shown = _event_base(spec, campaign, product, rng)
        behaviour = BEHAVIOUR[campaign.placement_type]
        seen_cents = 0 if behaviour.per_click else _bill(campaign, campaign.price_cents)
        facts.append(_event(shown, EventType.IMPRESSION, moment, seen_cents))
        if rng.random() >= behaviour.click_rate:
            continue
        moment += timedelta(seconds=rng.randrange(1, 25))
        click_cents = rng.randrange(campaign.price_cents * 7 // 10, campaign.price_cents + 1)
        facts.append(_event(shown, EventType.CLICK, moment, click_cents if behaviour.per_click else 0))
        if rng.random() >= CART_RATE:
            continue
        moment += timedelta(seconds=rng.randrange(20, 400))
        facts.append(_event(shown, EventType.ADD_TO_CART, moment, 0))
        if rng.random() >= PURCHASE_RATE:
            continue
        soon = rng.random() < 0.7
        moment += timedelta(
            seconds=rng.randrange(60, 3600 if soon else int(LONGEST_DELAY.total_seconds()) - 7200)
        )
        units = rng.choices((1, 2, 3, 4), (70, 20, 7, 3))[0]
        sold: Fact = {"attributed_units": units, "attributed_sales": units * product.price_cents / 100}
        facts.append({**_event(shown, EventType.PURCHASE, moment, 0), **sold})
    return facts


def _event_base(spec: RetailerSpec, campaign: Campaign, product: Product, rng: Random) -> Fact:
    sku = product.retailer_skus.get(spec.slug, product.product_id)
    base: Fact = {
        "placement_type": campaign.placement_type,
        "campaign_id": campaign.campaign_id,
        "ad_group_id": campaign.ad_group_id,
        "creative_id": campaign.creative_id,
        "product_id": sku,
        "sku": sku,
        "upc": product.gtin14,
        "brand": product.brand,
        "price": product.price_cents / 100,
        "device": _weighted(DEVICE_WEIGHTS, rng),
        "bid": campaign.price_cents / 100,
    }
    if campaign.placement_type.startswith("sponsored"):
        base["search_term"] = product.name.removeprefix(product.brand).strip()
    return base


def _event(shown: Fact, event_type: EventType, moment: datetime, cents: int) -> Fact:
    return {**shown, "ts": _utc(moment), "event_type": str(event_type), "cost": cents / 100}


def _report_rows(spec: RetailerSpec, campaigns: Sequence[Campaign], rng: Random) -> list[Fact]:
    """Counts of one campaign over a day, or over a part of a day where the retailer's clock has hours."""
    facts: list[Fact] = []
    parts = 1 if spec.grain == "day" else 2
    for day in range(DAYS):
        for campaign in campaigns:
            for part in range(parts):
                hour = 0 if parts == 1 else rng.randrange(part * 12, part * 12 + 12)
                moment = FIRST_DAY + timedelta(days=day, hours=hour)
                if parts > 1:
                    moment += timedelta(minutes=rng.randrange(60))
                facts.append(_report_row(campaign, moment, rng))
    return facts


def _report_row(campaign: Campaign, moment: datetime, rng: Random) -> Fact:
    behaviour = BEHAVIOUR[campaign.placement_type]
    usual = behaviour.daily_impressions * WEEKDAY_WEIGHTS[moment.weekday()] // 100
    impressions = rng.randrange(usual * 6 // 10, usual * 14 // 10)
    clicks = _successes(rng, impressions, behaviour.click_rate)
    buyers = max(clicks, impressions // 50)
    orders = _successes(rng, buyers, CART_RATE * PURCHASE_RATE)
    units = orders + _successes(rng, orders, 0.3)
    prices = [rng.choice(campaign.products).price_cents for _ in range(orders)]
    sales_cents = sum(prices) + (units - orders) * (max(prices) if prices else 0)
    new_cents = sum(price for price in prices if rng.random() < NEW_BUYER_RATE)
    fact: Fact = {
        "ts": _utc(moment),
        "placement_type": campaign.placement_type,
        "campaign_id": campaign.campaign_id,
        "ad_group_id": campaign.ad_group_id,
        "creative_id": campaign.creative_id,
        "keyword_id": campaign.keyword_id,
        "cost_model": campaign.cost_model,
        "match_type": campaign.match_type,
        "impressions": impressions,
        "clicks": clicks,
        "page_views": clicks + _successes(rng, clicks, 0.5),
        "cost": _cost_cents(campaign, impressions, clicks, orders) / 100,
        "attributed_conversions": orders,
        "attributed_units": units,
        "attributed_sales": sales_cents / 100,
        "ntb_sales": new_cents / 100,
    }
    if campaign.placement_type in ("video", "ctv"):
        fact["video_views"] = _successes(rng, impressions, 0.6)
    return fact


def _cost_cents(campaign: Campaign, impressions: int, clicks: int, orders: int) -> int:
    behaviour = BEHAVIOUR[campaign.placement_type]
    price = campaign.price_cents
    match campaign.cost_model:
        case "cpc":
            return clicks * (price if behaviour.per_click else price // 12)
        case "cpa":
            return orders * (price * 4 if behaviour.per_click else price // 2)
        case "flat":
            return (price if behaviour.per_click else price // 10) * 20
    return _bill(campaign, (price if not behaviour.per_click else price * 9) * impressions)


def _bill(campaign: Campaign, thousandths: int) -> int:
    """Whole cents that have become due; the rest waits for the next impression."""
    cents, campaign.unbilled = divmod(campaign.unbilled + thousandths, 1000)
    return cents


def _draw_moment(spec: RetailerSpec, rng: Random) -> datetime:
    day = rng.choices(range(DAYS), [WEEKDAY_WEIGHTS[day % 7] for day in range(DAYS)])[0]
    hour = rng.choices(range(24), HOUR_WEIGHTS)[0]
    local = FIRST_DAY.replace(tzinfo=ZoneInfo(spec.timezone)) + timedelta(days=day, hours=hour)
    return (local + timedelta(seconds=rng.randrange(3600))).astimezone(UTC)


def _identifier(spec: RetailerSpec, target: str, rng: Random) -> str:
    column = next((each for each in spec.columns if each.target == target), None)
    digits, prefix = (column.digits, column.prefix) if column else (7, "")
    return prefix + str(rng.randrange(10 ** (digits - 1), 10**digits))


def _words(spec: RetailerSpec, target: str) -> list[str]:
    return [
        word
        for column in spec.columns
        if column.target == target and column.op is TransformOp.ENUM_MAP
        for _, word in column.codes
    ]


def _weighted(weights: Mapping[str, int], rng: Random) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


def _successes(rng: Random, trials: int, rate: float) -> int:
    return sum(rng.random() < rate for _ in range(trials))


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
