"""Numbers from text: typed columns as polars expressions, and the same read once more with exact decimals.

The two ways share no code: totals that were read with decimals prove those that came out of the expressions.
Every value that is no number becomes null; whether it was blank, withheld or wrong is told by `BLANK` and `WITHHELD`.
"""

import re
from decimal import Context, Decimal
from fractions import Fraction

import polars as pl

from core.harmonize.values.staged import Staged, Steps, or_else

#: What exports write for «nothing there» in a column of numbers. It is blank, not zero.
BLANK = r"(?i)^[\s\x{FEFF}]*(?:-{1,3}|[—–]|n/?a|#n/a|null|none|nil|nan|\\n)?[\s\x{FEFF}]*$"

#: What exports write for a number that a privacy threshold withholds.
WITHHELD = (
    r"(?i)^\s*(?:[<≤]\s*=?\s*[\d.,]+|(?:less|fewer) than [\d.,]+|\*+|(?:data )?(?:suppressed|redacted|withheld|masked)"
    r"|n/?a\s*\((?:privacy|suppressed)[^)]*\)|privacy[\w \-]*|below (?:privacy )?threshold|insufficient data)\s*$"
)

_SPACES = " \t\r\n\u00a0\u2007\u2009\u202f\u200b\u200e\u200f\u2060\ufeff"
_SIGNS = r"[$€£¥₹₩₺₽₪₫₦₱฿%]|\b[A-Za-z]{1,3}\$|\b[A-Z]{3}\b|\b(?:kr|zł|Kč|Ft|lei)\b\.?"
_MINUS = r"[\u2212\u2010\u2011\u2012\u2013\uFE63\uFF0D]"
_POINT = r"^[+-]?(?:[0-9]+|[0-9]{1,3}(?:,[0-9]{2,3})*,[0-9]{3})(?:\.[0-9]*)?$|^[+-]?\.[0-9]+$"
_COMMA = r"^[+-]?(?:[0-9]+|[0-9]{1,3}(?:\.[0-9]{2,3})*\.[0-9]{3})(?:,[0-9]*)?$|^[+-]?,[0-9]+$"
_GROUPS = r"^[+-]?(?:[0-9]+|[0-9]{1,3}(?:[.,][0-9]{2,3})*[.,][0-9]{3})$"
_WHOLE = float(2**53)
_MILLION_PLACES, _MOST_PLACES = 6, 15

#: Wide enough that no sum of a file is ever rounded.
EXACT = Context(prec=80)
MONEY = pl.Decimal(38, 9)


def whole_number(text: pl.Expr) -> Staged:
    """Int64 from plain text: «12», « 12 », «12.0»; null for everything else, «1,234» included."""
    quick = text.cast(pl.Int64, strict=False)
    return Staged(or_else(quick, text, lambda odd: as_whole(_plain(odd)), pl.Int64()))


def as_whole(number: pl.Expr) -> pl.Expr:
    """Int64 of a Float64 that is a whole number below 2^53, else null."""
    fits = (number == number.round()) & (number.abs() <= _WHOLE)
    return pl.when(fits).then(number).cast(pl.Int64, strict=False)


def plain_number(text: pl.Expr, name: str) -> Staged:
    """Float64 from plain text, nearest to what is written; null for what is no finite number."""
    quick = text.cast(pl.Float64, strict=False)
    return Staged(or_else(quick, text, _plain, pl.Float64())).kept(f"{name}number").finite()


def parsed_number(text: pl.Expr, strip: str | None, name: str) -> Staged:
    """Float64 from «$1,234.50», «(12.00)», «1.234,50-»: signs and separators removed; a wrong grouping is null.

    The comma is the decimal sign where `strip` names the point and not the comma.
    """
    pattern, separator = _pattern(strip)
    quick = pl.when(text.str.contains(pattern)).then(text)
    fitting = or_else(quick, text, lambda odd: _signed(odd, strip, pattern), pl.String())
    number = _with_point(fitting, separator).cast(pl.Float64, strict=False)
    return Staged(number).kept(f"{name}number").finite()


def decimal_comma(strip: str | None) -> bool:
    """Whether the comma is the decimal sign of numbers that are stripped of these characters."""
    return "." in (strip or "") and "," not in (strip or "")


def scaled_text(text: pl.Expr, factor: Fraction, name: str) -> Staged:
    """Plain numbers in text × factor. Whole numbers, which micros and cents are, take the short way of `scaled`."""
    places = _places_of(factor.denominator)
    if places is None:
        number = plain_number(text, name).kept(f"{name}plain")
        return number.then(finite(scaled(number.value, factor)))
    units = pl.col(f"{name}units")
    most = int(_WHOLE / 2) // factor.numerator
    quick = (units * (factor.numerator * 10.0**-places)).round(places)
    steps: Steps = (
        {f"{name}units": text.cast(pl.Int64, strict=False)},
        {f"{name}units": pl.when(units.is_between(-most, most)).then(units)},
    )
    slow = or_else(quick, text, lambda odd: finite(scaled(finite(_plain(odd)), factor)), pl.Float64())
    return Staged(slow, steps)


