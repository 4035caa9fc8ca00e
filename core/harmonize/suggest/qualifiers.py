"""Under what terms an outcome was counted: windows, touch, scope, channel, model, date, as far as anything says it.

What the name says counts first, then a documented or confirmed rule, the description, the card's headline, and what
the network documents for all its reports. What nobody says is left out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.harmonize.records import Qualifier, SourceCard
from core.harmonize.suggest.names import WINDOW, NameReading, Piece
from core.harmonize.suggest.tokens import split_name
from core.rmis.facts import FactGroup, fact_column

Terms = dict[str, Qualifier]

_TOUCH = {"clickthrough": "click", "viewthrough": "view", "touchboth": "click_or_view"}
_SCOPES = {
    "samesku": "same_sku",
    "othersku": "other_sku",
    "brandscope": "brand",
    "relatedscope": "related",
    "allgoals": "all_goals",
}
_CHANNELS = {"online": "online", "instore": "store", "pickup": "pickup", "delivery": "delivery"}
_MODELS = {
    "lasttouch": "last_touch",
    "firsttouch": "first_touch",
    "linear": "linear",
    "timedecay": "time_decay",
    "datadriven": "data_driven",
}
_DATES = {"byorder": "order", "byinteraction": "interaction"}


@dataclass(frozen=True, slots=True)
class Documented:
    """What a network documents for its reports: words of network and report that must all stand there."""

    words: tuple[str, ...]
    terms: tuple[tuple[str, Qualifier], ...]


_AMAZON_BOTH = (("window_click_days", 14), ("window_view_days", 14), ("touch", "click_or_view"))
#: advertising.amazon.com, «Attribution windows» of each ad product; developer.walmart.com, «Attribution».
NETWORK_TERMS = (
    Documented(("amazon", "sponsored", "products"), (("touch", "click"),)),
    Documented(("amazon", "sp"), (("touch", "click"),)),
    Documented(("amazon", "spcampaigns"), (("touch", "click"),)),
    Documented(("amazon", "display"), _AMAZON_BOTH),
    Documented(("amazon", "sd"), _AMAZON_BOTH),
    Documented(("amazon", "dsp"), _AMAZON_BOTH),
    Documented(("amazon", "adsp"), _AMAZON_BOTH),
    Documented(("amazon", "brands"), _AMAZON_BOTH),
    Documented(("amazon", "sb"), _AMAZON_BOTH),
    Documented(("walmart", "sponsored"), (("touch", "click"),)),
)


def takes_terms(target: str | None) -> bool:
    """Whether numbers of this target mean nothing without their terms."""
    column = fact_column(target) if target else None
    return column is not None and column.group is FactGroup.OUTCOME


def terms_of_name(reading: NameReading, target: str) -> Terms:
    """What a name says. A window that is no whole number of days stands as None: it is known to differ."""
    sense = reading.senses.get(target)
    pieces = sense.pieces if sense else reading.pieces
    said = set(sense.words.split()) if sense else set()
    terms: Terms = {}
    for kind, table in (
        ("sku_scope", _SCOPES),
        ("sales_channel", _CHANNELS),
        ("model", _MODELS),
        ("date_basis", _DATES),
    ):
        found = [table[piece.concept] for piece in pieces if piece.concept in table]
        if found:
            terms[kind] = found[0]
    if any(piece.concept == "existing" for piece in pieces):
        terms["new_to_brand"] = False
    if "sku_scope" not in terms and _brand_of(pieces, said):
        terms["sku_scope"] = "brand"
    return {**_touches_and_windows(pieces, said), **terms}


def _brand_of(pieces: Sequence[Piece], said: set[str]) -> bool:
    return any(piece.concept == "brand" and piece.text not in said for piece in pieces)


def _touch_of(piece: Piece, said: set[str]) -> str | None:
    if piece.concept in _TOUCH:
        return _TOUCH[piece.concept]
    return piece.concept if piece.concept in ("click", "view") and piece.text not in said else None


def _touches_and_windows(pieces: Sequence[Piece], said: set[str]) -> Terms:
    touches = [(index, touch) for index, piece in enumerate(pieces) if (touch := _touch_of(piece, said))]
    windows = [(index, piece.days) for index, piece in enumerate(pieces) if piece.concept == WINDOW]
    kinds = {touch for _, touch in touches}
    touch = "click_or_view" if "click_or_view" in kinds or len(kinds) > 1 else next(iter(kinds), None)
    terms: Terms = {"touch": touch} if touch else {}
    if len(windows) > 1 and len(touches) > 1:
        for at, days in windows:
            near = min(touches, key=lambda each: abs(each[0] - at))[1]
            terms["window_view_days" if near == "view" else "window_click_days"] = _whole(days)
    elif windows:
        days = _whole(windows[0][1])
        terms["window_view_days" if touch == "view" else "window_click_days"] = days
        if touch == "click_or_view" and len(windows) == 1:
            terms["window_view_days"] = days
    return terms


def _whole(days: float | None) -> int | None:
    return int(days) if days is not None and days == int(days) else None


def terms_of_headline(card: SourceCard | None) -> Terms:
    """The headline as terms; a list of columns says nothing of terms."""
    if card is None or card.headline is None:
        return {}
    if isinstance(card.headline, Mapping):
        return {
            name: value
            for name, value in card.headline.items()
            if value is not None and value != "unspecified"
        }
    words = card.headline if isinstance(card.headline, str) else ""
    number = next((int(word) for word in split_name(words) if word.isdecimal()), None)
    return {"window_click_days": number} if number is not None and number <= 400 else {}


def terms_of_network(card: SourceCard | None) -> Terms:
    """What the network documents for every report of this kind."""
    if card is None:
        return {}
    words = set(split_name(f"{card.network} {card.report}"))
    found = next((each for each in NETWORK_TERMS if set(each.words) <= words), None)
    return dict(found.terms) if found else {}


def join_terms(name: Terms, others: Iterable[Terms]) -> Terms:
    """The name's terms, completed by the others in order as far as these fit to what is known already.

    A number of clicks alone takes no view window, one of views alone no click window; a window that the name says
    without a touch is the click window, and a view window beside it is not taken from a headline of another window.
    """
    terms = dict(name)
    for other in others:
        touch = terms.get("touch") or other.get("touch")
        own = any(key in terms for key in ("window_click_days", "window_view_days"))
        for key, value in other.items():
            if key in terms or value is None:
                continue
            if key == "window_click_days" and (touch == "view" or own):
                continue
            if key == "window_view_days" and (touch == "click" or (own and terms.get("touch") != "view")):
                continue
            if key == "window_view_days" and own:
                continue
            terms[key] = value
    return {key: value for key, value in terms.items() if value is not None}


def widen_total(
    names: Mapping[str, Terms], totals: Iterable[str], beside: Iterable[Terms] = ()
) -> dict[str, Terms]:
    """Columns named total beside parts of a number are the total of that split.

    `names`: column → terms, all of one target; `beside`: terms of the report's other outcomes.
    """
    others = [*names.values(), *beside]
    scopes = {terms.get("sku_scope") for terms in others}
    channels = {terms.get("sales_channel") for terms in others}
    widened = {name: dict(terms) for name, terms in names.items()}
    for name in totals:
        terms = widened[name]
        if scopes & {"same_sku", "other_sku", "related", "brand"}:
            terms.setdefault("sku_scope", "total")
        if channels & {"online", "store", "pickup", "delivery"}:
            terms.setdefault("sales_channel", "total")
    return widened


def says_total(reading: NameReading) -> bool:
    """Whether a name says «total», be it as a word of its own or within a phrase such as «total sales»."""
    return "total" in reading.concepts() or "total" in reading.words


def implied_terms(target: str, terms: Terms) -> set[str]:
    """Qualifiers that say no more than a number without them: all products, new buyers of a new-to-brand column.

    The model goes too: reports of one network differ in it, and what documents say of it is soon out of date.
    """
    implied = {"model"} if "model" in terms else set()
    if terms.get("sku_scope") == "total":
        implied.add("sku_scope")
    if target.startswith("ntb_") and terms.get("new_to_brand") is True:
        implied.add("new_to_brand")
    return implied


def split_by_shop(terms: Mapping[str, Terms], concepts: Mapping[str, frozenset[str]]) -> dict[str, Terms]:
    """Where the orders of a product stand beside those of its shop, the product's are of the advertised one alone."""
    shops = [name for name in terms if "store" in concepts[name]]
    products = [name for name in terms if {"product", "productcode"} & concepts[name]]
    split = {name: dict(each) for name, each in terms.items()}
    if shops and products and not set(shops) & set(products):
        for names, scope in ((products, "same_sku"), (shops, "total")):
            for name in names:
                split[name].setdefault("sku_scope", scope)
    return split


def both_windows(terms: Terms, default: Terms) -> Terms:
    """Where a network counts clicks and views over one window, a window that the name says holds for both."""
    if default.get("touch") != "click_or_view" or default.get("window_view_days") != default.get(
        "window_click_days"
    ):
        return terms
    if terms.get("touch", "click_or_view") != "click_or_view" or "window_click_days" not in terms:
        return terms
    return {**terms, "touch": "click_or_view", "window_view_days": terms["window_click_days"]}
