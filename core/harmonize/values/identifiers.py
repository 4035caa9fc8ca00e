"""Identifiers: product numbers with their leading zeros, and persons as keyed hashes."""

import hashlib
import hmac
from collections.abc import Callable

import polars as pl

from core.errors import InvalidInputError
from core.harmonize.values.staged import Staged, Steps

_GTIN_LENGTHS = (8, 12, 13, 14)


def identifier(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Text with every character but the spaces around it; whole numbers keep every digit."""
    if dtype == pl.String:
        return value.str.strip_chars()
    if dtype.is_float():
        exact = (value == value.round()) & (value.abs() < float(2**63))
        return (
            pl.when(exact)
            .then(value.cast(pl.Int64, strict=False).cast(pl.String))
            .otherwise(value.cast(pl.String))
        )
    return value.cast(pl.String)


def padded_gtin(text: pl.Expr, to: int, name: str) -> Staged:
    """A GTIN of 8, 12, 13 or 14 digits (or fewer, their leading zeros lost) with zeros up to `to` digits, else null."""
    if to not in _GTIN_LENGTHS:
        raise InvalidInputError(
            f"pad_gtin cannot pad to {to} digits.", "A GTIN has 8, 12, 13 or 14.", "Write 14."
        )
    quick, digits = f"{name}quick", f"{name}digits"
    bare = pl.when(pl.col(quick).is_null()).then(text).str.replace_all(r"[\s\-\x{00A0}]", "")
    steps: Steps = (
        {quick: pl.when(text.str.contains(rf"^[0-9]{{1,{to}}}$")).then(text)},
        {digits: bare.str.replace(r"^([0-9]+)\.0$", "$1").str.replace(r"^0+([0-9]{8,})$", "$1")},
        {digits: pl.when(pl.col(digits).str.contains(rf"^[0-9]{{1,{to}}}$")).then(pl.col(digits))},
    )
    return Staged(pl.col(quick).fill_null(pl.col(digits)).str.zfill(to), steps)


def check_digit_fits(gtin: pl.Expr, to: int = 14) -> pl.Expr:
    """Whether the last digit is the check digit of the others (GS1: weights 3 and 1 from the right)."""
    number = gtin.cast(pl.Int64, strict=False)
    digits = [(number // 10**place) % 10 * (3 if place % 2 else 1) for place in range(to)]
    return pl.sum_horizontal(digits) % 10 == 0


def pseudonym(text: pl.Expr, key: bytes, name: str = "") -> pl.Expr:
    """Hex HMAC-SHA256 of each value under a key of its own for `name`: equal values stay equal, and no more."""
    return text.map_batches(_hasher(key, name), return_dtype=pl.String, is_elementwise=True)


def pseudonym_of(text: str, key: bytes, name: str = "") -> str:
    """The same for one value."""
    own = hmac.new(key, f"pseudonym:{name}".encode(), hashlib.sha256).digest()
    return hmac.new(own, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def _hasher(key: bytes, name: str) -> Callable[[pl.Series], pl.Series]:
    def hash_all(values: pl.Series) -> pl.Series:
        distinct = values.drop_nulls().unique()
        hashed = [pseudonym_of(value, key, name) for value in distinct]
        if not hashed:
            return pl.Series(values.name, [None] * len(values), dtype=pl.String)
        return values.replace_strict(distinct, pl.Series(hashed), default=None, return_dtype=pl.String)

    return hash_all
