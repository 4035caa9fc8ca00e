"""What values look like."""

import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.harmonize.suggest.profile import ValueKind, profile_columns, profile_values


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "20"], ValueKind.WHOLE),
        (["1.5", "2"], ValueKind.DECIMAL),
        (["0.5%", "1%"], ValueKind.PERCENT),
        (["$1,234.50"], ValueKind.MONEY),
        (["2026-02-26"], ValueKind.TIME),
        (["true", "false"], ValueKind.BOOLEAN),
        (["6b0404f2-b094-40b8-ab01-a1c12a3a2107"], ValueKind.UUID),
        (["B0SZB6RDLH"], ValueKind.CODE),
        (["ENABLED", "PAUSED"], ValueKind.WORD),
        ([None, "", "  "], ValueKind.EMPTY),
        (["https://a.example/x"], ValueKind.URL),
        (['[{"a": 1}]'], ValueKind.LIST),
        ([f"Campaign number {word}" for word in "abcdefghijklmn"], ValueKind.TEXT),
    ],
)
def test_the_kind_of_a_column(values: list[str | None], kind: ValueKind) -> None:
    assert profile_values("x", values).kind is kind


@pytest.mark.parametrize(
    ("values", "numbers", "marks"),
    [
        (["1,234", "2,345,678"], [1234, 2345678], {"grouped"}),
        (["3\u00a0315,52", "9,10"], [3315.52, 9.1], {"decimal_comma", "grouped"}),
        (["1.234,5", "2,1"], [1234.5, 2.1], {"decimal_comma", "grouped"}),
        (["($3.00)", "$4.00"], [-3, 4], {"currency_sign", "negative", "parentheses"}),
        (["₹2,129.35", "₹87.71"], [2129.35, 87.71], {"currency_sign", "grouped"}),
        (["007", "012"], [7, 12], {"leading_zeros"}),
        (["-2", "5"], [-2, 5], {"negative"}),
    ],
)
def test_numbers_are_read_as_they_are_written(
    values: list[str], numbers: list[float], marks: set[str]
) -> None:
    column = profile_values("x", values)
    assert column.numbers is not None
    assert column.numbers.tolist() == pytest.approx(numbers)
    assert column.marks == marks


def test_a_blank_is_no_number_and_counts_as_blank() -> None:
    column = profile_values("x", ["1", None, " ", "4"])
    assert column.blank_share == 0.5
    assert column.numbers is not None
    assert [math.isnan(number) for number in column.numbers] == [False, True, True, False]


def test_a_few_broken_values_do_not_change_the_kind() -> None:
    assert profile_values("x", [*map(str, range(99)), "n/a"]).kind is ValueKind.WHOLE
    assert profile_values("x", ["1", "n/a", "x"]).kind is not ValueKind.WHOLE


def test_typed_columns_are_profiled_as_well() -> None:
    frame = pl.DataFrame(
        {
            "day": pl.Series(["2026-02-26"]).str.to_date(),
            "at": pl.Series(["2026-02-26T10:11:12"]).str.to_datetime(time_zone="UTC"),
            "flag": [True],
            "cost": [1.25],
            "items": [[{"sku": "A"}]],
            "raw": [b"\x00\x01"],
        }
    )
    kinds = {column.name: column.kind for column in profile_columns(frame)}
    assert kinds == {
        "day": ValueKind.TIME,
        "at": ValueKind.TIME,
        "flag": ValueKind.BOOLEAN,
        "cost": ValueKind.DECIMAL,
        "items": ValueKind.LIST,
        "raw": ValueKind.WHOLE,
    }


@given(st.lists(st.one_of(st.none(), st.text(max_size=60)), max_size=20))
def test_any_values_are_profiled_without_failing(values: list[str | None]) -> None:
    column = profile_values("x", values)
    assert 0 <= column.blank_share <= 1
    assert len(column.samples) <= 12


@given(st.lists(st.floats(-1e9, 1e9).map(lambda number: f"{number:,.2f}"), min_size=3, max_size=30))
def test_grouped_numbers_keep_their_value(values: list[str]) -> None:
    column = profile_values("x", values)
    assert column.numbers is not None
    assert column.numbers.tolist() == pytest.approx([float(value.replace(",", "")) for value in values])
