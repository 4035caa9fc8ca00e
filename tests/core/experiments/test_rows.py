"""Files are read as people write them, and what is no number is told."""

import math
from datetime import date
from pathlib import Path
from typing import Any

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


def table(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"unit": ["u", "v"], "variant": ["a", "b"], "success": [1, 0]} | columns)


@pytest.mark.parametrize(
    ("column", "held", "what"),
    [
        ("latency_ms", pl.Series([[1.0], [2.0]]), "«latency_ms» does not hold numbers"),
        ("latency_ms", pl.Series([date(2026, 1, 1)] * 2), "«latency_ms» does not hold numbers"),
        ("latency_ms", pl.Series([b"1", b"2"]), "«latency_ms» does not hold numbers"),
        ("unit", pl.Series([b"\xff", b"v"]), "«unit» does not hold names"),
        ("unit", pl.Series([{"a": 1}, {"a": 2}]), "«unit» does not hold names"),
        ("variant", pl.Series([["a"], ["b"]]), "«variant» does not hold names"),
        ("unit", pl.Series([1.0, math.nan]), "1 rows have no unit"),
    ],
)
def test_columns_of_a_kind_that_says_nothing_are_refused(column: str, held: pl.Series, what: str) -> None:
    with pytest.raises(InvalidInputError, match=what):
        checked_rows(table(**{"latency_ms": [1, 2], column: held}), "unit", "variant", [SUCCESS, LATENCY])


def test_categories_bytes_and_booleans_are_read_as_what_they_say() -> None:
    given = table(
        unit=pl.Series([b"u", b"v"]),
        variant=pl.Series([True, False]),
        success=pl.Series(["yes", "no"], dtype=pl.Enum(["yes", "no"])),
        latency_ms=pl.Series(["12", "n/a"], dtype=pl.Categorical),
    )
    found = checked_rows(given, "unit", "variant", [SUCCESS, LATENCY])
    assert found.rows() == [("u", "true", 1.0, 12.0), ("v", "false", 0.0, None)]


@pytest.mark.parametrize(
    ("column", "held", "what"),
    [
        ("latency_ms", [-1.0, 2.0], "1 rows of «latency_ms» are negative"),
        ("latency_ms", [math.nan, 2.0], "1 rows of «latency_ms» are not finite"),
        ("latency_ms", [1e308, 2.0], "1 rows of «latency_ms» are out of range"),
        ("success", [2, 0], "«success» is not a share"),
        ("feedback_score", [101, 5], "1 rows of «feedback_score» are out of range"),
    ],
)
def test_standard_columns_are_checked_though_another_is_judged(
    column: str, held: list[object], what: str
) -> None:
    with pytest.raises(InvalidInputError, match=what):
        checked_rows(
            table(**{"spend": [1, 2], column: held}),
            "unit",
            "variant",
            [MetricPlan("spend", MetricKind.MEAN)],
        )


def test_standard_columns_that_are_empty_or_fine_are_left_out_of_the_answer() -> None:
    spend = MetricPlan("spend", MetricKind.MEAN)
    found = checked_rows(table(spend=[1, -2], latency_ms=["", ""]), "unit", "variant", [spend])
    assert found.columns == ["unit", "variant", "spend"]


def test_a_column_that_is_there_twice_is_told(tmp_path: Path) -> None:
    file = tmp_path / "r.csv"
    file.write_text("unit,variant,success,success\nu,a,1,0\nv,b,0,1\n")
    with pytest.raises(InvalidInputError, match="more than one column «success»"):
        read_rows(file)
    file.write_text("unit,variant,success,success_duplicated_0,,\nu,a,1,0,,\nv,b,0,1,,\n")
    assert read_rows(file).height == 2


def test_files_that_are_not_there_and_folders_are_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"There is no file «none\.csv»"):
        read_rows(tmp_path / "none.csv")
    with pytest.raises(InvalidInputError, match="is a folder"):
        read_rows(tmp_path)


def test_one_column_cannot_name_units_and_variants() -> None:
    with pytest.raises(InvalidInputError, match="both units and variants"):
        checked_rows(table(), "variant", "variant", [SUCCESS])
