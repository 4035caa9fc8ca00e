"""The simulated assortment: products with right GTINs, prices, promotions, margins and stock."""

from dataclasses import dataclass
from random import Random

from core.demo.draws import BRANDS

PRODUCT_COUNT = 240

# Category path, lowest and highest list price in cents, and what is sold there.
ASSORTMENT = (
    ("Grocery > Beverages", 199, 1299, ("cold brew coffee", "green tea", "orange juice", "sparkling water")),
    ("Grocery > Breakfast", 249, 899, ("rolled oats", "granola", "honey", "peanut butter")),
    ("Grocery > Pantry", 129, 799, ("basmati rice", "penne", "tomato sauce", "black beans")),
    ("Grocery > Snacks", 149, 649, ("sea salt crackers", "dark chocolate", "roasted nuts", "oat cookies")),
    ("Grocery > Dairy", 179, 899, ("greek yoghurt", "cheddar", "salted butter", "oat drink")),
    ("Household > Cleaning", 229, 1899, ("laundry detergent", "dish soap", "glass cleaner", "sponges")),
    ("Household > Paper", 399, 2499, ("kitchen towels", "tissues", "paper napkins", "baking paper")),
    ("Personal care > Hair", 349, 1699, ("shampoo", "conditioner", "styling gel", "hair mask")),
    ("Personal care > Skin", 299, 2499, ("body lotion", "hand soap", "sun cream", "face wash")),
    ("Baby > Care", 499, 3999, ("diapers", "baby wipes", "baby oil", "bath foam")),
    ("Home > Kitchen", 999, 8999, ("kettle", "coffee mug", "cutting board", "blender")),
    ("Electronics > Accessories", 799, 4999, ("usb cable", "aa batteries", "desk lamp", "travel charger")),
)
STYLES = ("", "organic", "family size", "classic", "light", "travel size", "extra", "winter edition")
PROMOTIONS = (10, 15, 20, 25, 30)


@dataclass(frozen=True, slots=True)
class Product:
    """One product of the assortment. Money in cents of US dollars; `margin_rate` is of the list price.

    `retailer_skus` is the crosswalk: retailer slug to the number under which that retailer sells it.
    """

    product_id: str
    gtin14: str
    name: str
    brand: str
    category: str
    list_price_cents: int
    promo_price_cents: int | None
    unit_cost_cents: int
    stock_units: int
    retailer_skus: dict[str, str]

    @property
    def price_cents(self) -> int:
        """What a buyer pays now."""
        return self.list_price_cents if self.promo_price_cents is None else self.promo_price_cents

    @property
    def margin_rate(self) -> float:
        """(list price − unit cost) / list price, to four places."""
        return round((self.list_price_cents - self.unit_cost_cents) / self.list_price_cents, 4)


def gtin_check_digit(digits: str) -> str:
    """The last digit of a GTIN from those before it (GS1 General Specifications 7.9: weights 3, 1 from the right)."""
    total = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(digits)))
    return str(-total % 10)


def draw_products(seed: int, count: int = PRODUCT_COUNT) -> list[Product]:
    """The assortment of a seed; names, GTINs and retailers' numbers are each unique."""
    rng = Random(f"{seed}:products")
    products: list[Product] = []
    taken: set[str] = set()
    while len(products) < count:
        product = _draw_product(rng, len(products))
        unique = {product.name, product.gtin14, *product.retailer_skus.values()}
        if not unique & taken:
            taken |= unique
            products.append(product)
    return products


def _draw_product(rng: Random, place: int) -> Product:
    category, lowest, highest, things = ASSORTMENT[place % len(ASSORTMENT)]
    brand, thing, style = rng.choice(BRANDS), rng.choice(things), rng.choice(STYLES)
    list_price = rng.randrange(lowest, highest) // 10 * 10 + 9
    off = rng.choice(PROMOTIONS) if rng.random() < 0.3 else 0
    body = str(rng.randrange(6 * 10**10, 8 * 10**10))
    gtin12 = body + gtin_check_digit(body)
    return Product(
        product_id=f"P{place + 1:05d}",
        gtin14=gtin12.zfill(14),
        name=" ".join(word for word in (brand, style, thing) if word),
        brand=brand,
        category=category,
        list_price_cents=list_price,
        promo_price_cents=list_price * (100 - off) // 100 if off else None,
        unit_cost_cents=list_price * rng.randrange(45, 78) // 100,
        stock_units=rng.choice((0, *range(12, 900, 4))) if rng.random() < 0.1 else rng.randrange(12, 900),
        retailer_skus={
            "alpha": f"A{rng.randrange(100000, 1000000)}",
            "gamma": f"T{rng.randrange(100000, 1000000)}",
            "delta": f"D{rng.randrange(1000000, 10000000)}",
        },
    )
