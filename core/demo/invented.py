"""Procedural retailers for the corpus: in-family ones with guessable words, opaque ones with private words.

All are drawn from a seed and avoid every private word of the test and development retailers.
"""

from random import Random

from core.demo.development import DEVELOPMENT_RETAILERS
from core.demo.draws import word_list
from core.demo.natural_words import NATURAL, NATURAL_CODES
from core.demo.retailers import TEST_RETAILERS, FileShape, Pairs, RetailerSpec, SourceColumn, private_words
from core.rmis.facts import FactType, fact_column
from core.rmis.vocabularies import TransformOp

RESERVED = frozenset(
    word for spec in (*TEST_RETAILERS, *DEVELOPMENT_RETAILERS) for word in private_words(spec)
)

RESERVED_NAMES = tuple(spec.name for spec in (*TEST_RETAILERS, *DEVELOPMENT_RETAILERS))

#: Zones without daylight saving: a local time there is a fixed shift from UTC.
ZONES = word_list(
    "Asia/Tokyo Asia/Singapore Asia/Bangkok Asia/Dubai Africa/Nairobi Africa/Johannesburg Africa/Lagos UTC"
    " America/Argentina/Buenos_Aires America/Puerto_Rico America/Bogota America/Costa_Rica America/Phoenix"
    " Asia/Kolkata Asia/Dhaka Asia/Karachi"
)

IDS = word_list("campaign_id ad_group_id creative_id keyword_id order_id advertiser_id product_id sku")
WORDS = word_list("event_type placement_type device cost_model match_type channel")
COUNTS = word_list(
    "impressions viewable_impressions clicks add_to_cart video_views page_views attributed_units"
    " attributed_conversions"
)
MONEY = word_list("cost bid price budget attributed_sales ntb_sales")
TEXTS = word_list("keyword search_term brand page_type currency")
OUTCOMES = frozenset({"attributed_units", "attributed_conversions", "attributed_sales", "ntb_sales"})

CONSONANTS = "bdfghjklmnprstvwxz"
VOWELS = "aeiou"


def invent_retailer(rng: Random, *, opaque: bool) -> RetailerSpec:
    """A retailer with guessable words, or, `opaque`, with private words and arbitrary code tables."""
    shape = rng.choice(list(FileShape))
    time_format = _time_format(rng)
    comma = shape is FileShape.SEMICOLON_CSV and rng.random() < 0.7
    unit = rng.choice((1, 1, 100, 100, 1_000_000))
    taken: set[str] = set()
    style = rng.randrange(4)
    groups = [_free_word(rng, taken) for _ in range(3)] if shape is FileShape.NESTED_JSONL else []
    columns = []
    for target in _targets(rng):
        name = _opaque_name(rng, taken) if opaque else _natural_name(rng, target, unit, style, taken)
        if groups:
            name = f"{rng.choice(groups)}.{name}"
        columns.append(_column(rng, name, target, unit=unit, comma=comma, opaque=opaque))
    if groups:
        columns.sort(key=lambda column: groups.index(column.name.split(".")[0]))
    currency = rng.choice(("USD", "EUR", "GBP", "CAD", "PLN", "BRL"))
    named = any(column.target == "currency" for column in columns)
    return RetailerSpec(
        name=invent_name(rng),
        slug="",
        network="",
        shape=shape,
        time_format=time_format,
        timezone=rng.choice(ZONES),
        grain="day" if time_format == "epoch_ms" else "event",
        currency=currency,
        columns=tuple(columns),
        constants=() if named or rng.random() < 0.3 else (("currency", currency),),
        decimal_comma=comma,
    )


def invent_name(rng: Random) -> str:
    """A retailer's name that no test or development retailer's name begins."""
    while True:
        name = "Retailer " + "".join(_syllable(rng) for _ in range(rng.choice((2, 3)))).capitalize()
        if not name.startswith(RESERVED_NAMES):
            return name


def _targets(rng: Random) -> list[str]:
    targets = ["ts"] if rng.random() < 0.9 else []
    targets += rng.sample(WORDS, rng.choice((1, 2, 2, 3)))
    if "placement_type" not in targets and rng.random() < 0.6:
        targets.append("placement_type")
    targets += rng.sample(IDS, rng.choice((1, 2, 3)))
    targets += rng.sample(COUNTS, rng.choice((1, 2)))
    targets += rng.sample(MONEY, rng.choice((1, 2, 2)))
    if rng.random() < 0.25:
        targets.append(rng.choice((*TEXTS, "upc")))
    first, rest = targets[:1], targets[1:]
    rng.shuffle(rest)
    return [*first, *rest][:11]


def _time_format(rng: Random) -> str:
    draw = rng.random()
    if draw < 0.2:
        return "iso_offset"
    if draw < 0.3:
        return "iso_z"
    if draw < 0.48:
        return "epoch_ms"
    day = ["%d", "%m", rng.choice(("%Y", "%Y", "%y"))]
    order = rng.choice(((0, 1, 2), (1, 0, 2), (2, 1, 0), (2, 0, 1), (1, 2, 0)))
    separator = rng.choice(("-", ".", "/", ""))
    if not separator:
        return "%Y%m%d" + rng.choice((" ", "")) + rng.choice(("%H%M%S", "%H%M"))
    pattern = separator.join(day[i] for i in order) + rng.choice((" ", "T", " ")) + "%H:%M"
    return pattern + rng.choice((":%S", ":%S", ""))


