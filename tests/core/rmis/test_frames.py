"""A table is checked as each of its records would be, and says which rows break which rule."""

import calendar
import time
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.rmis.facts import FACT_COLUMNS, FactType, validate_record
from core.rmis.frames import DATE_TEXT, FrameCheck, validate_frame

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


def rules(check: FrameCheck) -> dict[str, tuple[str, int, tuple[int, ...]]]:
    return {problem.rule: (problem.column, problem.rows, problem.lines) for problem in check.problems}


def clean(rows: int = 20) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "ts": [NOON + timedelta(days=i) for i in range(rows)],
            "grain": ["day"] * rows,
            "event_type": ["aggregate"] * rows,
            "retailer": ["Retailer Alpha"] * rows,
            "campaign_id": [f"{123456789012345678 + i}" for i in range(rows)],
            "upc": ["00036000291452"] * rows,
            "impressions": [1000] * rows,
            "clicks": [12] * rows,
            "cost": [3.5] * rows,
            "currency": ["EUR"] * rows,
            "attributed_sales": [20.0, None] * (rows // 2),
            "ntb_sales": [None, 0.0] * (rows // 2),
            "window_click_days": [14] * rows,
            "touch": ["click"] * rows,
            "sku_scope": ["total"] * rows,
            "new_to_brand": [False] * rows,
            "lineage.line": list(range(2, rows + 2)),
            "lineage.file": ["a.csv"] * rows,
        }
    )


def test_clean_rows_have_no_problem() -> None:
    check = validate_frame(clean())
    assert check == FrameCheck(20, ())
    assert check.valid


def test_a_lazy_and_an_empty_frame_are_checked_too() -> None:
    assert validate_frame(clean().lazy()).rows == 20
    assert validate_frame(clean().head(0)) == FrameCheck(0, ())


def test_a_problem_names_the_lines_of_the_source() -> None:
    frame = clean().with_columns(
        pl.when(pl.col("lineage.line").is_in([3, 7])).then(pl.lit("tv2")).otherwise("grain").alias("grain")
    )
    check = validate_frame(frame)
    assert rules(check) == {"word.unknown": ("grain", 2, (3, 7))}
    assert check.problems[0].sentence == "grain holds a word that RMIS does not have in 2 rows."
    assert not check.valid


def test_rows_are_counted_from_one_where_no_line_is_known_and_only_ten_are_listed() -> None:
    frame = pl.DataFrame({"clicks": [-1] * 30})
    problem = validate_frame(frame).problems[0]
    assert (problem.rule, problem.rows, problem.lines) == ("count.negative", 30, tuple(range(1, 11)))


@pytest.mark.parametrize(
    ("column", "values", "rule", "rows"),
    [
        (
            "ts",
            ["2026-03-04T05:06:07Z", "2026-03-04 05:06:07", "2026-03-04T05:06:07+01:00"],
            "time.not_utc",
            2,
        ),
        (
            "ts",
            ["2026-02-28T00:00:00Z", "2026-02-29T00:00:00Z", "2024-02-29T00:00:00.123Z"],
            "time.not_utc",
            1,
        ),
        ("as_of", ["2026-04-31T00:00:00Z", "2026-04-30T24:00:00Z", None], "time.not_utc", 2),
        ("date_local", ["2026-03-04", "04.03.2026", "2026-13-01"], "time.no_date", 2),
        ("account_timezone", ["Europe/Berlin", "Berlin", "UTC"], "time.no_zone", 1),
        ("placement_type", ["video", "Video", None], "word.unknown", 1),
        ("match_type", ["exact", "EXACT", "auto"], "word.unknown", 1),
        ("currency", ["EUR", "eur", "€"], "currency.unknown", 2),
        ("upc", ["00036000291452", "036000291452", "0003600029145X"], "id.gtin", 2),
        ("price", [1.0, float("nan"), float("inf")], "number.not_finite", 2),
        ("price", [1.0, -1.0, None], "number.negative", 1),
        ("clicks", [1.0, 1.5, 2.0], "number.not_whole", 1),
        ("clicks", [1, -1, 0], "count.negative", 1),
        ("campaign_id", ["123456789012345678", "1.23457E+17", "1,2E+10"], "id.spoiled", 2),
        ("touch", ["click", "hover", None], "qualifier.unknown", 1),
        ("window_click_days", [14, 14.5, 900], "qualifier.unknown", 2),
        ("window_click_days", ["14", "two weeks", None], "qualifier.unknown", 1),
    ],
)
def test_a_value_that_rmis_does_not_allow_is_found(column, values, rule, rows) -> None:
    found = rules(validate_frame(pl.DataFrame({column: pl.Series(column, values, strict=False)})))
    assert found[rule][:2] == (column, rows)


