"""A file of requests becomes a plan and evidence; what no decision can rest on is refused with its reason."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from core.errors import InvalidInputError
from core.experiments.analyze import Choices, analyze, analyze_file
from core.experiments.plan import MetricKind, Mode, Verdict

RANDOM = np.random.default_rng(7)


def rows(control: float, treatment: float, n: int = 4000, visits: int = 1) -> pl.DataFrame:
    """n units, half in each variant, each with so many requests."""
    units = np.arange(n)
    variant = np.where(units % 2 == 0, "a", "b")
    repeated = np.repeat(units, visits)
    chance = np.where(repeated % 2 == 0, control, treatment)
    return pl.DataFrame(
        {
            "unit": [f"u{unit}" for unit in repeated],
            "variant": np.repeat(variant, visits),
            "success": (RANDOM.random(n * visits) < chance).astype(int),
            "latency_ms": np.exp(RANDOM.normal(5, 0.6, n * visits)),
        }
    )


def test_a_better_variant_wins() -> None:
    found = analyze(rows(0.5, 0.6))
    assert (found.decision.verdict, found.decision.winner, found.units) == (Verdict.SHIP, "b", 4000)
    assert not found.plan.returning
    assert "treated as independent" in " ".join(found.notes)


def test_the_order_of_the_rows_says_nothing() -> None:
    given = rows(0.5, 0.5, 3000)
    first = analyze(given).evidence.pairs["b"]
    for ordered in (
        given.sort("success"),
        given.sort("success", descending=True),
        given.sort("variant", "success"),
    ):
        assert analyze(ordered).evidence.pairs["b"] == first
    # Sorted outcomes side by side would all be ties but for the difference, and prove anything.
    assert first.plus + first.minus > 500


def test_units_that_come_back_are_judged_over_all_their_requests() -> None:
    given = rows(0.5, 0.55, 400, visits=10)
    assert analyze(given).plan.returning
    by_first = analyze(given, Choices(returning=False))
    assert by_first.evidence.repeats_unused == 3600
    assert by_first.evidence.arms["a"].first.n == 200
    assert any("3,600 further requests" in each for each in by_first.decision.warnings)


def test_units_in_two_variants_are_left_out_and_counted() -> None:
    given = rows(0.5, 0.6)
    crossed = given.head(2).with_columns(variant=pl.lit("b"))
    found = analyze(pl.concat([given, crossed]))
    assert (found.evidence.crossed_units, found.units) == (1, 3999)


def test_the_first_request_of_a_unit_is_the_first_in_the_file() -> None:
    given = pl.DataFrame({"unit": ["u", "u", "v"], "variant": ["a", "a", "b"], "success": [1, 0, 0]})
    found = analyze(given, Choices(returning=False))
    assert (found.evidence.arms["a"].first.y, found.evidence.arms["b"].first.y) == (1, 0)


def test_latency_is_better_when_it_is_lower_and_may_be_a_quantile_or_a_guardrail() -> None:
    given = rows(0.5, 0.6)
    found = analyze(given, Choices(primary="latency_ms:p95", guardrails=("success=0.01",)))
    assert (found.plan.primary.kind, found.plan.primary.quantile) == (MetricKind.QUANTILE, 0.95)
    assert not found.plan.primary.higher_is_better
    assert (found.plan.guardrails[0].kind, found.plan.guardrails[0].margin) == (MetricKind.SHARE, 0.01)
    assert found.plan.guardrails[0].higher_is_better


def test_a_planned_mode_and_a_cap_reach_the_plan() -> None:
    choices = Choices(primary="latency_ms", mode=Mode.FIXED, planned_units=2000, cap=200.0, margin=1.0)
    found = analyze(rows(0.5, 0.5), choices)
    assert (found.plan.mode, found.plan.planned_units, found.plan.primary.cap) == (Mode.FIXED, 2000, 200.0)
    assert found.evidence.arms["a"].sums["latency_ms"].ratio < 200
    assert not found.decision.comparisons[0].always_valid


def test_unequal_weights_are_checked_and_weight_0_takes_no_part() -> None:
    given = rows(0.5, 0.6)
    assert analyze(given, Choices(weights={"a": 0.9, "b": 0.1})).decision.mismatch.found
    extra = given.head(300).with_columns(unit=pl.col("unit") + "x", variant=pl.lit("c"))
    found = analyze(pl.concat([given, extra]), Choices(weights={"a": 0.5, "b": 0.5, "c": 0.0}))
    assert [each.arm for each in found.decision.comparisons] == ["b"]
    assert not found.decision.mismatch.found


def test_text_columns_are_read_as_people_write_them(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    lines = [
        f"u{n},{'control' if n % 2 else 'new'},{word}"
        for n, word in enumerate(["true", "No", "1", "0", "", "YES"])
    ]
    file.write_text("user,group,success\n" + "\n".join(lines))
    found = analyze_file(file, Choices(unit="user", variant="group"))
    assert found.plan.arms == ("control", "new")
    assert (found.evidence.arms["control"].first.y, found.evidence.arms["new"].first.n) == (1, 2)


def test_parquet_and_csv_say_the_same(tmp_path: Path) -> None:
    given = rows(0.5, 0.6, 600)
    given.write_csv(tmp_path / "r.csv")
    given.write_parquet(tmp_path / "r.parquet")
    told = [analyze_file(tmp_path / name).decision for name in ("r.csv", "r.parquet")]
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("change", "choices", "what"),
    [
        ({"latency_ms": float("nan")}, Choices(primary="latency_ms"), "not finite numbers"),
        ({"latency_ms": float("inf")}, Choices(primary="latency_ms"), "not finite numbers"),
        ({"latency_ms": -1.0}, Choices(primary="latency_ms"), "are negative"),
        ({"success": 2}, Choices(), "is not a share"),
        ({"unit": None}, Choices(), "have no unit"),
        ({"variant": " "}, Choices(), "have no variant"),
        ({}, Choices(primary="revenue"), "no column «revenue»"),
        ({}, Choices(primary="latency_ms:p42"), "not a kind of metric"),
        ({}, Choices(primary="unit"), "is not a metric"),
        ({}, Choices(guardrails=("success",)), "named twice"),
        ({}, Choices(guardrails=("latency_ms=-3",)), "does not end in a margin"),
        ({}, Choices(unit="person"), "no column «person»"),
        ({}, Choices(control="z"), "no variant «z»"),
        ({}, Choices(weights={"a": 1.0}), "has no weight"),
        ({}, Choices(weights={"a": 0.5, "b": 0.6}), "add up to 1.1"),
        ({}, Choices(lower_is_better=("cost",)), "not among the metrics"),
        ({"variant": "a"}, Choices(), "has 1 variants"),
        ({"latency_ms": 1e308}, Choices(primary="latency_ms"), "out of range"),
        ({}, Choices(primary="latency_ms", cap=-1.0), "cap of -1 is not valid"),
        ({}, Choices(primary="latency_ms", cap=0.0), "cap of 0 is not valid"),
        ({}, Choices(primary="latency_ms", cap=float("nan")), "cap of nan is not valid"),
        ({}, Choices(primary="latency_ms", cap=float("inf")), "cap of inf is not valid"),
        ({}, Choices(primary="latency_ms:p95", cap=100.0), "no use for a cap"),
        ({}, Choices(cap=1.0), "no use for a cap"),
        ({}, Choices(equivalence=float("inf")), "equivalence is not valid"),
    ],
)
def test_what_cannot_be_decided_on_is_refused(change: dict[str, object], choices: Choices, what: str) -> None:
    given = rows(0.5, 0.5, 20)
    if change.get("variant") == "a":
        given = given.with_columns(variant=pl.lit("a"))
    else:
        first = pl.int_range(pl.len()) == 0
        for column, value in change.items():
            given = given.with_columns(
                pl.when(first).then(pl.lit(value)).otherwise(pl.col(column)).alias(column)
            )
    with pytest.raises(InvalidInputError, match=what):
        analyze(given, choices)


def test_no_rows_and_broken_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no rows"):
        analyze(rows(0.5, 0.5, 10).clear())
    (tmp_path / "r.parquet").write_bytes(b"not one")
    (tmp_path / "empty.csv").write_bytes(b"")
    for name in ("r.parquet", "empty.csv"):
        with pytest.raises(InvalidInputError, match="cannot be read"):
            analyze_file(tmp_path / name)


def test_a_long_tail_is_said() -> None:
    given = rows(0.5, 0.5, 4000).with_columns(spend=pl.Series(np.exp(RANDOM.normal(0, 2.5, 4000))))
    assert any("long tail" in each for each in analyze(given, Choices(primary="spend")).decision.warnings)
    capped = analyze(given, Choices(primary="spend", cap=20.0)).decision.warnings
    assert not any("long tail" in each for each in capped)
