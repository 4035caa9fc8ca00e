from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.harmonize import apply as applying
from core.harmonize import exact_sums, sinks
from core.harmonize.apply import run_harmonize
from core.harmonize.plan import Plan, make_plan
from core.harmonize.records import Mapping
from core.harmonize.report import HarmonizeReport, MeasureTotals
from tests.core.harmonize.apply_files import harmonized, mapping_of, source_of

PARTS = mapping_of(
    ("a", "cost", {"op": "explode", "const": "onsite"}), ("b", "cost", {"op": "explode", "const": "instore"})
)
SUMMED = mapping_of(("k", "campaign_id"), ("a", "cost", {"op": "sum_delta", "key": "k"}))
MICROS = {"op": "divide", "by": 1_000_000}


def total_of(report: HarmonizeReport) -> MeasureTotals:
    [total] = report.conservation
    return total


def tampered(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Every plan computes something else than its rules say."""

    def wrong(*args: Any, **more: Any) -> Plan:
        plan = make_plan(*args, **more)
        slots = tuple(
            replace(slot, cell=replace(slot.cell, value=change(slot.cell.value))) for slot in plan.slots
        )
        return replace(plan, slots=slots)

    monkeypatch.setattr(applying, "make_plan", wrong)


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value / 10_000,
        lambda value: value + 1e-6,
        lambda value: -value,
        lambda value: value.fill_null(0.01),
        lambda value: value.round(2),
        lambda value: value.shift(1),
    ],
    ids=["unit", "a millionth", "sign", "blank as a cent", "rounded", "another row"],
)
def test_a_wrong_expression_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    source = source_of(tmp_path, "spend,x\n1234567,a\n,b\n7654321,c\n")
    tampered(monkeypatch, change)
    report = run_harmonize(
        source, mapping_of(("spend", "cost", MICROS)), None, out=tmp_path / "o.parquet", work_dir=tmp_path
    )
    assert not report.conserved
    assert "conservation.difference" in [each.rule for each in report.findings if each.severity == "error"]


def test_a_blank_that_became_zero_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tampered(monkeypatch, lambda value: value.fill_null(0))
    report = run_harmonize(
        source_of(tmp_path, "c,x\n5,a\n,b\n"), mapping_of(("c", "clicks")), None, work_dir=tmp_path
    )
    assert "conservation.invented" in [each.rule for each in report.findings if each.severity == "error"]


def test_totals_beyond_28_digits_are_exact(tmp_path: Path) -> None:
    source = source_of(tmp_path, "s\n98765432109876543210.12345678\n0.00000001\n")
    _, report = harmonized(tmp_path, source, mapping_of(("s", "cost")))
    assert total_of(report).input_total == "98765432109876543210.12345679"


def test_a_lost_count_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_of(tmp_path, "c,x\n5,a\n7,b\n")
    tampered(monkeypatch, lambda value: value - 1)
    report = run_harmonize(source, mapping_of(("c", "clicks")), None, out=None, work_dir=tmp_path)
    assert total_of(report).difference == "-2"


def test_rows_that_do_not_hold_what_was_computed_are_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output is what stands in the file, not what was meant to stand there."""
    real = sinks.scan
    monkeypatch.setattr(sinks, "scan", lambda *given: real(*given).with_columns(pl.col("cost") + 0.01))
    report = run_harmonize(
        source_of(tmp_path, "s\n1.5\n2.5\n"), mapping_of(("s", "cost")), None, work_dir=tmp_path
    )
    assert (total_of(report).output_total, total_of(report).difference) == ("4.02", "0.02")


@pytest.mark.parametrize("mapping", [PARTS, SUMMED])
def test_columns_that_several_rules_fill_or_that_are_summed_are_checked_in_the_file_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mapping: Mapping
) -> None:
    source = source_of(tmp_path, "k,a,b\nx,1.5,2\nx,2.5,\n")
    good = run_harmonize(source, mapping, None, work_dir=tmp_path)
    assert [each for each in good.findings if each.severity == "error"] == []
    real = sinks.scan
    monkeypatch.setattr(sinks, "scan", lambda *given: real(*given).with_columns(pl.col("cost") + 0.01))
    bad = run_harmonize(source, mapping, None, work_dir=tmp_path)
    assert "conservation.written" in [each.rule for each in bad.findings if each.severity == "error"]