def _column(rng: Random, name: str, target: str, *, unit: int, comma: bool, opaque: bool) -> SourceColumn:
    windows: Pairs = ()
    if target in OUTCOMES and opaque:
        windows = (
            ("window_click_days", rng.choice((1, 7, 14, 30))),
            ("touch", rng.choice(("click", "view"))),
        )
    if target == "ts":
        return SourceColumn(name, target, TransformOp.TO_UTC)
    if target in WORDS:
        codes = opaque_codes(rng, target) if opaque else natural_codes(rng, target)
        return SourceColumn(name, target, TransformOp.ENUM_MAP, codes=codes)
    if target == "upc":
        return SourceColumn(name, target, TransformOp.PAD_GTIN, digits=rng.choice((12, 13)))
    fact = fact_column(target)
    if fact is not None and fact.dtype is FactType.IDENTIFIER:
        prefix = rng.choice(("", "", rng.choice("ABCFHMNPRSX"), rng.choice(("C-", "P-", "X-"))))
        return SourceColumn(name, target, TransformOp.STRING_ID, digits=rng.randint(5, 10), prefix=prefix)
    if fact is not None and fact.dtype is FactType.NUMBER:
        if unit > 1:
            return SourceColumn(name, target, TransformOp.DIVIDE, unit, qualifiers=windows)
        op = TransformOp.PARSE_NUMBER if comma else TransformOp.NONE
        return SourceColumn(name, target, op, qualifiers=windows)
    return SourceColumn(name, target, qualifiers=windows)


def opaque_codes(rng: Random, target: str) -> tuple[tuple[str, str], ...]:
    """A code table: each of up to six words gets a private code; all codes are of one style.

    More often than not a code has the meaning that it has at other retailers too (`_usual_code`); the rest is
    arbitrary. Real code tables are like that, and a meaning that is common is what a model learns first.
    """
    fact = fact_column(target)
    if fact is None:
        raise ValueError(f"{target} is no column of RMIS")
    allowed = [word for word in fact.words if word not in ("unknown", "aggregate", "view", "video_start")]
    chosen = rng.sample(allowed, min(len(allowed), rng.choice((4, 5, 6))))
    style, letter = rng.randrange(6), rng.choice("ABCDEFHJLMNPQRSTUXYZ")
    codes: list[str] = []
    for word in chosen:
        code = _usual_code(style, letter, target, word) if rng.random() < 0.6 else ""
        while not code or code in codes or code in RESERVED:
            code = _arbitrary_code(rng, style, letter)
            if code in RESERVED:
                letter = rng.choice("ABCDEFHJLMN")
        codes.append(code)
    return tuple(zip(codes, chosen, strict=True))


def _usual_code(style: int, letter: str, target: str, word: str) -> str:
    """The code that many retailers use for a word: for codes of letter and digit the digit decides."""
    fact = fact_column(target)
    if fact is None:
        raise ValueError(f"{target} is no column of RMIS")
    if style in (0, 4):
        return f"{letter}{fact.words.index(word) % 9 + 1}" + ("" if style == 0 else "x")
    return _arbitrary_code(Random(f"usual:{style}:{target}:{word}"), style, letter)


def _arbitrary_code(rng: Random, style: int, letter: str) -> str:
    match style:
        case 0:
            return f"{letter}{rng.randrange(1, 10)}"
        case 1:
            return "".join(rng.sample("ABCDEFGHIJKLMNOPQRSTUVWXYZ", 2))
        case 2:
            return str(rng.randrange(10, 100))
        case 3:
            return rng.choice("abcdefghijklmnopqrstuvwxyz") + str(rng.randrange(10))
        case 4:
            return f"{letter}{rng.randrange(10)}{rng.choice('abcdwxyz')}"
    return _syllable(rng) + _syllable(rng) + rng.choice(("", rng.choice("lnrst")))


def natural_codes(rng: Random, target: str) -> tuple[tuple[str, str], ...]:
    """A code table of guessable words, for two or more of the target's values."""
    known = NATURAL_CODES[target]
    chosen = rng.sample(sorted(known), rng.randint(2, min(6, len(known))))
    return tuple((rng.choice(known[word].split(" ")), word) for word in chosen)


def _natural_name(rng: Random, target: str, unit: int, style: int, taken: set[str]) -> str:
    name = target
    fact = fact_column(target)
    while name in taken or name == target:
        name = rng.choice(NATURAL[target].split(" "))
        if fact is not None and fact.dtype is FactType.NUMBER and unit > 1:
            name += "_cents" if unit == 100 else "_micros"
        if style == 1:
            head, *tail = name.split("_")
            name = head + "".join(part.capitalize() for part in tail)
        elif style == 2:
            name = name.upper()
        if name not in taken:
            break
    taken.add(name)
    return name


def _opaque_name(rng: Random, taken: set[str]) -> str:
    name = _free_word(rng, taken)
    if rng.random() < 0.3:
        name += rng.choice(("_", "")) + rng.choice(("nr", "x", "ct", "id", "q", "no", "t"))
    if rng.random() < 0.15:
        name = name.upper()
    if name in taken or name in RESERVED:
        return _opaque_name(rng, taken)
    taken.add(name)
    return name


def _free_word(rng: Random, taken: set[str]) -> str:
    word = ""
    while not word or word in taken or word in RESERVED:
        draw = rng.random()
        if draw < 0.35:
            word = "".join(rng.choice(CONSONANTS) for _ in range(rng.choice((2, 3))))
        elif draw < 0.75:
            word = _syllable(rng) + _syllable(rng) + rng.choice(("", "", rng.choice("klmnrst")))
        else:
            word = _syllable(rng) + rng.choice(CONSONANTS)
    taken.add(word)
    return word


def _syllable(rng: Random) -> str:
    return rng.choice(CONSONANTS) + rng.choice(VOWELS)
