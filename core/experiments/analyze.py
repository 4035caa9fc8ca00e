"""A file of what happened, one row per request, as a plan and its evidence: the same decision as of an experiment here.

Rows have a column of units, one of variants, and any metrics: `success` (0/1, true/false), `latency_ms`, and whatever else
is a number. Units are paired in an order that their names alone give (a hash), because a file may be sorted by what came
out, and pairs of sorted outcomes would prove anything. A unit's first row is the first in the file.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from core.errors import InvalidInputError
from core.experiments.decision import decide
from core.experiments.plan import (
    ArmEvidence,
    Decision,
    Evidence,
    MetricKind,
    MetricPlan,
    Mode,
    PairCounts,
    Plan,
)
from core.experiments.rows import checked_rows, read_rows
from core.stats.moments import UnitSums
from core.stats.sketches import LogSketch

MOST_VARIANTS = 10
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
LOWER_IS_BETTER = ("latency", "cost", "error", "duration", "seconds")


@dataclass(frozen=True, slots=True)
class Choices:
    """What the file does not say. `primary` and `guardrails` are «column», «column:mean», «column:share» or «column:p95»; a
    guardrail may end with «=margin». `weights` by variant; equal where left out. `returning` left out: where units come
    back. `cap`: values of the primary above it count as it."""

    primary: str = "success"
    guardrails: tuple[str, ...] = ()
    control: str | None = None
    weights: Mapping[str, float] | None = None
    confidence: float = 0.95
    mode: Mode = Mode.ALWAYS_VALID
    margin: float = 0.0
    equivalence: float | None = None
    returning: bool | None = None
    lower_is_better: tuple[str, ...] = ()
    minimum_units: int = 100
    planned_units: int | None = None
    looks: int = 5
    cap: float | None = None
    unit: str = "unit"
    variant: str = "variant"


@dataclass(frozen=True, slots=True)
class Analysis:
    """The decision on a file, and what it was made from. `notes`: how the file was read."""

    plan: Plan
    evidence: Evidence
    decision: Decision
    rows: int
    units: int
    notes: tuple[str, ...]


def analyze_file(path: Path, choices: Choices | None = None) -> Analysis:
    """Decide on a CSV, TSV or Parquet file. Raises InvalidInputError for a file or choices that do not fit."""
    return analyze(read_rows(path), choices)


def analyze(rows: pl.DataFrame, choices: Choices | None = None) -> Analysis:
    """Decide on rows. Raises InvalidInputError for each thing in them that no decision can rest on."""
    wanted = choices or Choices()
    if wanted.equivalence is not None and not math.isfinite(wanted.equivalence):
        raise InvalidInputError(
            "The range of equivalence is not valid.",
            "It is a number above 0, in the unit of the primary metric.",
            "Correct it, or leave --equivalence out.",
        )
    metrics = _metrics(rows, wanted)
    table = checked_rows(rows, wanted.unit, wanted.variant, metrics)
    arms, weights = _arms(table, wanted)
    table, crossed = _without_crossed(table)
    comes_back = table.height > table["unit"].n_unique()
    returning = comes_back if wanted.returning is None else wanted.returning
    plan = Plan(
        arms=arms,
        weights=weights,
        primary=metrics[0],
        guardrails=metrics[1:],
        mode=wanted.mode,
        confidence=wanted.confidence,
        minimum_units=wanted.minimum_units,
        planned_units=wanted.planned_units,
        looks=wanted.looks,
        equivalence=wanted.equivalence,
        returning=returning,
    )
    evidence = _evidence(table, plan, crossed)
    notes = _notes(plan, wanted, comes_back)
    return Analysis(plan, evidence, decide(plan, evidence), rows.height, table["unit"].n_unique(), notes)


def _metrics(rows: pl.DataFrame, wanted: Choices) -> tuple[MetricPlan, ...]:
    primary = _metric(rows, wanted, wanted.primary, wanted.margin)
    _check_cap(wanted, primary)
    found = [primary]
    for given in wanted.guardrails:
        name, _, margin = given.partition("=")
        found.append(_metric(rows, wanted, name, _number(margin, given) if margin else 0.0))
    names = [(metric.name, metric.kind, metric.quantile) for metric in found]
    if len({name for name, _, _ in names}) < len(names):
        raise InvalidInputError(
            "A column is named twice.", "Each metric of a plan is another column.", "Name each column once."
        )
    unused = set(wanted.lower_is_better) - {metric.name for metric in found}
    if unused:
        raise InvalidInputError(
            f"«{sorted(unused)[0]}» is not among the metrics.",
            "Only a metric that is judged has a direction.",
            "Name it as primary or as a guardrail.",
        )
    return tuple(found)


def _check_cap(wanted: Choices, primary: MetricPlan) -> None:
    if wanted.cap is None:
        return
    if not (math.isfinite(wanted.cap) and wanted.cap > 0):
        raise InvalidInputError(
            f"A cap of {wanted.cap:g} is not valid.",
            "It is a number above 0; values above the cap count as the cap.",
            "Correct it, or leave --cap out.",
        )
    if primary.kind is not MetricKind.MEAN:
        raise InvalidInputError(
            f"«{wanted.primary}» has no use for a cap.",
            "Only a mean has one: shares and quantiles bear outliers as they are.",
            "Leave --cap out, or judge a mean.",
        )


def _metric(rows: pl.DataFrame, wanted: Choices, given: str, margin: float) -> MetricPlan:
    column, _, kind = given.rpartition(":") if ":" in given and given not in rows.columns else (given, "", "")
    if column not in rows.columns:
        raise InvalidInputError(
            f"The file has no column «{column}».",
            f"It has {', '.join(rows.columns)}.",
            "Name one of these with --primary or --guardrail.",
        )
    if column in (wanted.unit, wanted.variant) or column in ("unit", "variant"):
        raise InvalidInputError(
            f"«{column}» is not a metric.", "It names units or variants.", "Name a column of outcomes."
        )
    lower = column in wanted.lower_is_better or any(word in column.lower() for word in LOWER_IS_BETTER)
    if kind in QUANTILES:
        return MetricPlan(column, MetricKind.QUANTILE, not lower, margin, QUANTILES[kind])
    if kind not in ("", "share", "mean"):
        raise InvalidInputError(
            f"«{kind}» is not a kind of metric.",
            "There are share, mean, p50, p90, p95 and p99.",
            "Choose one.",
        )
    share = kind == "share" or (not kind and column == "success")
    cap = wanted.cap if not share and given == wanted.primary else None
    return MetricPlan(column, MetricKind.SHARE if share else MetricKind.MEAN, not lower, margin, None, cap)


def _arms(table: pl.DataFrame, wanted: Choices) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Variants with the control first, and their weights."""
    names = sorted(table["variant"].unique().to_list())
    if wanted.weights is not None:
        names = sorted({*names, *wanted.weights})
    if not 2 <= len(names) <= MOST_VARIANTS:
        raise InvalidInputError(
            f"The file has {len(names)} variants.",
            f"A comparison has 2 to {MOST_VARIANTS}.",
            "Check the column.",
        )
    control = wanted.control
    if control is None:
        control = next((name for name in names if name.lower() in ("control", "baseline", "a")), names[0])
    if control not in names:
        raise InvalidInputError(
            f"There is no variant «{control}».", f"The file has {', '.join(names)}.", "Name one as --control."
        )
    arms = (control, *(name for name in names if name != control))
    if wanted.weights is None:
        return arms, tuple(1 / len(arms) for _ in arms)
    lacking = [name for name in arms if name not in wanted.weights]
    if lacking:
        raise InvalidInputError(
            f"«{lacking[0]}» has no weight.",
            "Give a weight for each variant, 0 where none was meant.",
            "Add it.",
        )
    given = [wanted.weights[name] for name in arms]
    if not all(math.isfinite(w) and w >= 0 for w in given) or abs(math.fsum(given) - 1) > 1e-6:
        raise InvalidInputError(
            f"The weights add up to {math.fsum(given):g}.",
            "They are 0 or more and add up to 1.",
            "Correct them.",
        )
    return arms, tuple(given)


