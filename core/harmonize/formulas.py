"""Text that a spreadsheet would run, and the apostrophe that keeps it from it."""

import polars as pl

#: Text that a spreadsheet may take for a formula: one of these signs, also behind blanks, quotes and separators.
#: Source: OWASP, «CSV Injection», and ASVS 1.2.10. Plain signed numbers are none.
DANGEROUS = r"^'*[\s\x00\x{a0}\x{feff}\x{200b}\"',;|]*[=+\-@\t\r\n\x00\x{ff1d}\x{ff0b}\x{ff0d}\x{ff20}]"
_SIGNED_NUMBER = r"^[+-]?[0-9]+(?:[.,][0-9]+)?$"


def formula_safe(text: pl.Expr) -> pl.Expr:
    """The text with an apostrophe before what a spreadsheet could run. `unguarded` gives the text back."""
    risky = text.str.contains(DANGEROUS) & ~text.str.contains(_SIGNED_NUMBER)
    return pl.when(~risky).then(text).otherwise(pl.lit("'") + text)


def unguarded(text: pl.Expr) -> pl.Expr:
    """The inverse of `formula_safe`."""
    guarded = text.str.starts_with("'") & text.str.contains(DANGEROUS)
    return pl.when(~guarded).then(text).otherwise(text.str.slice(1))
