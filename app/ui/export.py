"""Tables as CSV that is safe to open in a spreadsheet."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from core.harmonize.formulas import formula_safe


def safe_csv(rows: Iterable[Mapping[str, object]], columns: Sequence[str]) -> bytes:
    """UTF-8 CSV with a heading row.

    A text that a spreadsheet would take for a formula gets a leading apostrophe, by the rule that all exports
    follow. Numbers stay numbers, minus sign included.
    """
    told = list(rows)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(_cells(columns))
    writer.writerows(zip(*(_cells([row.get(column) for row in told]) for column in columns), strict=True))
    return out.getvalue().encode("utf-8-sig")


def _cells(values: Sequence[object]) -> list[object]:
    """Numbers as they are, nothing as an empty cell, and all else as text that cannot run."""
    texts = [None if _is_number(value) or value is None else str(value) for value in values]
    safe = pl.DataFrame({"text": texts}, schema={"text": pl.String}).select(formula_safe(pl.col("text")))
    return [
        value if _is_number(value) else text or ""
        for value, text in zip(values, safe.to_series(), strict=True)
    ]


def _is_number(value: object) -> bool:
    return isinstance(value, bool | int | float)
