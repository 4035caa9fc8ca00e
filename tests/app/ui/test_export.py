"""Exports cannot run as formulas in a spreadsheet."""

import csv
import io

import polars as pl
import pytest

from app.ui.export import safe_csv
from core.harmonize.exports import write_csv


def read(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"))))


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1+1", "-1+cmd", "@SUM(A1)", "\t=1", "  =1", "\r=1", "＝1", ",=1", "'=1", "\ufeff=1"],
)
def test_text_that_a_spreadsheet_would_run_is_neutralized(text):
    assert read(safe_csv([{"a": text}], ["a"]))[1][0] == f"'{text}"


def test_a_heading_is_neutralized_too():
    assert read(safe_csv([], ["=cmd"]))[0] == ["'=cmd"]


def test_numbers_stay_numbers_and_nothing_stays_empty():
    assert read(safe_csv([{"a": -1.5, "b": None, "c": True}], ["a", "b", "c"]))[1] == ["-1.5", "", "True"]


def test_all_exports_follow_one_rule(tmp_path):
    texts = ["=1", "-5", "plain", "'=1", "- a list", "7 - 8"]
    ours = [line[0] for line in read(safe_csv([{"a": text} for text in texts], ["a"]))[1:]]
    other = write_csv(pl.DataFrame({"a": texts}), tmp_path / "rows.csv")
    assert ours == pl.read_csv(other, infer_schema=False)["a"].to_list()
    assert ours == ["'=1", "-5", "plain", "''=1", "'- a list", "7 - 8"]


def test_commas_quotes_and_line_ends_survive():
    assert read(safe_csv([{"a": 'x,"y"\nz'}], ["a"]))[1] == ['x,"y"\nz']
