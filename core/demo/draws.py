"""Draw one simulated record: the truth in RMIS words, and the same thing as the retailer writes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from types import MappingProxyType
from zoneinfo import ZoneInfo

from core.demo.retailers import RetailerSpec, Scalar, SourceColumn
from core.rmis.facts import FactType, fact_column
from core.rmis.vocabularies import TransformOp

FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 365


def word_list(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ADJECTIVES = word_list(
    "organic fresh dark light mini large soft crisp sweet salted gentle rapid bright natural classic family"
    " travel vegan gluten-free sparkling frozen ground whole smooth spicy warm cool daily winter summer"
)
PRODUCTS = word_list(
    "coffee tea oats pasta soap shampoo towel candle cereal yoghurt juice water cheese bread chips crackers"
    " sauce honey razor diapers detergent sponge batteries lamp socks mug kettle blender toothpaste lotion"
    " wipes rice beans nuts chocolate cookies granola butter milk soup"
)
BRANDS = word_list(
    "Larkfield Ostera Brindle Quillon Marrow Tessaly Fennick Holloway Pomelia Runeberg Saffra Windle"
)
CURRENCIES = ("USD", "EUR", "GBP", "CAD", "AUD", "JPY", "PLN", "SEK", "MXN", "BRL")
PAGE_TYPES = ("home", "search", "category", "product", "cart", "checkout")

# The largest count, or money amount in hundredths, that a column shows.
LARGEST: Mapping[str, int] = MappingProxyType(
    {
        "impressions": 99999,
        "viewable_impressions": 80000,
        "reach": 50000,
        "clicks": 2000,
        "cost": 999999,
        "attributed_sales": 9999999,
        "ntb_sales": 2000000,
        "price": 20000,
        "promo_price": 15000,
        "bid": 500,
        "budget": 5000000,
        "position": 20,
        "attributed_units": 300,
        "attributed_conversions": 300,
    }
)


@dataclass(frozen=True, slots=True)
class DrawnRecord:
    """One simulated record: `raw` maps source column to value as written; `rmis` is the flat RMIS row."""

    raw: dict[str, Scalar]
    rmis: dict[str, Scalar]


def draw_record(
    spec: RetailerSpec,
    rng: Random,
    columns: Sequence[SourceColumn] | None = None,
    constants: bool = True,
) -> DrawnRecord:
    """Draw one record with the given columns (default: those of training rows, each by its `presence`).

    The RMIS row lists its columns in the order of the source columns, then the retailer's constants.
    """
    if columns is None:
        columns = [c for c in spec.known_columns if c.presence >= 1 or rng.random() < c.presence]
    raw: dict[str, Scalar] = {}
    rmis: dict[str, Scalar] = {}
    for column in columns:
        raw[column.name], truth = draw_value(spec, column, rng)
        if column.target:
            rmis[column.target] = truth
    if constants:
        rmis.update(spec.constants)
    return DrawnRecord(raw, rmis)


def draw_value(spec: RetailerSpec, column: SourceColumn, rng: Random) -> tuple[Scalar, Scalar]:
    """(source value, RMIS value) of one column."""
    if column.op is TransformOp.TO_UTC:
        return _draw_time(spec, rng)
    if column.op is TransformOp.ENUM_MAP:
        return rng.choice(column.codes)
    if column.op is TransformOp.PAD_GTIN:
        code = draw_digits(rng, column.digits)
        return code, code.zfill(14)
    if column.op is TransformOp.STRING_ID:
        identifier = column.prefix + draw_digits(rng, column.digits)
        return identifier, identifier
    if column.op is TransformOp.DROP and not column.target:
        return draw_amount(rng, 5000), ""
    return _draw_by_type(spec, column, rng)


def _draw_by_type(spec: RetailerSpec, column: SourceColumn, rng: Random) -> tuple[Scalar, Scalar]:
    fact = fact_column(column.target)
    if fact is None:
        raise ValueError(f"{column.target} is not a column of RMIS")
    match fact.dtype:
        case FactType.INTEGER:
            count = draw_amount(rng, LARGEST.get(column.target, 5000))
            return count, count
        case FactType.NUMBER:
            hundredths = draw_amount(rng, LARGEST.get(column.target, 99999))
            return _money_text(spec, column, hundredths), hundredths / 100
        case FactType.WORD:
            word = rng.choice(fact.words)
            return word, word
    text = draw_text(column.target, rng)
    return text, text


def _money_text(spec: RetailerSpec, column: SourceColumn, hundredths: int) -> Scalar:
    if column.by >= 100:
        return hundredths * (column.by // 100)
    text = f"{hundredths // 100}.{hundredths % 100:02d}"
    return text.replace(".", ",") if spec.decimal_comma else text


def _draw_time(spec: RetailerSpec, rng: Random) -> tuple[Scalar, str]:
    moment = FIRST_DAY + timedelta(days=rng.randrange(DAYS))
    if spec.time_format == "epoch_ms":
        return int(moment.timestamp()) * 1000, f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    if spec.grain != "day":
        moment += timedelta(seconds=rng.randrange(86400))
    if "%H" in spec.time_format and "%S" not in spec.time_format:
        moment = moment.replace(second=0)
    return write_time(spec, moment), f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def write_time(spec: RetailerSpec, moment: datetime) -> str:
    """A UTC moment as this retailer's clock writes it (not for `epoch_ms`)."""
    local = moment.astimezone(ZoneInfo(spec.timezone))
    match spec.time_format:
        case "iso_z":
            return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
        case "iso_offset":
            return local.isoformat(timespec="seconds")
    return local.strftime(spec.time_format)


def draw_digits(rng: Random, count: int) -> str:
    return str(rng.randrange(10 ** (count - 1), 10**count))


def draw_amount(rng: Random, largest: int) -> int:
    """A whole number from 0 to `largest`, evenly over orders of magnitude."""
    return rng.randrange(min(largest, 10 ** rng.randint(1, len(str(largest)))) + 1)


def draw_text(target: str, rng: Random) -> str:
    match target:
        case "currency":
            return rng.choice(CURRENCIES)
        case "brand" | "advertiser_name":
            return rng.choice(BRANDS)
        case "page_type":
            return rng.choice(PAGE_TYPES)
    return f"{rng.choice(ADJECTIVES)} {rng.choice(PRODUCTS)}"
