"""Numbers in text are read for judging, whatever dialect they are written in."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.harmonize.traps.figures import read_numbers


def read(values: list[str | None], strip: str | None = None) -> list[float | None] | None:
    numbers = read_numbers(pl.Series("t", values, dtype=pl.String), strip)
    return None if numbers is None else numbers.to_list()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (["1,234.50", "$5.00", "(3.10)"], [1234.5, 5.0, -3.1]),
        (["1.234,50", "5,00", "-3,1"], [1234.5, 5.0, -3.1]),
        (["1 234,5", "7,0", "12\u00a0345,25"], [1234.5, 7.0, 12345.25]),
        (["4.5%", "3.0%"], [4.5, 3.0]),
        (["\u22125", "3"], [-5.0, 3.0]),
        (["5.00-", "3.00"], [-5.0, 3.0]),
        (["EUR 5.00", "7.50 EUR"], [5.0, 7.5]),
        (["1'234.50", "2.00"], [1234.5, 2.0]),
        (["1e5", "2"], [100000.0, 2.0]),
        (["1,234", "5,678"], [1234.0, 5678.0]),
        (["12", None, "7"], [12.0, None, 7.0]),
    ],
)
def test_each_dialect_is_read(written, meant) -> None:
    assert read(written) == meant


def test_what_the_mapping_strips_tells_the_decimal_sign() -> None:
    assert read(["1,234", "5,678"], ".") == [1.234, 5.678]
    assert read(["1,234", "$5"], "$,") == [1234.0, 5.0]


@pytest.mark.parametrize(
    "values", [["abc", "d"], ["2026-03-01", "2026-03-02"], ["B00X", "A1"], [None, None], [], ["*", "<10"]]
)
def test_what_is_no_column_of_numbers_is_none(values) -> None:
    assert read(values) is None


def test_held_back_and_absent_cells_do_not_make_it_text() -> None:
    assert read(["<10", "*", "N/A", "--", "12", "suppressed"]) == [None, None, None, None, 12.0, None]


def test_what_is_not_finite_is_no_number() -> None:
    assert read(["nan", "inf", "3", "4", "1e999", "5"]) == [None, None, 3.0, 4.0, None, 5.0]


@given(st.lists(st.decimals(-(10**9), 10**9, places=2), min_size=1, max_size=20))
def test_plain_and_german_writing_of_a_number_are_the_same(values) -> None:
    plain = [f"{v:.2f}" for v in values]
    german = [f"{v:,.2f}".translate(str.maketrans(",.", ".,")) for v in values]
    assert read(plain) == read(german) == [float(v) for v in plain]
