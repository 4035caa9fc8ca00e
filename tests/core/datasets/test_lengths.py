"""Quantiles, bars, and which rows are longer than the limit."""

import numpy as np
import pytest

from core.datasets.lengths import BATCH_ROWS, SAMPLE_ROWS, lengths_of, measure_tokens
from core.datasets.records import Example, Preference, Split
from core.datasets.table import table_of


def words(rows: list[Example]) -> list[int]:
    assert len(rows) <= BATCH_ROWS
    return [len(row.prompt.split()) + len(row.completion.split()) for row in rows]


def test_quantiles_are_lengths_of_rows_and_bars_count_all() -> None:
    found = lengths_of(np.arange(1, 101), "tokens")
    assert found is not None
    assert (found.p50, found.p95, found.p99, found.shortest, found.longest) == (50, 95, 99, 1, 100)
    assert found.bars == (5,) * 20
    assert lengths_of(np.zeros(0, np.int64), "tokens") is None


@pytest.mark.parametrize("rows", [0, 1, 3, SAMPLE_ROWS, SAMPLE_ROWS + 500])
def test_at_most_a_sample_is_measured_and_every_row_that_may_be_too_long(rows) -> None:
    examples = [Example("a b", "c", Split.TRAIN, None, n + 1) for n in range(rows)]
    if rows:
        examples[-1] = Example("word " * 90, "c", Split.TRAIN, None, rows)
    found = measure_tokens(table_of(examples), words, 50)
    assert [n for n, length in enumerate(found.of_rows) if length > 50] == ([rows - 1] if rows else [])
    if rows:
        assert found.lengths is not None
        assert (found.lengths.longest, found.lengths.measured) == (91, min(rows, SAMPLE_ROWS))
        assert found.lengths.share_cut == pytest.approx(1 / rows)


def test_of_a_pair_the_longer_answer_counts_and_earlier_turns_count_too() -> None:
    pair = Preference(
        "a", "b", "c d e f", Split.TRAIN, None, 1, history=(("user", "x y"), ("assistant", "z"))
    )
    found = measure_tokens(table_of([pair]), words, None)
    # user: x y assistant: z a, and c d e f
    assert found.of_rows == [10]
    assert found.lengths is not None
    assert found.lengths.share_cut is None
