"""What the cells of a column prove of the sign before a fraction."""

import polars as pl
import pytest

from core.harmonize.values.separators import (
    NOTHING_SEEN,
    Separators,
    count_separators,
    decimal_of_file,
    decimal_sign,
    separators_of,
)


def seen(*cells: str) -> Separators:
    return separators_of(pl.Series("x", cells))


@pytest.mark.parametrize(
    "cell",
    [
        "12,50",
        "0,125",
        ",5",
        "1.234,5",
        "1.234,50 €",
        "12.345.678",
        "1234,125",
        "1 234,567",
        "(12,00)",
        "1'234,5",
    ],
)
def test_a_cell_proves_the_decimal_comma(cell: str) -> None:
    assert (seen(cell).comma, seen(cell).point) == (1, 0)


@pytest.mark.parametrize(
    "cell", ["12.50", "0.125", ".5", "$1,234.50", "12,345,678", "1,23,456", "(12.00)", "8.5%"]
)
def test_a_cell_proves_the_decimal_point(cell: str) -> None:
    assert (seen(cell).comma, seen(cell).point) == (0, 1)


@pytest.mark.parametrize("cell", ["1.007", "$1,007", "-12.400", "999.999 €"])
def test_one_sign_before_three_digits_proves_nothing(cell: str) -> None:
    found = seen(cell)
    assert found.open
    assert not found.proved
    assert decimal_sign(found, "") == ("", True)


def test_a_day_proves_nothing_of_numbers() -> None:
    assert not seen("07.03.2026").open
    assert seen("07.03.2026").proved == ""


def test_a_column_that_does_not_say_goes_by_the_file() -> None:
    assert decimal_sign(seen("1.007", "1.250"), ",") == (",", False)
    assert decimal_sign(seen("1.007", "1.250"), ".") == (".", False)


def test_thousands_alone_having_the_sign_says_that_it_sets_them_apart() -> None:
    assert decimal_sign(seen("1.007", "96", "704"), "") == (",", False)
    assert decimal_sign(seen("1,007", "96", "704"), "") == (".", False)
    assert decimal_sign(seen("1.007", "96", "7040"), "") == ("", True)
    assert decimal_sign(seen("1.007", "0"), "") == ("", True)


def test_what_the_column_and_the_file_say_differently_is_asked() -> None:
    assert decimal_sign(seen("1.007", "96"), ".") == (".", True)
    assert decimal_sign(seen("12,50", "12.50"), "") == ("", True)
    assert decimal_sign(seen("1.007", "1,250"), ",") == ("", True)


def test_a_file_has_a_sign_where_no_column_contradicts() -> None:
    assert decimal_of_file([seen("12,5"), seen("1.007"), NOTHING_SEEN]) == ","
    assert decimal_of_file([seen("12,5"), seen("12.5")]) == ""


def test_all_rows_are_counted_and_columns_without_signs_are_left_out() -> None:
    frame = pl.LazyFrame({"a": ["7"] * 5000 + ["12,5"], "b": ["7"] * 5001, "c": [None] * 5000 + ["1.007"]})
    found = count_separators(frame, ["a", "b", "c"])
    assert set(found) == {"a", "c"}
    assert (found["a"].comma, found["a"].bare) == (1, 5000)
    assert found["c"].point_three == 1