def _without_crossed(table: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Units that were seen in two variants belong to none, and are left out and counted."""
    seen = table.group_by("unit").agg(pl.col("variant").n_unique().alias("arms"))
    crossed = seen.filter(pl.col("arms") > 1).select("unit")
    return (
        table.join(crossed, on="unit", how="anti", maintain_order="left") if crossed.height else table
    ), crossed.height


def _evidence(table: pl.DataFrame, plan: Plan, crossed: int) -> Evidence:
    arms: dict[str, ArmEvidence] = {}
    firsts: dict[str, NDArray[np.float64]] = {}
    for arm in plan.arms:
        rows = table.filter(pl.col("variant") == arm)
        arms[arm], firsts[arm] = _arm(rows, plan)
    pairs = {}
    if plan.primary.kind is MetricKind.SHARE and not plan.returning:
        base = firsts[plan.arms[0]]
        for arm in plan.arms[1:]:
            size = min(base.size, firsts[arm].size)
            gap = firsts[arm][:size] - base[:size]
            plus, minus = int((gap > 0).sum()), int((gap < 0).sum())
            pairs[arm] = PairCounts(plus, minus, size - plus - minus)
    unused = 0 if plan.returning else table.height - table["unit"].n_unique()
    is_share = plan.primary.kind is MetricKind.SHARE
    return Evidence(arms, pairs, ended=True, crossed_units=crossed, repeats_unused=unused if is_share else 0)


def _arm(rows: pl.DataFrame, plan: Plan) -> tuple[ArmEvidence, NDArray[np.float64]]:
    """One arm's evidence, and its units' first outcomes in the order of their hashes."""
    sums, sketches = {}, {}
    for metric in (plan.primary, *plan.guardrails):
        value = (
            pl.col(metric.name) if metric.cap is None else pl.col(metric.name).clip(upper_bound=metric.cap)
        )
        known = rows.drop_nulls(metric.name)
        units = known.group_by("unit").agg(value.sum().alias("y"), pl.len().alias("x"))
        sums[metric.name] = UnitSums.of(units["y"].to_numpy(), units["x"].to_numpy())  # type: ignore[arg-type]
        if metric.kind is MetricKind.QUANTILE:
            sketches[metric.name] = LogSketch.of(known[metric.name].to_numpy())
    first, ordered = UnitSums(), np.empty(0)
    if plan.primary.kind is MetricKind.SHARE:
        known = rows.drop_nulls(plan.primary.name).unique("unit", keep="first", maintain_order=True)
        outcome = known[plan.primary.name].to_numpy()
        ordered = outcome[np.argsort(_hashes(known["unit"].to_list()), kind="stable")]
        first = UnitSums.of(ordered.tolist())
    return ArmEvidence(rows["unit"].n_unique(), rows.height, sums, sketches, first), ordered


def _hashes(units: Sequence[str]) -> NDArray[np.uint64]:
    joined = b"".join(hashlib.blake2b(unit.encode(), digest_size=8).digest() for unit in units)
    return np.frombuffer(joined, dtype=np.uint64)


def _notes(plan: Plan, wanted: Choices, comes_back: bool) -> tuple[str, ...]:
    told = []
    if wanted.control is None:
        told.append(f"«{plan.arms[0]}» was taken as the control; name another with --control.")
    if wanted.weights is None:
        told.append("Equal weights were assumed; say others with --weights.")
    if not comes_back:
        told.append("No unit comes twice: units are treated as independent.")
    elif plan.returning:
        told.append("Units come back: all is judged over units, not over requests.")
    return tuple(told)


def _number(text: str, given: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not (math.isfinite(found) and found >= 0):
        raise InvalidInputError(
            f"«{given}» does not end in a margin.",
            "A margin is a number of 0 or more.",
            "Write «latency_ms=20».",
        )
    return found
