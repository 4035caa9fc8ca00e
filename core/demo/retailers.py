"""Fictitious retailers: how each writes what RMIS says, and the five that adapters are tested on.

Everything here is invented. The five test retailers differ in field names, units, clocks, code tables and
file shape; their names and private words never appear in the corpus of the shipped base model.
"""

from dataclasses import dataclass
from enum import StrEnum

from core.rmis.vocabularies import TransformOp

Scalar = str | int | float
Pairs = tuple[tuple[str, Scalar], ...]


class FileShape(StrEnum):
    CSV = "csv"
    TSV = "tsv"
    SEMICOLON_CSV = "semicolon_csv"
    JSONL = "jsonl"
    NESTED_JSONL = "nested_jsonl"


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """One column of a retailer's file.

    `name` is a dotted path in a nested file. `target` is the RMIS column, or "" for a column that is dropped.
    `by` is the divisor of a money column; `codes` are (source value, RMIS value) pairs of an enum;
    `digits` and `prefix` shape identifiers. A `held_out` column never occurs in training rows.
    """

    name: str
    target: str
    op: TransformOp = TransformOp.NONE
    by: int = 1
    codes: tuple[tuple[str, str], ...] = ()
    digits: int = 7
    prefix: str = ""
    qualifiers: Pairs = ()
    presence: float = 1.0
    held_out: bool = False


@dataclass(frozen=True, slots=True)
class RetailerSpec:
    """One fictitious retailer's report.

    `time_format` is `iso_offset`, `iso_z`, `epoch_ms` (midnight UTC of a day) or a strptime pattern in
    `timezone` (IANA, without daylight saving). `grain` is event or day. `constants` are RMIS values that
    the file never says.
    """

    name: str
    slug: str
    network: str
    shape: FileShape
    time_format: str
    timezone: str
    grain: str
    currency: str
    columns: tuple[SourceColumn, ...]
    constants: Pairs = ()
    decimal_comma: bool = False

    def column(self, name: str) -> SourceColumn:
        return next(column for column in self.columns if column.name == name)

    @property
    def known_columns(self) -> tuple[SourceColumn, ...]:
        return tuple(column for column in self.columns if not column.held_out)


def transform_of(spec: RetailerSpec, column: SourceColumn) -> dict[str, object]:
    """The RMIS §3 transform of a column, as it stands in a mapping rule."""
    match column.op:
        case TransformOp.TO_UTC:
            known = {"iso_offset": "iso", "iso_z": "iso"}
            text = known.get(spec.time_format, spec.time_format)
            zone = "UTC" if spec.time_format in ("iso_offset", "iso_z", "epoch_ms") else spec.timezone
            return {"op": "to_utc", "format": text, "source_tz": zone, "grain": spec.grain}
        case TransformOp.DIVIDE:
            return {"op": "divide", "by": column.by}
        case TransformOp.PARSE_NUMBER:
            return {"op": "parse_number", "strip": "," if not spec.decimal_comma else "."}
        case TransformOp.ENUM_MAP:
            return {"op": "enum_map", "map": dict(column.codes)}
        case TransformOp.PAD_GTIN:
            return {"op": "pad_gtin", "to": 14}
    return {"op": str(column.op)}


def _time(name: str) -> SourceColumn:
    return SourceColumn(name, "ts", TransformOp.TO_UTC)


def _id(name: str, target: str, digits: int = 7, prefix: str = "", presence: float = 1.0) -> SourceColumn:
    return SourceColumn(name, target, TransformOp.STRING_ID, digits=digits, prefix=prefix, presence=presence)


def _count(name: str, target: str, qualifiers: Pairs = (), presence: float = 1.0) -> SourceColumn:
    return SourceColumn(name, target, qualifiers=qualifiers, presence=presence)


