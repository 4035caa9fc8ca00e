"""Development retailers: as unlike the corpus as the test retailers; only these are for tuning recipes."""

from core.demo.retailers import FileShape, RetailerSpec, SourceColumn
from core.rmis.vocabularies import TransformOp

_TIME = TransformOp.TO_UTC
_ENUM = TransformOp.ENUM_MAP
_ID = TransformOp.STRING_ID

DEVELOPMENT_RETAILERS: tuple[RetailerSpec, ...] = (
    RetailerSpec(
        name="Retailer Omega",
        slug="omega",
        network="Omega Ads",
        shape=FileShape.CSV,
        time_format="iso_offset",
        timezone="Africa/Nairobi",
        grain="event",
        currency="USD",
        columns=(
            SourceColumn("uhrz", "ts", _TIME),
            SourceColumn(
                "aktn",
                "event_type",
                _ENUM,
                codes=(
                    ("zeig", "impression"),
                    ("drueck", "click"),
                    ("wagn", "add_to_cart"),
                    ("kass", "purchase"),
                ),
            ),
            SourceColumn(
                "fl_cd",
                "placement_type",
                _ENUM,
                codes=(
                    ("G1", "onsite_display"),
                    ("G2", "sponsored_product"),
                    ("G3", "ctv"),
                    ("G4", "sponsored_brand"),
                    ("G5", "video"),
                    ("G6", "offsite_display"),
                ),
            ),
            SourceColumn("wrbnr", "campaign_id", _ID, digits=7),
            SourceColumn("grpnr", "ad_group_id", _ID, digits=6),
            SourceColumn("wrnr", "sku", _ID, digits=6, prefix="G"),
            SourceColumn("pfn", "cost", TransformOp.DIVIDE, by=100),
            SourceColumn("anz", "attributed_units"),
            SourceColumn("erl_pf", "attributed_sales", TransformOp.DIVIDE, by=100),
        ),
        constants=(("currency", "USD"),),
    ),
    RetailerSpec(
        name="Retailer Sigma",
        slug="sigma",
        network="Sigma Media",
        shape=FileShape.JSONL,
        time_format="%Y%m%d",
        timezone="UTC",
        grain="day",
        currency="EUR",
        columns=(
            SourceColumn("dgDat", "ts", _TIME),
            SourceColumn(
                "pl",
                "placement_type",
                _ENUM,
                codes=(
                    ("XQ", "video"),
                    ("TZ", "sponsored_product"),
                    ("BV", "instore"),
                    ("JX", "onsite_display"),
                    ("QZ", "sponsored_brand"),
                    ("VJ", "ctv"),
                ),
            ),
            SourceColumn("cnr", "campaign_id", _ID, digits=8, presence=0.9),
            SourceColumn("bnr", "creative_id", _ID, digits=6, presence=0.85),
            SourceColumn("vtn", "impressions"),
            SourceColumn("klx", "clicks"),
            SourceColumn("kzE", "cost", TransformOp.DIVIDE, by=1_000_000),
            SourceColumn("ctn", "attributed_conversions", presence=0.85),
            SourceColumn("ozE", "attributed_sales", TransformOp.DIVIDE, by=1_000_000),
            SourceColumn("nzE", "ntb_sales", TransformOp.DIVIDE, by=1_000_000),
        ),
        constants=(("currency", "EUR"),),
    ),
    RetailerSpec(
        name="Retailer Tau",
        slug="tau",
        network="Tau Hirdetés",
        shape=FileShape.SEMICOLON_CSV,
        time_format="%m.%y/%d %H:%M",
        timezone="Asia/Karachi",
        grain="event",
        currency="HUF",
        columns=(
            SourceColumn("idopont", "ts", _TIME),
            SourceColumn(
                "helyszin",
                "placement_type",
                _ENUM,
                codes=(
                    ("polc", "sponsored_product"),
                    ("felso", "onsite_display"),
                    ("hangos", "audio"),
                    ("penztar", "instore"),
                    ("szorolap", "sponsored_brand"),
                    ("kulso", "offsite_display"),
                ),
            ),
            SourceColumn(
                "elszam",
                "cost_model",
                _ENUM,
                codes=(("katt", "cpc"), ("ezer", "cpm"), ("muv", "cpa"), ("atal", "flat")),
            ),
            SourceColumn("kampany", "campaign_id", _ID, digits=6, prefix="T"),
            SourceColumn("szo_sz", "keyword_id", _ID, digits=7),
            SourceColumn("megj", "impressions"),
            SourceColumn("kattint", "clicks"),
            SourceColumn("koltseg", "cost", TransformOp.PARSE_NUMBER),
            SourceColumn("drb", "attributed_units"),
            SourceColumn("forgalom", "attributed_sales", TransformOp.PARSE_NUMBER),
        ),
        constants=(("currency", "HUF"),),
        decimal_comma=True,
    ),
)
