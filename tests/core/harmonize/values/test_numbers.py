from decimal import Decimal
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.harmonize.values import numbers
from core.harmonize.values.staged import Staged, with_steps
from tests.core.harmonize.apply_files import values

X = pl.col("x")


def run(staged: Staged, given: list[str | None]) -> list[object]:
    frame = pl.LazyFrame({"x": given}, schema={"x": pl.String})
    return with_steps(frame, [staged.steps]).select(x=staged.value).collect()["x"].to_list()


def test_a_whole_number_is_read_from_plain_text_alone() -> None:
    given = ["12", " 12 ", "12.0", "\u00a07", "\ufeff8", "−5", "1e3", "1,234", "1.5", "nan", "x", "", None]
    assert values("impressions", {"op": "none"}, given) == [12, 12, 12, 7, 8, -5, 1000] + [None] * 6


def test_a_large_count_keeps_every_digit() -> None:
    assert values("impressions", {"op": "none"}, ["9007199254740993"]) == [9007199254740993]


def test_infinity_and_nan_are_no_amounts() -> None:
    assert values("cost", {"op": "none"}, ["inf", "-inf", "NaN", "1e400", "1.5"]) == [None] * 4 + [1.5]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("$1,234.50", 1234.5),
        ("1,234", 1234.0),
        ("(12.00)", -12.0),
        ("($1,200.00)", -1200.0),
        ("5-", -5.0),
        ("-$3.20", -3.2),
        ("$-3.20", -3.2),
        ("−4", -4.0),
        ("- 5", -5.0),
        ("1 234.5", 1234.5),
        ("1\u202f234.5", 1234.5),
        ("1'234.5", 1234.5),
        ("USD 5", 5.0),
        ("5 €", 5.0),
        ("R$ 5.00", 5.0),
        ("12.5%", 12.5),
        ("1,23,456.7", 123456.7),
        (".5", 0.5),
    ],
)
def test_signs_and_separators_are_read_as_people_read_them(text: str, number: float) -> None:
    assert values("cost", {"op": "parse_number", "strip": ","}, [text]) == [number]
    assert float(numbers.exact_decimal(text) or 0) == number


@pytest.mark.parametrize("text", ["12,34", "1,2345", "1.234,5", "1,,234", "abc", "1-2", "", "--", "12,"])
def test_a_grouping_that_is_none_is_refused_and_not_read_as_another_amount(text: str) -> None:
    assert values("cost", {"op": "parse_number", "strip": ","}, [text]) == [None]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("19,20", 19.2),
        ("1.234,50", 1234.5),
        ("1.234", 1234.0),
        ("1.234,50-", -1234.5),
        ("5 zł", 5.0),
        ("1 234,5", 1234.5),
    ],
)
def test_stripping_points_makes_the_comma_the_decimal_sign(text: str, number: float) -> None:
    assert values("cost", {"op": "parse_number", "strip": "."}, [text]) == [number]
    assert float(numbers.exact_decimal(text, comma=True) or 0) == number


def test_an_amount_with_a_point_is_refused_where_the_comma_is_the_decimal_sign() -> None:
    assert values("cost", {"op": "parse_number", "strip": "."}, ["19.20", "1,234.5"]) == [None, None]


def test_where_both_are_stripped_only_whole_numbers_are_left() -> None:
    assert values("cost", {"op": "parse_number", "strip": ".,"}, ["1.234", "1,234,567", "12", "1,5"]) == [
        1234.0,
        1234567.0,
        12.0,
        None,
    ]


def test_micros_become_the_nearest_amount_and_not_its_neighbour() -> None:
    made = values("cost", {"op": "divide", "by": 1_000_000}, ["5", "-5", "1234567", "123.5", "x"])
    assert made == [0.000005, -0.000005, 1.234567, 0.0001235, None]


def test_a_factor_is_the_decimal_that_is_written() -> None:
    assert values("cost", {"op": "multiply", "by": 0.01}, ["29", "57", "115"]) == [0.29, 0.57, 1.15]


def test_a_count_that_is_scaled_must_stay_whole() -> None:
    assert values("clicks", {"op": "divide", "by": 100}, ["300", "350"]) == [3, None]


def test_numbers_of_a_parquet_file_are_scaled_like_text() -> None:
    assert values("cost", {"op": "divide", "by": 1_000_000}, [5, 1_234_567]) == [0.000005, 1.234567]
    assert values("cost", {"op": "divide", "by": 100}, [29.5, float("nan")]) == [0.295, None]


@settings(max_examples=50, deadline=None)
@given(st.integers(-(10**11), 10**11), st.sampled_from([10**2, 10**5, 10**6, 10**8]))
def test_every_scaled_whole_number_is_the_float_nearest_to_the_exact_quotient(units: int, by: int) -> None:
    [made] = run(numbers.scaled_text(X, Fraction(1, by), "t"), [str(units)])
    assert made == float(Fraction(units, by))


@settings(max_examples=50, deadline=None)
@given(st.decimals(-1_000_000, 1_000_000, places=2))
def test_both_ways_of_reading_an_amount_agree(amount: Decimal) -> None:
    written = f"{amount:,.2f}"
    [made] = run(numbers.parsed_number(X, ",", "t"), [written])
    exact = numbers.exact_decimal(written)
    quick = pl.select(numbers.quick_decimal(pl.lit(written))).item()
    assert made == float(amount)
    assert exact == amount
    assert quick in (None, amount)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=12))
def test_no_text_makes_reading_stop(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    for staged in (
        numbers.whole_number(X),
        numbers.plain_number(X, "b"),
        numbers.parsed_number(X, ",", "c"),
    ):
        [made] = run(staged, [text])
        assert made is None or abs(float(str(made))) < 1e309


def test_exact_decimals_keep_every_digit() -> None:
    assert numbers.exact_decimal("123456789012345678901234567890.12") == Decimal(
        "123456789012345678901234567890.12"
    )
    assert numbers.exact_decimal("1e-4") == Decimal("0.0001")
    assert [numbers.exact_decimal(text) for text in ("", "x", "<10", "1.2.3", "9" * 100, "٣")] == [None] * 6


def test_words_for_nothing_and_for_withheld_are_told_apart() -> None:
    words = pl.DataFrame(
        {
            "x": [
                "",
                " - ",
                "--",
                "N/A",
                "null",
                "\\N",
                "NaN",
                "0",
                "x",
                "<10",
                "≤5",
                "*",
                "Suppressed",
                "N/A (privacy)",
            ]
        }
    )
    blank = words.filter(X.str.contains(numbers.BLANK))["x"].to_list()
    withheld = words.filter(X.str.contains(numbers.WITHHELD))["x"].to_list()
    assert blank == ["", " - ", "--", "N/A", "null", "\\N", "NaN"]
    assert withheld == ["<10", "≤5", "*", "Suppressed", "N/A (privacy)"]


def test_true_and_false_are_read_in_all_their_forms() -> None:
    assert values("suppressed", {"op": "none"}, ["TRUE", "yes", "1", "f", "No", "0", "maybe"]) == [
        True,
        True,
        True,
        False,
        False,
        False,
        None,
    ]