def _money(name: str, target: str, by: int = 1, qualifiers: Pairs = ()) -> SourceColumn:
    return SourceColumn(
        name, target, TransformOp.DIVIDE if by > 1 else TransformOp.NONE, by, qualifiers=qualifiers
    )


def _comma(name: str, target: str, qualifiers: Pairs = ()) -> SourceColumn:
    return SourceColumn(name, target, TransformOp.PARSE_NUMBER, qualifiers=qualifiers)


def _code(name: str, target: str, **codes: str) -> SourceColumn:
    return SourceColumn(name, target, TransformOp.ENUM_MAP, codes=tuple(codes.items()))


def _unseen(name: str, target: str, op: TransformOp = TransformOp.NONE, digits: int = 7) -> SourceColumn:
    return SourceColumn(name, target, op, digits=digits, held_out=True)


CLICK_14: Pairs = (("window_click_days", 14), ("touch", "click"), ("sku_scope", "total"))
CLICK_30: Pairs = (("window_click_days", 30), ("touch", "click"), ("sku_scope", "brand"))
VIEW_7: Pairs = (("window_click_days", 7), ("window_view_days", 1), ("touch", "click_or_view"))

RETAILER_ALPHA = RetailerSpec(
    name="Retailer Alpha",
    slug="alpha",
    network="Alpha Ads",
    shape=FileShape.CSV,
    time_format="iso_offset",
    timezone="Africa/Johannesburg",
    grain="event",
    currency="USD",
    columns=(
        _time("zeitmrk"),
        _code(
            "vorfall", "event_type", gsehn="impression", tippte="click", korb="add_to_cart", gkauft="purchase"
        ),
        _code(
            "plz_art",
            "placement_type",
            K1="sponsored_brand",
            K2="video",
            K3="sponsored_product",
            K4="offsite_display",
            K5="onsite_display",
            K6="audio",
        ),
        _id("kmp", "campaign_id", 7),
        _id("zeilnr", "ad_group_id", 6),
        _id("artnum", "sku", 6, "A"),
        _money("kost_ct", "cost", 100),
        _count("stk", "attributed_units", CLICK_14),
        _money("ums_ct", "attributed_sales", 100, CLICK_14),
        _unseen("device", "device"),
        _unseen("search_term", "search_term"),
    ),
    constants=(("currency", "USD"),),
)

RETAILER_BETA = RetailerSpec(
    name="Retailer Beta",
    slug="beta",
    network="Beta Media",
    shape=FileShape.JSONL,
    time_format="%Y%m%d",
    timezone="UTC",
    grain="day",
    currency="EUR",
    columns=(
        _time("tgDat"),
        _code(
            "zn",
            "placement_type",
            QX="sponsored_product",
            ZT="onsite_display",
            VB="ctv",
            XJ="sponsored_brand",
            ZQ="instore",
            JV="video",
        ),
        _id("knr", "campaign_id", 8, presence=0.9),
        _id("crv", "creative_id", 6, presence=0.85),
        _count("gzg", "impressions"),
        _count("drk", "clicks"),
        _money("mkE", "cost", 1_000_000),
        _count("bst", "attributed_conversions", CLICK_30, presence=0.85),
        _money("umE", "attributed_sales", 1_000_000, CLICK_30),
        _money("nwE", "ntb_sales", 1_000_000, CLICK_30),
        _unseen("video_views", "video_views"),
        _unseen("ad_group_id", "ad_group_id", TransformOp.STRING_ID),
    ),
    constants=(("currency", "EUR"),),
)