def test_micros_are_reconciled_in_both_units(tmp_path: Path) -> None:
    _, report = harmonized(
        tmp_path, source_of(tmp_path, "s\n1234567\n1\n3000000\n"), mapping_of(("s", "cost", MICROS))
    )
    total = total_of(report)
    assert (total.input_total, total.output_total, total.difference) == ("4234568.00", "4.234568", "0.00")
    assert (total.rows, total.exact) == (3, True)


def test_a_tenth_and_two_tenths_are_three_tenths(tmp_path: Path) -> None:
    text = "s\n" + "0.1\n0.2\n" * 5000
    _, report = harmonized(tmp_path, source_of(tmp_path, text), mapping_of(("s", "cost")))
    assert (total_of(report).output_total, total_of(report).difference) == ("1500.00", "0.00")


def test_values_that_did_not_fit_are_a_line_of_their_own(tmp_path: Path) -> None:
    source = source_of(tmp_path, 'c\n5\n"1,234"\nabc\n-\n<10\n2.5\n')
    _, report = harmonized(tmp_path, source, mapping_of(("c", "clicks")))
    total = total_of(report)
    assert (total.input_total, total.rejected_total, total.output_total, total.difference) == (
        "1241.5",
        "1236.5",
        "5",
        "0",
    )
    assert total.rejected_rows == 5


def test_amounts_with_more_digits_than_a_float_holds_are_told_as_they_are(tmp_path: Path) -> None:
    source = source_of(tmp_path, "s\n0.5600000023841858\n0.123456789012345678901234\n")
    _, report = harmonized(tmp_path, source, mapping_of(("s", "cost")))
    assert total_of(report).input_total == "0.683456791396531478901234"
    assert report.conserved


def test_a_count_beyond_what_floats_hold_is_exact(tmp_path: Path) -> None:
    source = source_of(tmp_path, "c\n9007199254740993\n9007199254740993\n")
    _, report = harmonized(tmp_path, source, mapping_of(("c", "impressions")))
    assert total_of(report).output_total == "18014398509481986"


def test_a_factor_that_stands_in_a_column_is_followed_row_by_row(tmp_path: Path) -> None:
    source = source_of(tmp_path, "s,by\n10,4\n9,3\n1,0\n5,\n")
    _, report = harmonized(
        tmp_path, source, mapping_of(("s", "cost", {"op": "divide", "by_field": "by"}), ("by", None))
    )
    total = total_of(report)
    assert (total.input_total, total.rejected_total, total.output_total) == ("25.00", "6.00", "5.50")
    assert (total.difference, total.exact) == ("0.00", False)


def test_negative_corrections_are_added_with_their_sign(tmp_path: Path) -> None:
    source = source_of(tmp_path, 's,x\n"$1,000.00",a\n"($1,000.10)",b\n5-,c\n')
    _, report = harmonized(
        tmp_path, source, mapping_of(("s", "attributed_sales", {"op": "parse_number", "strip": ","}))
    )
    assert (total_of(report).input_total, total_of(report).output_total) == ("-5.10", "-5.10")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(st.none(), st.decimals(-10_000, 10_000, places=4), st.sampled_from(["-", "x", "<5"])),
        min_size=1,
        max_size=60,
    ),
    st.sampled_from(
        [
            {"op": "none"},
            {"op": "divide", "by": 100},
            MICROS,
            {"op": "multiply", "by": 0.01},
            {"op": "divide", "by": 3},
        ]
    ),
)
def test_whatever_the_values_input_is_output_and_rejected(
    tmp_path: Path, amounts: list[Any], transform: Any
) -> None:
    text = "id,s\n" + "".join(f"{n},{'' if each is None else each}\n" for n, each in enumerate(amounts))
    mapping = mapping_of(("id", "campaign_id"), ("s", "cost", transform))
    report = run_harmonize(source_of(tmp_path, text), mapping, None, out=None, work_dir=tmp_path / "work")
    known = [each for each in amounts if isinstance(each, Decimal)]
    assert report.conserved
    assert Decimal(total_of(report).input_total) == sum(known, Decimal(0))
    assert total_of(report).rows == len(known)


@pytest.mark.parametrize(
    ("number", "whole", "text"),
    [
        ("0", False, "0.00"),
        ("0", True, "0"),
        ("1E+3", False, "1000.00"),
        ("1.5", False, "1.50"),
        ("1.234567", False, "1.234567"),
        ("-12", True, "-12"),
    ],
)
def test_amounts_are_written_without_exponents(number: str, whole: bool, text: str) -> None:
    assert exact_sums.plain(Decimal(number), whole=whole) == text
