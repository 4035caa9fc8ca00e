"""Numbers in text cells, read for judging and not for keeping: as floats, from whatever dialect they are written in."""

import polars as pl

#: At least this share of the filled cells has to be numbers for a column to count as one of numbers.
NUMERIC_SHARE = 0.8
PROBE = 400
#: What stands where a number was held back for privacy, and where there is none.
SUPPRESSED = r"^(?i:<\s?\d+|\*+|\(?suppressed\)?|redacted|below threshold|n/a \(privacy\)|not reportable)$"
ABSENT = r"^(?i:n/?a|null|none|nan|-+|–|—|#n/a)$"
_MARKS = r"[\s\u00a0\u202f'$€£¥₹zł%]|USD|EUR|GBP|PLN|CHF|CAD|AUD"
_NUMBER = (
    r"^[(+\u2212-]?\s*(?:[$€£¥₹]|[A-Z]{3})?\s*[+\u2212-]?\d[\d.,'\s\u00a0\u202f]*(?:[eE][+-]?\d{1,3})?"
    r"\s*(?:%|[$€£¥₹]|zł|[A-Z]{3})?\)?-?$"
)
_COMMA_DECIMALS = (
    r"^[^\d]*\d+(?:[.\s\u00a0]\d{3})*,\d{1,2}\D*$|^[^\d]*\d{1,3}(?:\.\d{3})+,\d+\D*$|^[^\d]*0,\d+\D*$"
)
_POINT_DECIMALS = r"\.\d{1,2}\D*$|\.\d{4,}|,\d{3}\."


def read_numbers(text: pl.Series, strip: str | None = None) -> pl.Series | None:
    """Floats, null where a cell is blank or no number; None where too few cells are numbers.

    `strip` are the characters that a mapping removes (a point there means that the comma is the decimal sign).
    """
    filled = text.drop_nulls()
    if not filled.len():
        return None
    probe = (
        filled.gather([i * filled.len() // PROBE for i in range(PROBE)]) if filled.len() > PROBE else filled
    )
    plain = probe.cast(pl.Float64, strict=False)
    if plain.null_count() == 0:
        numbers = text.cast(pl.Float64, strict=False)
        return _finite(numbers) if _enough(numbers, filled.len()) else None
    told = probe.filter(~probe.str.contains(SUPPRESSED) & ~probe.str.contains(ABSENT))
    if not told.len() or told.str.contains(_NUMBER).sum() < NUMERIC_SHARE * told.len():
        return None
    numbers = _clean(text, decimal_comma=_writes_comma(probe, strip)).cast(pl.Float64, strict=False)
    absent = int((filled.str.contains(SUPPRESSED) | filled.str.contains(ABSENT)).sum())
    return _finite(numbers) if _enough(numbers, filled.len() - absent) else None


def _writes_comma(probe: pl.Series, strip: str | None) -> bool:
    if strip is not None:
        return "." in strip and "," not in strip
    return bool(probe.str.contains(_COMMA_DECIMALS).any()) and not probe.str.contains(_POINT_DECIMALS).any()


def _clean(text: pl.Series, *, decimal_comma: bool) -> pl.Series:
    negative = text.str.contains(r"^\(.*\)$|-$|^\W*[-\u2212]")
    bare = text.str.replace_all(_MARKS, "").str.replace_all(r"[()\u2212+]", "").str.strip_chars("-")
    if decimal_comma:
        bare = bare.str.replace_all(".", "", literal=True).str.replace_all(",", ".", literal=True)
    else:
        bare = bare.str.replace_all(",", "", literal=True)
    sign = negative.fill_null(value=False).replace_strict({True: "-", False: ""}, return_dtype=pl.String)
    return sign + bare


def _enough(numbers: pl.Series, filled: int) -> bool:
    return numbers.len() - numbers.null_count() >= NUMERIC_SHARE * filled


def _finite(numbers: pl.Series) -> pl.Series:
    return numbers.set(~numbers.is_finite(), None)
