"""The closed word lists of RMIS: what a value may be."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class EventType(StrEnum):
    IMPRESSION = "impression"
    CLICK = "click"
    VIEW = "view"
    ADD_TO_CART = "add_to_cart"
    PURCHASE = "purchase"
    VIDEO_START = "video_start"
    VIDEO_COMPLETE = "video_complete"
    AGGREGATE = "aggregate"


class Grain(StrEnum):
    EVENT = "event"
    HOUR = "hour"
    DAY = "day"
    AGGREGATE = "aggregate"


class Channel(StrEnum):
    ONSITE = "onsite"
    OFFSITE = "offsite"
    INSTORE = "instore"


class PlacementType(StrEnum):
    SPONSORED_PRODUCT = "sponsored_product"
    SPONSORED_BRAND = "sponsored_brand"
    SPONSORED_DISPLAY = "sponsored_display"
    ONSITE_DISPLAY = "onsite_display"
    OFFSITE_DISPLAY = "offsite_display"
    VIDEO = "video"
    AUDIO = "audio"
    CTV = "ctv"
    INSTORE = "instore"
    UNKNOWN = "unknown"


class CostModel(StrEnum):
    CPC = "cpc"
    CPM = "cpm"
    VCPM = "vcpm"
    CPA = "cpa"
    FLAT = "flat"


class Device(StrEnum):
    DESKTOP = "desktop"
    MOBILE = "mobile"
    TABLET = "tablet"
    APP = "app"
    TV = "tv"
    KIOSK = "kiosk"


class MatchType(StrEnum):
    EXACT = "exact"
    PHRASE = "phrase"
    BROAD = "broad"
    AUTO = "auto"


class Touch(StrEnum):
    CLICK = "click"
    VIEW = "view"
    CLICK_OR_VIEW = "click_or_view"
    UNSPECIFIED = "unspecified"


class AttributionModel(StrEnum):
    LAST_TOUCH = "last_touch"
    FIRST_TOUCH = "first_touch"
    LINEAR = "linear"
    TIME_DECAY = "time_decay"
    DATA_DRIVEN = "data_driven"
    UNSPECIFIED = "unspecified"


class SkuScope(StrEnum):
    SAME_SKU = "same_sku"
    OTHER_SKU = "other_sku"
    BRAND = "brand"
    RELATED = "related"
    TOTAL = "total"
    ALL_GOALS = "all_goals"


class SalesChannel(StrEnum):
    ONLINE = "online"
    STORE = "store"
    PICKUP = "pickup"
    DELIVERY = "delivery"
    TOTAL = "total"


class DateBasis(StrEnum):
    INTERACTION = "interaction"
    ORDER = "order"


class ViewabilityStandard(StrEnum):
    MRC = "mrc"
    GROUPM = "groupm"
    UNSPECIFIED = "unspecified"


class TransformOp(StrEnum):
    """What a mapping rule does with a source column."""

    NONE = "none"
    DROP = "drop"
    STRING_ID = "string_id"
    TO_UTC = "to_utc"
    DIVIDE = "divide"
    MULTIPLY = "multiply"
    PARSE_NUMBER = "parse_number"
    ENUM_MAP = "enum_map"
    PAD_GTIN = "pad_gtin"
    REGEX_SPLIT = "regex_split"
    EXPLODE = "explode"
    DEDUP = "dedup"
    SUM_DELTA = "sum_delta"
    PSEUDONYMIZE = "pseudonymize"


TRANSFORM_PARAMETERS: Mapping[TransformOp, frozenset[str]] = MappingProxyType(
    {
        TransformOp.NONE: frozenset(),
        TransformOp.DROP: frozenset(),
        TransformOp.STRING_ID: frozenset(),
        TransformOp.TO_UTC: frozenset({"format", "source_tz", "grain"}),
        TransformOp.DIVIDE: frozenset({"by", "by_field"}),
        TransformOp.MULTIPLY: frozenset({"by", "by_field"}),
        TransformOp.PARSE_NUMBER: frozenset({"strip"}),
        TransformOp.ENUM_MAP: frozenset({"map"}),
        TransformOp.PAD_GTIN: frozenset({"to"}),
        TransformOp.REGEX_SPLIT: frozenset({"pattern", "numeric_goes_to"}),
        TransformOp.EXPLODE: frozenset({"const", "path"}),
        TransformOp.DEDUP: frozenset({"on"}),
        TransformOp.SUM_DELTA: frozenset({"key"}),
        TransformOp.PSEUDONYMIZE: frozenset({"key"}),
    }
)

#: Qualifier name -> its allowed words; an empty tuple means whole days (an integer, or null where unknown).
QUALIFIERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "window_click_days": (),
        "window_view_days": (),
        "touch": tuple(Touch),
        "model": tuple(AttributionModel),
        "sku_scope": tuple(SkuScope),
        "sales_channel": tuple(SalesChannel),
        "date_basis": tuple(DateBasis),
        "new_to_brand": ("true", "false"),
        "viewability_standard": tuple(ViewabilityStandard),
    }
)
