"""Files are read as people write them, and what is no number is told."""

from pathlib import Path

import polars as pl
import pytest

from core.errors import InvalidInputError
from core.experiments.plan import MetricKind, MetricPlan
from core.experiments.rows import checked_rows, read_rows

SUCCESS = MetricPlan("success", MetricKind.SHARE)
LATENCY = MetricPlan("latency_ms", MetricKind.MEAN, higher_is_better=False)


@pytest.mark.parametrize(("name", "separator"), [("r.csv", ","), ("r.tsv", "\t")])
def test_words_and_empty_cells_are_understood(tmp_path: Path, name: str, separator: str) -> None:
    lines = ["unit,variant,success,latency_ms", " u1 ,a,TRUE,1.5", "u2,b,no,", "u3,b,NA,2e3"]
    (tmp_path / name).write_text("\n".join(lines).replace(",", separator))
    found = checked_rows(read_rows(tmp_path / name), "unit", "variant", [SUCCESS, LATENCY])
    assert found.rows() == [("u1", "a", 1.0, 1.5), ("u2", "b", 0.0, None), ("u3", "b", None, 2000.0)]


def test_what_is_neither_a_number_nor_a_word_is_told() -> None:
    given = pl.DataFrame({"unit": ["u", "v"], "variant": ["a", "b"], "latency_ms": ["12", "fast"]})
    with pytest.raises(InvalidInputError, match="1 rows of «latency_ms» are not finite numbers"):
        checked_rows(given, "unit", "variant", [LATENCY])


def test_a_column_without_values_is_told() -> None:
    given = pl.DataFrame({"unit": ["u", "v"], "variant": ["a", "b"], "success": ["", ""]})
    with pytest.raises(InvalidInputError, match="has no values"):
        checked_rows(given, "unit", "variant", [SUCCESS])
