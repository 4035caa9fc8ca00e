"""Which language a text is in: told by its script, or by the small words that every sentence needs.

A text with fewer than three such words, or with no clear winner, is of no known language: records of retail media
are not sentences.
"""

from collections.abc import Mapping
from types import MappingProxyType

import polars as pl

LEAST_WORDS = 3
CLEARLY = 1.5
LEAST_SIGNS = 8
_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "en": "the and of to is that for with are was this you be not have from or an will what which can how your it",
        "de": "der die das und ist nicht mit den von ein eine zu auf für dem sich auch es wird sind im wie bei oder aus",
        "fr": "le la les et est des une pour que dans qui pas sur avec du au ce il sont plus vous nous ne ou cette",
        "es": "el la los las y es de que en una para con por del se no un su al lo como más este pero esta",
        "it": "il la di che e è per una un con del non sono della si da le nel alla questo come più i gli dei",
        "pt": "o a os as de que e é para uma um com do da não em no na por se dos mais como ao esta",
        "nl": "de het een en van is dat niet met voor op zijn te aan ook er bij naar wordt deze dit uit maar worden je",
        "sv": "och att det som en är på för med av inte den till ett om har de jag var från kan ska vi eller man",
        "pl": "i w na z się nie jest to do że o jak za od po dla ale czy przez tym są ich tego jego przy",
        "tr": "ve bir bu için ile de da çok daha olan gibi en ne var değil olarak kadar sonra her mi o ya ama ben",
    }
)
_SCRIPTS: Mapping[str, str] = MappingProxyType(
    {
        "ja": r"[\p{Hiragana}\p{Katakana}]",
        "zh": r"\p{Han}",
        "ko": r"\p{Hangul}",
        "ru": r"\p{Cyrillic}",
        "ar": r"\p{Arabic}",
        "el": r"\p{Greek}",
        "he": r"\p{Hebrew}",
        "hi": r"\p{Devanagari}",
        "th": r"\p{Thai}",
    }
)
UNKNOWN = ""


def languages(texts: pl.Series) -> pl.Series:
    """The language of each text as a two-letter code, "" where it cannot be told."""
    by_words = _by_words(texts)
    script = _by_script(texts)
    return pl.DataFrame({"script": script, "words": by_words}).select(
        pl.when(pl.col("script") != UNKNOWN).then("script").otherwise("words").alias("language")
    )["language"]


def _by_words(texts: pl.Series) -> pl.Series:
    known = pl.DataFrame(
        [(word, code) for code, words in _WORDS.items() for word in words.split()],
        schema={"word": pl.String, "code": pl.String},
        orient="row",
    )
    words = (
        pl.DataFrame({"row": pl.Series(range(len(texts)), dtype=pl.UInt32), "word": texts.str.to_lowercase()})
        .with_columns(pl.col("word").str.extract_all(r"\p{L}+"))
        .explode("word")
        .join(known, on="word")
        .group_by("row", "code")
        .agg(pl.len().alias("hits"))
        .sort("row", "hits", "code", descending=[False, True, False])
    )
    best = words.group_by("row", maintain_order=True).agg(
        pl.col("code").first(),
        pl.col("hits").first(),
        pl.col("hits").get(1, null_on_oob=True).alias("second"),
    )
    clear = best.filter(
        (pl.col("hits") >= LEAST_WORDS) & (pl.col("hits") >= CLEARLY * pl.col("second").fill_null(0))
    )
    found = [UNKNOWN] * len(texts)
    for row, code in clear.select("row", "code").iter_rows():
        found[row] = code
    return pl.Series(found, dtype=pl.String)


def _by_script(texts: pl.Series) -> pl.Series:
    """Only texts with signs beyond Latin are looked at; most have none."""
    foreign = texts.str.contains(
        r"[\p{Hiragana}\p{Katakana}\p{Han}\p{Hangul}\p{Cyrillic}\p{Arabic}\p{Greek}\p{Hebrew}\p{Devanagari}\p{Thai}]"
    )
    found = [UNKNOWN] * len(texts)
    places = foreign.arg_true().to_list()
    if places:
        some = texts.gather(places)
        letters = some.str.count_matches(r"\p{L}")
        for code, script in reversed(tuple(_SCRIPTS.items())):
            counts = some.str.count_matches(script)
            enough = (counts >= LEAST_SIGNS if code != "ja" else counts >= 2) & (
                counts * (2 if code != "ja" else 8) >= letters
            )
            for at in enough.arg_true().to_list():
                found[places[at]] = code
    return pl.Series(found, dtype=pl.String)
