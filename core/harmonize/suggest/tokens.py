"""The words of a column's name, whatever way it is written: camelCase, snake_case, dotted, run together, any script."""

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

MAX_NAME = 300

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_DIGIT_EDGE = re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")
_SIGNS = {
    "$": " usdsign ", "€": " eursign ", "£": " gbpsign ", "¥": " jpysign ", "₽": " rubsign ", "₩": " krwsign ",
    "₹": " inrsign ", "%": " percent ", "#": " number ", "+": " and ", "&": " and ",
}  # fmt: skip
# Word endings of Russian nouns and adjectives, longest first: «товара» and «товаров» are the same word.
_CYRILLIC_END = re.compile(
    r"(?:иями|ями|ами|ого|ему|ому|ыми|ими|ах|ях|ов|ев|еи|ам|ям|ом|ем|ои|ыи|ии|ая|яя|ое|ее|ые|ие|ых|их|ую"
    r"|[юуыиаяоеь])$"
)
_QUOTIENT = re.compile(r"\s/\s")
_WORD = re.compile(r"[^\W_]+")
# Scripts that are written without spaces; their words are found by the longest entry of the vocabulary.
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_SCRIPT_EDGE = re.compile(
    r"(?<=[A-Za-z0-9])(?=[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])"
    r"|(?<=[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])(?=[A-Za-z0-9])"
)
_SPECIAL_LETTERS = str.maketrans(
    {"ß": "ss", "ł": "l", "Ł": "L", "ø": "o", "Ø": "O", "æ": "ae", "œ": "oe", "đ": "d"}
)


def fold(text: str) -> str:
    """Without accents, full-width forms and letters that only look different; case is kept."""
    text = unicodedata.normalize("NFKC", text[:MAX_NAME]).translate(_SPECIAL_LETTERS)
    if text.isascii():
        return text
    if _UNSPACED.search(text):
        return text
    return "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))


@lru_cache(maxsize=16384)
def name_key(name: str) -> str:
    """The letters and digits of a name, without case: «Campaign ID» and «campaign_id» are the same."""
    return "".join(sign for sign in fold(name).casefold() if sign.isalnum())


def split_name(name: str, whole: Callable[[str], bool] | None = None) -> tuple[str, ...]:
    """Words and numbers of a name in order, in lower case: «attributedSales14d» → attributed, sales, 14, d.

    `whole` says which words stay as they are although they look like several (ACoS, eCPM).
    """
    text = _SCRIPT_EDGE.sub(" ", _QUOTIENT.sub(" per ", fold(name)))
    for sign, word in _SIGNS.items():
        text = text.replace(sign, word)
    words: list[str] = []
    for run in _WORD.findall(text):
        plain = run.casefold()
        if whole is not None and whole(plain):
            words.append(plain)
            continue
        if not (run.isupper() or run.islower()):
            plain = _CAMEL.sub(" ", run)
        words.extend(_DIGIT_EDGE.sub(" ", plain).casefold().split())
    return tuple(words)


def is_unspaced(word: str) -> bool:
    """Whether a word is of a script without spaces between words."""
    return bool(_UNSPACED.search(word))


def singular(word: str) -> str:
    """The word without the ending of an English or Romance plural; short words stay."""
    if len(word) > 3 and "а" <= word[-1] <= "я":
        return _CYRILLIC_END.sub("", word)
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 5 and word.endswith(("ches", "shes", "sses", "xes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word
