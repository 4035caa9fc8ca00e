"""Examples by column, so that a hundred thousand rows are checked in seconds."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import polars as pl

from core.datasets.findings import Places
from core.datasets.layout_rows import Parsed
from core.datasets.records import Example, Judgement, Preference, Split

CHUNK_ROWS = 20_000
SCHEMA = {
    "line": pl.Int64,
    "row": pl.Int64,
    "split": pl.String,
    "slice": pl.String,
    "system": pl.String,
    "history": pl.String,
    "prompt": pl.String,
    "answer": pl.String,
    "rejected": pl.String,
    "liked": pl.Boolean,
}


class RowKind(StrEnum):
    """What the rows of a table are."""

    EXAMPLES = "examples"
    PAIRS = "pairs"
    JUDGEMENTS = "judgements"


@dataclass(frozen=True)
class Table:
    """All rows of a training set. `answer` is the completion, or the chosen answer of a pair.

    `row` counts the rows of the file from 1, those that could not be used included; `line` is where it begins.
    `rejected` is null but for pairs, `liked` but for judgements.
    """

    kind: RowKind
    frame: pl.DataFrame

    def __len__(self) -> int:
        return self.frame.height

    @cached_property
    def lines(self) -> Places:
        """The line of every row."""
        return self.frame["line"].to_numpy()

    @cached_property
    def keys(self) -> pl.DataFrame:
        """split, `asked` (what two rows must share to have the same question) and `answered`, as numbers."""
        asked = [_same(name).alias(name) for name in ("system", "history", "prompt")]
        texts = self.frame.select(pl.col("split"), *asked, pl.col("answer").str.strip_chars())
        return texts.select(
            pl.col("split"),
            pl.concat_str(["system", "history", "prompt"], separator="\n").hash().alias("asked"),
            pl.col("answer").hash().alias("answered"),
        )

    @cached_property
    def parsed(self) -> list[Any]:
        """Each answer as the JSON object or list that it is, or None."""
        begins = self.frame["answer"].str.strip_chars_start().str.contains(r"^[\[{]").to_list()
        known: dict[str, Any] = {}
        found: list[Any] = []
        for text, maybe in zip(self.frame["answer"].to_list(), begins, strict=True):
            if maybe and text not in known:
                known[text] = _json(text)
            found.append(known[text] if maybe else None)
        return found

    @cached_property
    def looks_like_json(self) -> pl.Series:
        """Whether each answer begins as a JSON object or list does."""
        return self.frame["answer"].str.strip_chars_start().str.contains(r'^(?:\{\s*["}]|\[)')

    def where(self, condition: pl.Expr | pl.Series) -> Places:
        """Places of the rows for which the condition holds; null counts as false."""
        chosen = (
            self.frame.select(condition.alias("at"))["at"] if isinstance(condition, pl.Expr) else condition
        )
        return np.flatnonzero(chosen.fill_null(False).to_numpy()).astype(np.int64)

    def split_is(self, split: Split) -> pl.Series:
        """Whether each row is of that split."""
        return self.frame["split"] == str(split)


def table_of(rows: Iterable[Parsed], numbers: Sequence[int] | None = None) -> Table:
    """The rows as a table; all are of the same kind. `numbers` counts them in the file (from 1 without it)."""
    chunks: list[pl.DataFrame] = []
    kind = RowKind.EXAMPLES
    for start, chunk in _chunks(rows):
        kind = _KINDS[type(chunk[0])]
        counted = (
            range(start + 1, start + len(chunk) + 1)
            if numbers is None
            else numbers[start : start + len(chunk)]
        )
        chunks.append(_frame(chunk, counted))
    return Table(kind, pl.concat(chunks) if chunks else pl.DataFrame(schema=SCHEMA))


_KINDS: dict[type, RowKind] = {
    Example: RowKind.EXAMPLES,
    Preference: RowKind.PAIRS,
    Judgement: RowKind.JUDGEMENTS,
}


def _chunks(rows: Iterable[Parsed]) -> Iterator[tuple[int, list[Parsed]]]:
    iterator, start = iter(rows), 0
    while chunk := list(islice(iterator, CHUNK_ROWS)):
        yield start, chunk
        start += len(chunk)


def _frame(rows: Sequence[Parsed], numbers: Sequence[int]) -> pl.DataFrame:
    columns: dict[str, Any] = {
        "line": [row.line for row in rows],
        "row": list(numbers),
        "split": [str(row.split) for row in rows],
        "slice": [row.slice for row in rows],
        "system": [row.system for row in rows],
        "history": ["\n".join(f"{role}: {text}" for role, text in row.history) for row in rows],
        "prompt": [row.prompt for row in rows],
        "answer": [row.chosen if isinstance(row, Preference) else row.completion for row in rows],
        "rejected": [row.rejected if isinstance(row, Preference) else None for row in rows],
        "liked": [row.liked if isinstance(row, Judgement) else None for row in rows],
    }
    return pl.DataFrame(columns, schema=SCHEMA)


def _same(name: str) -> pl.Expr:
    """Case and white space do not tell two questions apart."""
    return pl.col(name).str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()


def _json(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None
