"""The shipped reference tables: SKU catalog, uplift priors, performance metrics and audiences."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from types import MappingProxyType

from core.demo.cards import DEMO_SEED, CardColumn, write_with_card
from core.demo.metrics import METRIC_COLUMNS, Cells, metric_rows
from core.demo.products import Product, draw_products
from core.demo.retailers import TEST_RETAILERS, RetailerSpec
from core.demo.traffic import DAYS, FIRST_DAY, simulate_traffic
from core.rmis.vocabularies import TransformOp

NORMAL_90 = 1.6449  # two-sided 90 % of the normal distribution
CROSSWALK = ("alpha", "gamma", "delta")

# Incremental share of attributed sales that tests found on average, and how much they differed, in 1/1000.
USUAL_UPLIFT = MappingProxyType(
    {
        "sponsored_product": (220, 60),
        "sponsored_brand": (310, 80),
        "sponsored_display": (350, 110),
        "onsite_display": (420, 120),
        "offsite_display": (520, 160),
        "video": (560, 170),
        "audio": (470, 190),
        "ctv": (610, 200),
        "instore": (390, 150),
    }
)
AUDIENCE_RULES = (
    ("Bought {what} lately", "Bought a product of {what} within the look-back", "purchase"),
    ("Lapsed buyers of {what}", "Bought {what} before, but not within the look-back", "purchase"),
    ("Looked at {what}", "Saw a product page of {what} within the look-back, bought none", "browse"),
    ("{what} in the cart", "Put {what} into the cart within the look-back, bought none", "cart"),
    ("New to {what}", "No purchase of {what} within the look-back", "purchase"),
)
LOOK_BACKS = (14, 30, 60, 90, 180, 365)

CATALOG_COLUMNS = (
    CardColumn("product_id", "the product's number in this catalog", ""),
    CardColumn("gtin14", "GTIN-14 with its check digit, leading zeros kept", ""),
    CardColumn("name", "product name", ""),
    CardColumn("brand", "fictitious brand", ""),
    CardColumn("category", "category path", ""),
    CardColumn("currency", "ISO 4217", ""),
    CardColumn("list_price", "price without promotion", "USD"),
    CardColumn("promo_price", "price now; blank without promotion", "USD"),
    CardColumn("unit_cost", "what a unit costs the seller", "USD"),
    CardColumn("margin_rate", "(list_price - unit_cost) / list_price", "share"),
    CardColumn("stock_units", "units on hand", "count"),
    *(CardColumn(f"sku_{slug}", f"number at Retailer {slug.capitalize()}", "") for slug in CROSSWALK),
)
PRIOR_COLUMNS = (
    CardColumn("retailer", "fictitious retailer", ""),
    CardColumn("placement_type", "RMIS placement type", ""),
    CardColumn("outcome", "what is uplifted: incremental share of attributed sales", ""),
    CardColumn("distribution", "shape of the prior", ""),
    CardColumn("mean", "expected value", "share"),
    CardColumn("sd", "standard deviation", "share"),
    CardColumn("low_90", "mean - 1.6449 sd", "share"),
    CardColumn("high_90", "mean + 1.6449 sd", "share"),
    CardColumn("tests", "simulated tests behind it", "count"),
    CardColumn("source", "where it comes from", ""),
    CardColumn("as_of", "date of the last test", "date"),
)
AUDIENCE_COLUMNS = (
    CardColumn("audience_id", "identifier", ""),
    CardColumn("name", "name", ""),
    CardColumn("definition", "who is in it", ""),
    CardColumn("retailer", "fictitious retailer", ""),
    CardColumn("size", "pseudonymous shoppers in it", "count"),
    CardColumn("reach_estimate", "those who can be reached in four weeks, never more than size", "count"),
    CardColumn("look_back_days", "days that the definition looks back", "days"),
    CardColumn("source", "purchase, browse or cart", ""),
    CardColumn("as_of", "when it was counted", "date"),
)


def write_reference_files(out_dir: Path, seed: int = DEMO_SEED) -> list[Path]:
    """Write the four tables with their cards to `out_dir`/reference; returns the written paths."""
    products = draw_products(seed)
    traffic = [(spec, simulate_traffic(spec, products, seed)) for spec in TEST_RETAILERS]
    tables: tuple[tuple[str, str, str, Sequence[CardColumn], list[Cells]], ...] = (
        (
            "sku_catalog",
            "SKU catalog",
            "Products of fictitious brands with GTIN-14, price, promotion, margin, stock and the retailers' numbers.",
            CATALOG_COLUMNS,
            catalog_rows(products),
        ),
        (
            "uplift_priors",
            "Uplift priors",
            "What simulated tests say about incremental sales, by retailer and placement.",
            PRIOR_COLUMNS,
            prior_rows(seed),
        ),
        (
            "performance_metrics",
            "Performance metrics",
            "Sums of the shipped event files by day and campaign, and the rates that follow from them.",
            METRIC_COLUMNS,
            metric_rows(traffic),
        ),
        (
            "audiences",
            "Audiences",
            "Audiences of the fictitious retailers with size, reach and look-back.",
            AUDIENCE_COLUMNS,
            audience_rows(seed),
        ),
    )
    written: list[Path] = []
    for name, title, description, columns, rows in tables:
        write = _json_text if name == "audiences" else _csv_text
        suffix = ".json" if name == "audiences" else ".csv"
        written += write_with_card(
            out_dir / "reference" / f"{name}{suffix}",
            write([column.name for column in columns], rows).encode(),
            seed=seed,
            generator="core.demo.reference.write_reference_files",
            kind="reference",
            name=name,
            title=title,
            description=description,
            rows=len(rows),
            columns=list(columns),
        )
    return written


def catalog_rows(products: Iterable[Product]) -> list[Cells]:
    """The SKU catalog."""
    return [
        {
            "product_id": product.product_id,
            "gtin14": product.gtin14,
            "name": product.name,
            "brand": product.brand,
            "category": product.category,
            "currency": "USD",
            "list_price": _money(product.list_price_cents),
            "promo_price": None if product.promo_price_cents is None else _money(product.promo_price_cents),
            "unit_cost": _money(product.unit_cost_cents),
            "margin_rate": product.margin_rate,
            "stock_units": product.stock_units,
            **{f"sku_{slug}": product.retailer_skus[slug] for slug in CROSSWALK},
        }
        for product in products
    ]


def prior_rows(seed: int) -> list[Cells]:
    """One normal prior for each placement of each retailer: the usual uplift, moved and widened a little."""
    rng = Random(f"{seed}:priors")
    rows: list[Cells] = []
    for spec in TEST_RETAILERS:
        for placement in _placements(spec):
            usual, spread = USUAL_UPLIFT[placement]
            mean = (usual + rng.randrange(-spread // 2, spread // 2 + 1)) / 1000
            tests = rng.randrange(3, 25)
            sd = (spread + rng.randrange(0, 60) // max(1, tests // 4)) / 1000
            low, high = round(mean - NORMAL_90 * sd, 4), round(mean + NORMAL_90 * sd, 4)
            rows.append(
                {
                    "retailer": spec.name,
                    "placement_type": placement,
                    "outcome": "incremental_sales_share",
                    "distribution": "normal",
                    "mean": mean,
                    "sd": sd,
                    "low_90": low,
                    "high_90": high,
                    "tests": tests,
                    "source": f"simulated geo tests of {spec.network}",
                    "as_of": f"2026-{rng.randrange(1, 3):02d}-{rng.randrange(1, 29):02d}",
                }
            )
    return rows


def audience_rows(seed: int) -> list[Cells]:
    """Audiences of each retailer: rule by rule, over categories and brands."""
    rng = Random(f"{seed}:audiences")
    subjects = sorted({(p.category.split(" > ")[1], p.brand) for p in draw_products(seed)})
    rows: list[Cells] = []
    for spec in TEST_RETAILERS:
        for name, definition, source in AUDIENCE_RULES:
            for subject in rng.sample(subjects, 2):
                what = rng.choice(subject)
                size = rng.randrange(40, 9000) * 100 // (4 if source == "cart" else 1)
                rows.append(
                    {
                        "audience_id": f"{spec.slug}-{len(rows) + 1:03d}",
                        "name": name.format(what=what),
                        "definition": f"{definition.format(what=what)}.",
                        "retailer": spec.name,
                        "size": size,
                        "reach_estimate": size * rng.randrange(35, 90) // 100,
                        "look_back_days": rng.choice(LOOK_BACKS),
                        "source": source,
                        "as_of": f"{FIRST_DAY:%Y-%m-}{DAYS:02d}",
                    }
                )
    return rows


def _placements(spec: RetailerSpec) -> list[str]:
    return [
        word
        for column in spec.columns
        if column.target == "placement_type" and column.op is TransformOp.ENUM_MAP
        for _, word in column.codes
    ]


def _money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"


def _csv_text(names: Sequence[str], rows: Iterable[Cells]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow(["" if row[name] is None else row[name] for name in names])
    return text.getvalue()


def _json_text(names: Sequence[str], rows: Iterable[Cells]) -> str:
    lines = (json.dumps({name: row[name] for name in names}, ensure_ascii=False) for row in rows)
    return "[\n" + ",\n".join(lines) + "\n]\n"