RETAILER_GAMMA = RetailerSpec(
    name="Retailer Gamma",
    slug="gamma",
    network="Gamma Retail Media",
    shape=FileShape.TSV,
    time_format="%d.%Y.%m %H:%M:%S",
    timezone="UTC",
    grain="event",
    currency="EUR",
    columns=(
        _time("aika"),
        _code(
            "tapahtuma",
            "event_type",
            nähty="impression",
            painettu="click",
            koriin="add_to_cart",
            ostettu="purchase",
        ),
        _code(
            "mainospaikka",
            "placement_type",
            hyllytuote="sponsored_product",
            merkkirivi="sponsored_brand",
            sivubanneri="onsite_display",
            ulkobanneri="offsite_display",
            elokuva="video",
            kaiutin="audio",
        ),
        _code("laite", "device", puhelin="mobile", työpöytä="desktop", taulu="tablet"),
        _id("kampanja", "campaign_id", 6),
        _id("tuotenro", "product_id", 6, "T"),
        _money("kulut", "cost"),
        _count("kpl", "attributed_units", VIEW_7),
        _money("myynti", "attributed_sales", 1, VIEW_7),
        _unseen("currency", "currency"),
        _unseen("creative_id", "creative_id", TransformOp.STRING_ID),
    ),
)

RETAILER_DELTA = RetailerSpec(
    name="Retailer Delta",
    slug="delta",
    network="Delta Connect",
    shape=FileShape.NESTED_JSONL,
    time_format="%Y-%m-%d %H:%M:%S",
    timezone="America/Bogota",
    grain="event",
    currency="USD",
    columns=(
        _time("evo.cuan"),
        _code("evo.qx", "event_type", v0="impression", t1="click", c2="add_to_cart", z3="purchase"),
        _code(
            "adq.zon",
            "placement_type",
            W7="sponsored_display",
            W3="sponsored_product",
            W9="instore",
            W2="sponsored_brand",
            W5="ctv",
            W8="video",
        ),
        _id("adq.cmpn", "campaign_id", 8),
        _id("adq.pza", "creative_id", 6, presence=0.85),
        _money("adq.gst_ctv", "cost", 100),
        _id("itx.refi", "sku", 7, "D"),
        SourceColumn("itx.barra", "upc", TransformOp.PAD_GTIN, digits=12),
        _money("itx.pvp_ctv", "price", 100),
        _unseen("itx.brand", "brand"),
        _unseen("adq.bid", "bid"),
    ),
    constants=(("currency", "USD"),),
)

RETAILER_EPSILON = RetailerSpec(
    name="Retailer Epsilon",
    slug="epsilon",
    network="Epsilon Reklama",
    shape=FileShape.SEMICOLON_CSV,
    time_format="%d/%m/%y %H:%M",
    timezone="Africa/Lagos",
    grain="event",
    currency="PLN",
    columns=(
        _time("chwila"),
        _code(
            "miejsce",
            "placement_type",
            polka="sponsored_product",
            gora="onsite_display",
            glosnik="audio",
            kasa="instore",
            wkladka="sponsored_brand",
            zewn="offsite_display",
        ),
        _code("rozl", "cost_model", zak="cpc", tys="cpm", akc="cpa", rycz="flat"),
        _id("kamp_nr", "campaign_id", 6, "E"),
        _id("slowo_nr", "keyword_id", 7),
        _count("wysw", "impressions"),
        _count("klikn", "clicks"),
        _comma("wydatek", "cost"),
        _count("szt", "attributed_units", CLICK_14),
        _comma("obrot", "attributed_sales", CLICK_14),
        _unseen("match_type", "match_type"),
        _unseen("page_views", "page_views"),
    ),
    constants=(("currency", "PLN"),),
    decimal_comma=True,
)

TEST_RETAILERS: tuple[RetailerSpec, ...] = (
    RETAILER_ALPHA,
    RETAILER_BETA,
    RETAILER_GAMMA,
    RETAILER_DELTA,
    RETAILER_EPSILON,
)


def private_words(spec: RetailerSpec) -> frozenset[str]:
    """The words that only this retailer uses: its trained columns' names and its source codes."""
    names = {part for column in spec.known_columns for part in column.name.split(".")}
    codes = {code for column in spec.columns for code, _ in column.codes}
    return frozenset({spec.name, *(word for word in names | codes if len(word) > 1)})
