"""The vocabulary of retail-media reports: words to concepts (words.txt), concepts to RMIS columns (targets.txt).

Both files are plain lists that a person who knows reports can read and extend.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from core.errors import IntegrityError
from core.harmonize.suggest.tokens import fold, is_unspaced, singular, split_name
from core.rmis.facts import FACT_BY_NAME, FactGroup, fact_column

FOLDER = Path(__file__).parent
NO_PLACE = ""
UNKNOWN = "?"
NUMBER = "0"

#: What a leftover concept costs: words that change the meaning cost more than words that only say where.
FREE = frozenset(
    [
        "filler",
        "number",
        "amount",
        "video",
        "store",
        "micros",
        "cents",
        "millicents",
        "microcents",
        "nanos",
        "millis",
        "thousands",
        "dayword",
        "hourword",
        "window",
    ]
)
ENTITIES = frozenset(
    [
        "campaign",
        "lineitem",
        "adgroup",
        "insertion",
        "creative",
        "advertiser",
        "account",
        "portfolio",
        "keyword",
        "targeting",
        "searchterm",
        "product",
        "productcode",
        "sku",
        "upc",
        "brand",
        "category",
        "placement",
        "placetype",
        "channel",
        "device",
        "page",
        "audience",
        "retailer",
        "network",
        "user",
        "session",
        "request",
        "event",
        "order",
        "transaction",
    ]
)
TOUCHES = frozenset(["click", "view", "clickthrough", "viewthrough", "touchboth"])
SCOPES = frozenset(
    [
        "attributed",
        "samesku",
        "othersku",
        "brandscope",
        "relatedscope",
        "allgoals",
        "online",
        "instore",
        "pickup",
        "delivery",
        "omni",
        "total",
        "gross",
        "net",
        "lasttouch",
        "firsttouch",
        "linear",
        "timedecay",
        "datadriven",
        "byorder",
        "byinteraction",
    ]
)
DERIVED_MARKS = frozenset(
    [
        "rate",
        "costper",
        "vtr",
        "ctr",
        "cpc",
        "cpm",
        "cpa",
        "cvr",
        "roas",
        "acos",
        "viewrate",
        "measurability",
        "noplace",
        "invalid",
        "quartile",
    ]
)
#: Before a rate they say of what it is («revenue eCPM»); behind it they are the number itself («CPC sales»).
MEASURES = frozenset(["revenue", "sale", "order", "purchase", "conversion", "unit"])
_RATE_WORDS = frozenset(["code_usd", "creative", "product", "rate", "costper"]) | MEASURES
_LEFT_EARLY, _LEFT_LATE, _LEFT_OTHER, _LEFT_DERIVED, _LEFT_UNKNOWN = 0.3, 0.7, 0.9, 2.5, 0.55


@dataclass(frozen=True, slots=True)
class Meaning:
    """One line of targets.txt: these concepts together mean the target with this weight."""

    target: str
    weight: float
    concepts: frozenset[str]


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The vocabulary, prepared for look-up. `longest` is the number of words of the longest entry."""

    words: Mapping[str, tuple[str, ...]]
    unspaced: tuple[str, ...]
    meanings: Mapping[str, tuple[Meaning, ...]]
    longest: int


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """The shipped vocabulary. Raises IntegrityError for a line that cannot be read."""
    words = _read_words((FOLDER / "words.txt").read_text(encoding="utf-8"))
    meanings = _read_meanings((FOLDER / "targets.txt").read_text(encoding="utf-8"))
    unspaced = tuple(sorted((word for word in words if is_unspaced(word)), key=len, reverse=True))
    longest = max(len(word.split(" ")) for word in words)
    return Lexicon(words, unspaced, meanings, longest)