@pytest.mark.parametrize(
    ("column", "series"),
    [
        ("ts", pl.Series([NOON.replace(tzinfo=None)])),
        ("ts", pl.Series([1_772_000_000])),
        ("campaign_id", pl.Series([123456789012345678])),
        ("clicks", pl.Series(["12"])),
        ("suppressed", pl.Series(["yes"])),
        ("date_local", pl.Series([NOON])),
    ],
)
def test_a_column_of_the_wrong_type_is_found_whole(column, series) -> None:
    problem = validate_frame(pl.DataFrame({column: series})).problems[0]
    assert (problem.column, problem.rule, problem.rows, problem.lines) == (column, "type.wrong", 1, (1,))


def test_a_column_that_rmis_does_not_have_is_found_but_cost_components_are_known() -> None:
    frame = pl.DataFrame({"spend": [1], "cost_component.supply": [1.0], "currency": ["EUR"]})
    assert rules(validate_frame(frame)) == {"column.unknown": ("spend", 1, (1,))}


def test_categories_and_decimals_are_as_good_as_text_and_floats() -> None:
    frame = pl.DataFrame(
        {
            "device": pl.Series(["mobile", "tv"], dtype=pl.Categorical),
            "cost": pl.Series(["1.10", "2.20"]).cast(pl.Decimal(38, 2)),
            "currency": ["EUR", "EUR"],
        }
    )
    assert validate_frame(frame).problems == ()


def test_money_without_a_currency_is_an_error_but_nothing_spent_is_not() -> None:
    frame = pl.DataFrame({"cost": [1.0, 0.0, None, 2.0], "currency": ["EUR", None, None, None]})
    assert rules(validate_frame(frame)) == {"currency.missing": ("cost", 1, (4,))}
    assert rules(validate_frame(frame.drop("currency")))["currency.missing"] == ("cost", 2, (1, 4))


def test_a_part_above_its_whole_is_a_warning_and_a_correction_is_none() -> None:
    frame = pl.DataFrame({"impressions": [10, 10, -5, None], "clicks": [3, 11, -1, 4]})
    check = validate_frame(frame)
    assert rules(check)["fit.clicks_above_impressions"] == ("clicks", 1, (2,))
    assert check.valid


def test_half_a_cent_of_rounding_is_no_excess() -> None:
    money = pl.DataFrame(
        {"attributed_sales": [0.3], "ntb_sales": [0.1 + 0.2], "currency": ["EUR"], "window_click_days": [7]}
    ).with_columns(touch=pl.lit("click"), sku_scope=pl.lit("total"))
    assert validate_frame(money).problems == ()


def test_outcomes_without_their_qualifiers_are_told() -> None:
    frame = pl.DataFrame({"attributed_units": [1], "touch": ["click"]})
    problem = validate_frame(frame).problems[0]
    assert problem.rule == "qualifier.missing"
    assert "window_click_days, sku_scope" in problem.sentence


@given(st.integers(1, 9999), st.integers(0, 13), st.integers(0, 32))
def test_the_calendar_in_one_pattern_agrees_with_the_calendar(year, month, day) -> None:
    text = f"{year:04d}-{month:02d}-{day:02d}"
    real = 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1]
    assert pl.Series([text]).str.contains(DATE_TEXT)[0] == real


SAMPLES = {
    FactType.TIMESTAMP: ["2026-03-04T05:06:07Z", "2026-03-04T05:06:07", "x", "2026-02-30T00:00:00Z"],
    FactType.DATE: ["2026-03-04", "20260304", "2026-02-30"],
    FactType.INTEGER: [0, 5],
    FactType.NUMBER: [0.5, float("nan"), float("-inf")],
    FactType.BOOLEAN: [True, False],
}


@pytest.mark.parametrize("column", FACT_COLUMNS, ids=lambda column: column.name)
def test_a_frame_is_as_strict_as_a_record(column) -> None:
    """What the check of one record refuses, the check of a table refuses too."""
    for value in SAMPLES.get(column.dtype, [*column.words[:2], "no such word"]):
        frame = pl.DataFrame({column.name: [value]})
        errors = [
            p
            for p in validate_frame(frame).problems
            if p.severity == "error" and p.rule != "currency.missing"
        ]
        if validate_record({column.name: value}):
            assert errors, (column.name, value)
        elif column.name not in ("upc", "account_timezone"):
            assert not errors, (column.name, value)


def test_a_hundred_thousand_rows_take_well_under_a_second() -> None:
    frame = pl.concat([clean(20)] * 5000)
    started = time.process_time()
    assert validate_frame(frame).problems == ()
    assert time.process_time() - started < 2
