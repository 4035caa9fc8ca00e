"""Harmonized rows that cannot be right are named before anyone uses them."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from core.harmonize.findings import Finding, find_result_traps

START = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Plan:
    qualifiers: dict[str, object] = field(default_factory=dict)


def rows(count: int = 60, **changes: Any) -> pl.DataFrame:
    told = {
        "ts": [START + timedelta(days=i) for i in range(count)],
        "impressions": [1000] * count,
        "clicks": [20] * count,
        "cost": [16.0] * count,
        "currency": ["USD"] * count,
        "attributed_sales": [64.0] * count,
        "lineage.line": [i + 2 for i in range(count)],
    }
    return pl.DataFrame({**told, **changes})


def found(frame: pl.DataFrame, plan: Plan | None = None, **options: Any) -> dict[str, Finding]:
    return {finding.rule: finding for finding in find_result_traps(frame.lazy(), plan, **options)}


def loud(frame: pl.DataFrame, **options: Any) -> set[str]:
    return {rule for rule, finding in found(frame, **options).items() if finding.severity != "note"}


def test_plausible_rows_give_no_warning() -> None:
    assert loud(rows(), now=START + timedelta(days=70)) == set()
    assert find_result_traps(rows().head(0)) == []
    assert find_result_traps(pl.DataFrame({"retailer": ["Alpha"]})) == []


@pytest.mark.parametrize(
    ("changes", "rule", "said"),
    [
        ({"cost": [16e6] * 60}, "result.cpc", "A click costs 8e+05"),
        ({"cost": [16e-6] * 60}, "result.cpc", "A click costs 8e-07"),
        ({"clicks": [None] * 60, "cost": [400.0] * 60}, "result.cpm", "A thousand impressions cost 400"),
        ({"clicks": [600] * 60, "cost": [60.0] * 60}, "result.ctr", "0.60"),
        ({"clicks": [2000] * 60, "cost": [100.0] * 60}, "result.ctr", "more clicks than impressions"),
        ({"attributed_sales": [6400.0] * 60}, "result.roas", "Sales over cost are 400"),
    ],
)
def test_a_rate_that_nobody_has_is_told(changes: dict[str, Any], rule: str, said: str) -> None:
    assert said in found(rows(**changes))[rule].sentence


def test_what_is_dear_in_dollars_is_not_in_yen() -> None:
    dear = {"cost": [2400.0] * 60, "attributed_sales": [9600.0] * 60}
    assert loud(rows(**dear)) == {"result.cpc", "result.cpm"}
    assert loud(rows(**dear, currency=["JPY"] * 60)) == set()


def test_a_few_clicks_are_not_judged() -> None:
    assert "result.cpc" not in found(rows(5, cost=[9000.0] * 5, clicks=[1] * 5))


def test_single_events_are_counted() -> None:
    kinds = ["impression"] * 1900 + ["click"] * 100
    events = pl.DataFrame(
        {"event_type": kinds, "cost": [0.0] * 1900 + [8e5] * 100, "currency": ["USD"] * 2000}
    )
    assert "result.cpc" in found(events)
    assert loud(events.with_columns(cost=pl.col("cost") / 1e6)) == set()


def test_an_overflow_is_told_with_its_lines() -> None:
    clicks = [20] * 58 + [2_147_483_647, 20]
    finding = found(rows(impressions=clicks))["result.overflow"]
    assert (finding.columns, finding.rows, finding.lines) == (("impressions",), 1, (60,))


def test_young_days_will_be_restated() -> None:
    finding = found(rows(), Plan({"window_click_days": 30}))["time.immature"]
    assert (
        finding.rows == 29
    )  # counted back from the end of the last day, of which the thirtieth is just over
    assert finding.lines[0] == 33
    assert found(rows(), Plan({"attributed_sales": {"window_click_days": 7}}))["time.immature"].rows == 6
    assert found(rows())["time.immature"].rows == 13
    assert "time.immature" not in found(rows(), now=START + timedelta(days=75))
    assert "time.immature" not in found(rows().drop("attributed_sales"))


def test_the_reading_time_of_the_rows_comes_before_the_clock() -> None:
    read = rows().with_columns(as_of=pl.lit(START + timedelta(days=200)))
    assert "time.immature" not in found(read, now=START + timedelta(days=60))


def test_rows_of_the_future_are_told() -> None:
    finding = found(rows(), now=START + timedelta(days=50))["time.future"]
    assert (finding.rows, finding.lines[0]) == (8, 54)


def test_two_currencies_are_told() -> None:
    finding = found(rows(currency=["USD"] * 30 + ["EUR"] * 30))["money.several_currencies"]
    assert "EUR, USD" in finding.sentence