def free_for(target: str) -> frozenset[str]:
    """Concepts that say nothing against a target: qualifiers of an outcome, «total» of a cost."""
    column = fact_column(target) if target else None
    if column is None:
        return SCOPES | TOUCHES | {"code_usd"}
    match column.group:
        case FactGroup.OUTCOME:
            return SCOPES | TOUCHES | {"existing", "code_usd", "creative"}
        case FactGroup.DERIVED:
            return SCOPES | TOUCHES | _RATE_WORDS
        case FactGroup.MONEY:
            return frozenset({"total", "gross", "net", "code_usd", "creative", "attributed"})
        case FactGroup.DELIVERY:
            engaged = target in ("add_to_cart", "detail_page_views", "branded_searches", "page_views")
            extra = SCOPES | TOUCHES if engaged else frozenset({"total", "gross", "delivery"})
            return extra | {"creative"}
    if target in ("price", "promo_price", "bid", "budget"):
        return frozenset({"code_usd", "total"})
    return frozenset()


def names_a_thing(target: str) -> bool:
    """Whether a target says who, what, where or when, and no number that is counted."""
    column = fact_column(target) if target else None
    things = (FactGroup.TIME, FactGroup.EVENT, FactGroup.PLACE, FactGroup.PAYER, FactGroup.PRODUCT)
    return column is not None and column.group in things


def leftover_cost(concept: str, *, early: bool, first: bool = False, thing: bool = False) -> float:
    """What one concept that a meaning leaves unexplained takes from its weight.

    `early`: it stands before what the meaning explains; `first`: it begins the name; `thing`: the target is no number.
    """
    if thing and early and (concept in MEASURES or concept in ("impression", "click")):
        return _LEFT_EARLY  # «purchased product name» is the name of a product
    if concept in FREE or concept == NUMBER:
        return 0.0
    if concept == UNKNOWN:
        return _LEFT_UNKNOWN
    if first and early and concept in ("cpc", "cpm", "cpa"):
        return _LEFT_OTHER / 2  # «CPC impressions» are those of campaigns that pay for clicks
    if concept in DERIVED_MARKS:
        return _LEFT_DERIVED
    if concept in ENTITIES:
        return _LEFT_EARLY if early else _LEFT_LATE
    return _LEFT_OTHER


def _entries(text: str, sign: str) -> Iterable[tuple[str, list[str]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        head, found, rest = line.partition(sign)
        if not found or not rest.strip():
            raise IntegrityError(
                "The suggester's vocabulary cannot be read.",
                f"Line {number} has no «{sign}» with words behind it.",
                "Restore the file from the release.",
            )
        yield head.strip(), [word.strip() for word in rest.split(";" if sign == "=" else ",")]


def _read_words(text: str) -> Mapping[str, tuple[str, ...]]:
    words: dict[str, list[str]] = defaultdict(list)
    for concept, synonyms in _entries(text, ":"):
        for synonym in synonyms:
            key = word_key(split_name(fold(synonym)))
            if concept not in words[key]:
                words[key].append(concept)
    return MappingProxyType({word: tuple(concepts) for word, concepts in words.items()})


def word_key(words: Sequence[str]) -> str:
    """How one or several words stand in the vocabulary."""
    return " ".join(singular(word) for word in words)


def _read_meanings(text: str) -> Mapping[str, tuple[Meaning, ...]]:
    by_concept: dict[str, list[Meaning]] = defaultdict(list)
    for head, combinations in _entries(text, "="):
        weight, _, first = combinations[0].partition(":")
        target = NO_PLACE if head == "-" else head
        if target and fact_column(target) is None:
            raise IntegrityError(f"«{target}» is not a column of RMIS.", "", "Correct targets.txt.")
        for combination in (first, *combinations[1:]):
            concepts = frozenset(part.strip() for part in combination.split("+"))
            meaning = Meaning(target, float(weight), concepts)
            for concept in concepts:
                by_concept[concept].append(meaning)
    return MappingProxyType({concept: tuple(found) for concept, found in by_concept.items()})


def known_targets() -> frozenset[str]:
    """Every RMIS column that the vocabulary can name."""
    named = {meaning.target for found in lexicon().meanings.values() for meaning in found if meaning.target}
    return frozenset(named | set(FACT_BY_NAME))