def _places_of(down: int) -> int | None:
    """n of a denominator of 10^n, up to nine; else None."""
    places = len(str(down)) - 1
    return places if 10**places == down and places <= _MOST_PLACES - _MILLION_PLACES else None


def scaled(number: pl.Expr, factor: Fraction) -> pl.Expr:
    """number × factor as the Float64 nearest to the exact product of the decimals that are written.

    0.29 × 100 is 29 and 5 / 1e6 is 0.000005: amounts are taken as whole millionths where they are. The division is
    left to `round`, because polars divides a column by a constant as a multiplication, which is off by a last bit.
    """
    unit_places = _places_of(factor.denominator)
    if unit_places is None:
        return number * float(factor)
    up, places = factor.numerator, unit_places + _MILLION_PLACES
    millionths = (number * 1e6).round() * float(up)
    small = (number.round(_MILLION_PLACES) == number) & (millionths.abs() < _WHOLE / 2)
    units = number * float(up)
    large = (number.round() == number) & (units.abs() < _WHOLE / 2)
    return (
        pl.when(small)
        .then((millionths * 10.0**-places).round(places))
        .when(large)
        .then((units * 10.0**-unit_places).round(unit_places))
        .otherwise(number * float(factor))
    )


def fraction_of(by: float) -> Fraction:
    """The factor as it is written: 0.01 is 1/100, not the binary number beside it."""
    return Fraction(Decimal(repr(by)))


def is_true_or_false(text: pl.Expr) -> pl.Expr:
    """Boolean from true/false, yes/no, 1/0, t/f, y/n in any case; else null."""
    word = text.str.strip_chars(_SPACES).str.to_lowercase()
    return (
        pl.when(word.is_in(["true", "1", "yes", "y", "t"]))
        .then(True)
        .when(word.is_in(["false", "0", "no", "n", "f"]))
        .then(False)
    )


def quick_decimal(text: pl.Expr, comma: bool = False) -> pl.Expr:
    """Decimal(38, 9) of most numbers in text, for sums without rounding; null where only `exact_decimal` reads it."""
    point, separator = (",", ".") if comma else (".", ",")
    bare = text.str.replace_all(separator, "", literal=True)
    bare = bare.str.replace_all(point, ".", literal=True) if comma else bare
    quick = bare.cast(MONEY, strict=False)
    return or_else(quick, bare, lambda odd: odd.str.strip_chars(" $€£¥").cast(MONEY, strict=False), MONEY)


def plain_decimal(text: pl.Expr) -> pl.Expr:
    """Decimal(38, 9) of plain numbers in text, else null."""
    return text.cast(MONEY, strict=False)


def exact_decimal(text: str, comma: bool = False) -> Decimal | None:
    """The number that a text means, with every digit; None where it means none."""
    bare = re.sub(r"[\s\u200b-\u200f\u2060\ufeff'’_]", "", text)
    bare = re.sub(r"[\u2010-\u2013\u2212\ufe63\uff0d]", "-", bare)
    negative = "(" in bare or bool(re.search(r"(?<![eE])-", bare))
    bare = re.sub(r"[$€£¥₹₩₺₽₪₫₦₱฿%()]|(?<![eE])[+-]", "", bare)
    bare = re.sub(r"^[^\W\d_]{1,3}\.?(?=[\d.,])|(?<=[\d.,])(?!e\d)[^\W\d_]{2,3}\.?$", "", bare)
    bare = bare.replace(".", "").replace(",", ".") if comma else bare.replace(",", "")
    if not re.fullmatch(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", bare, re.ASCII) or len(bare) > 60:
        return None
    number = EXACT.create_decimal(bare)
    return -number if negative else number


def _pattern(strip: str | None) -> tuple[str, str]:
    """(what a number looks like without signs, its grouping separator)."""
    if "." in (strip or "") and "," in (strip or ""):
        return _GROUPS, ".,"
    return (_COMMA, ".") if decimal_comma(strip) else (_POINT, ",")


def _with_point(text: pl.Expr, separator: str) -> pl.Expr:
    for letter in separator:
        text = text.str.replace_all(letter, "", literal=True)
    return text.str.replace(",", ".", literal=True) if separator == "." else text


def _plain(text: pl.Expr) -> pl.Expr:
    return text.str.strip_chars(_SPACES).str.replace_all(_MINUS, "-").cast(pl.Float64, strict=False)


def _signed(text: pl.Expr, strip: str | None, pattern: str) -> pl.Expr:
    """Without currency signs, spaces and the characters to strip, with a leading minus where it is negative."""
    named = "".join(letter for letter in strip or "" if letter not in ".,+-()" and not letter.isdigit())
    bare = text.str.replace_all(_MINUS, "-").str.replace_all(_SIGNS, "")
    bare = bare.str.replace_all(f"[{re.escape(_SPACES + named)}'’_]", "")
    negative = bare.str.contains(r"^\([^()-]+\)$|^[^-]+-$")
    signed = pl.when(negative).then(pl.lit("-") + bare.str.replace_all(r"[()-]", "")).otherwise(bare)
    return pl.when(signed.str.contains(pattern)).then(signed)


def finite(number: pl.Expr) -> pl.Expr:
    return pl.when(number.is_finite()).then(number)
