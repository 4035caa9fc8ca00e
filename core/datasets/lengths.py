"""How long the examples are, in characters and in tokens of the real tokenizer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from core.datasets.findings import Places
from core.datasets.records import Example, Split
from core.datasets.table import Table

SAMPLE_ROWS = 2000
BATCH_ROWS = 2000
BARS = 20
#: Tokens that a chat template may add beyond those of an empty example.
TEMPLATE_TOKENS = 16

#: Lengths in tokens of whole examples, chat template included.
TokenLengths = Callable[[Sequence[Example]], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long the examples are. `bars` counts rows in bands of equal width from `shortest` to `longest`.

    `measured` is the number of rows behind these figures; `share_cut` is of all rows.
    """

    unit: str  # characters or tokens
    p50: int
    p95: int
    p99: int
    shortest: int
    longest: int
    bars: tuple[int, ...]
    measured: int
    limit: int | None = None
    share_cut: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TokenCount:
    """`of_rows` is the length of every row that may be longer than the limit, and 0 for the others."""

    of_rows: list[int]
    lengths: Lengths | None


def lengths_of(lengths: NDArray[np.integer[Any]], unit: str) -> Lengths | None:
    """Quantiles (nearest rank) and bars of lengths, or None without any."""
    if not len(lengths):
        return None
    p50, p95, p99 = (int(v) for v in np.quantile(lengths, (0.5, 0.95, 0.99), method="inverted_cdf"))
    bars = tuple(int(rows) for rows in np.histogram(lengths, BARS)[0])
    return Lengths(unit, p50, p95, p99, int(lengths.min()), int(lengths.max()), bars, len(lengths))


def measure_tokens(table: Table, count: TokenLengths, limit: int | None) -> TokenCount:
    """Tokens of at most 2,000 rows, evenly spread, and of every row that may be longer than `limit`.

    A token stands for at least one byte, so a row of fewer bytes than the limit cannot be longer.
    """
    sample = np.unique(np.linspace(0, max(0, len(table) - 1), SAMPLE_ROWS).round().astype(np.int64))
    sample = sample[: len(table)]
    doubtful = np.zeros(0, np.int64)
    if limit is not None and len(table):
        empty = count([Example(" ", " ", Split.TRAIN, None, 0)])[0]
        doubtful = np.flatnonzero(_bytes(table) + empty + TEMPLATE_TOKENS > limit)
    places = np.union1d(sample, doubtful)
    counted = np.zeros(len(table), np.int64)
    counted[places] = _counted(table, places, count)
    lengths = lengths_of(counted[sample], "tokens")
    if lengths is not None and limit is not None:
        longest = max(lengths.longest, int(counted.max()))
        lengths = Lengths(
            *(lengths.unit, lengths.p50, lengths.p95, lengths.p99, lengths.shortest, longest, lengths.bars),
            measured=lengths.measured,
            limit=limit,
            share_cut=float((counted > limit).mean()),
        )
    return TokenCount(counted.tolist(), lengths)


def _bytes(table: Table) -> NDArray[np.int64]:
    columns = ("system", "history", "prompt", "answer", "rejected")
    size = pl.sum_horizontal(pl.col(name).str.len_bytes().fill_null(0) for name in columns).cast(pl.Int64)
    found: NDArray[np.int64] = table.frame.select(size.alias("size"))["size"].to_numpy()
    return found


def _counted(table: Table, places: Places, count: TokenLengths) -> list[int]:
    """Lengths of some rows: of a pair the longer answer, earlier turns as part of the prompt."""
    found: list[int] = []
    for start in range(0, len(places), BATCH_ROWS):
        rows = table.frame[places[start : start + BATCH_ROWS]]
        found += count([_example(row) for row in rows.iter_rows(named=True)])
    return found


def _example(row: dict[str, Any]) -> Example:
    prompt = "\n".join(part for part in (row["history"], row["prompt"]) if part)
    answer = max(row["answer"], row["rejected"] or "", key=len)
    return Example(prompt, answer, Split(row["split"]), row["slice"], row["line"], row["system"])
