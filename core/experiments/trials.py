"""Many simulated experiments, counted: false winners, power, how soon, and how often an interval holds at all times."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from core.experiments.cells import Cell, Runs, draw_runs, null_cells, power_cells
from core.experiments.compare import look_bound, planned_contrast, primary_alpha
from core.experiments.decision import decide
from core.experiments.plan import MetricKind, Mode, Plan
from core.experiments.simulate import (
    chunks,
    evidence_at,
    first_winner,
    judge,
    pair_counts,
    running_sums,
    schedules,
)
from core.stats import confidence_sequences as sequences
from core.stats.pairs import log_capital
from core.stats.proportions import wilson

Flags = NDArray[np.bool_]
PEER_MINIMUM = 100
CLASSIC, DELTA = "classic test at .05", "relative lift by the delta method"
Z_05 = 1.959963984540054
COVERAGE_LOOKS = 200


@dataclass(slots=True)
class FalsePositives:
    """Share of runs with a winner where no arm differs, by how often somebody looks. `peers`, at the same looks of the same
    runs, with 100 units per arm at least: CLASSIC at .05, of shares chi-square, of means Welch's; DELTA, a confidence
    sequence of the relative lift by the delta method (two arms)."""

    cell: str
    runs: int
    units_per_arm: float
    winners: dict[str, float] = field(default_factory=dict)
    peers: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Power:
    """Where the first treatment is better: share of runs that ship it in time, and roll back; mean units per arm until
    a winner is there, counting all of them where none is; share of runs whose relative interval holds the truth at all
    looks."""

    cell: str
    runs: int
    units_per_arm: int
    shipped: float
    rolled_back: float
    mean_units_per_arm: float
    coverage: float


def false_positives(cell: Cell, *, runs: int, units_per_arm: int, seed: int) -> FalsePositives:
    """Of one cell, for all schedules on the same runs."""
    arms = len(cell.plan.arms)
    total = units_per_arm * arms
    plans = schedules(arms, total)
    found = dict.fromkeys((each.name for each in plans), 0)
    peers: dict[str, dict[str, float]] = {}
    for drawn in chunks(cell, runs, total, seed):
        looks = judge(cell.plan, drawn)
        called = _peers(cell.plan, drawn, looks.counts)
        for schedule in plans:
            _, arm = first_winner(cell.plan, looks, schedule)
            found[schedule.name] += int((arm >= 0).sum())
            if schedule.minimum == PEER_MINIMUM:
                at = slice(schedule.first - 1, None, schedule.step)
                for name, flags in called.items():
                    counted = peers.setdefault(name, dict.fromkeys((each.name for each in plans[:3]), 0.0))
                    counted[schedule.name] += float(flags[:, at].any(axis=1).sum()) / runs
    told = FalsePositives(cell.name, runs, units_per_arm)
    told.winners = {name: count / runs for name, count in found.items()}
    told.peers = {name: {when: round(rate, 6) for when, rate in each.items()} for name, each in peers.items()}
    return told


def power(cell: Cell, *, runs: int, units_per_arm: int, seed: int) -> Power:
    """Of one cell with two arms, looked at after every unit from 100 per arm on, or at the planned looks."""
    total = 2 * units_per_arm
    schedule = schedules(2, total)[2]
    shipped = rolled_back = held = 0
    units = 0.0
    for drawn in chunks(cell, runs, total, seed):
        looks = judge(cell.plan, drawn)
        when, arm = first_winner(cell.plan, looks, schedule)
        shipped += int((arm > 0).sum())
        rolled_back += int((arm == 0).sum())
        units += float(np.where(arm >= 0, when, total).sum()) / 2
        held += int(lift_held(cell, drawn, looks.counts).sum())
    return Power(
        cell.name, runs, units_per_arm, shipped / runs, rolled_back / runs, units / runs, held / runs
    )


def lift_held(cell: Cell, runs: Runs, counts: NDArray[np.int64]) -> Flags:
    """By run, whether the relative interval of two arms holds the true lift at every look (pairs: at 200 of them)."""
    plan, level = cell.plan, -math.log(primary_alpha(cell.plan))
    if plan.mode is Mode.GROUP_SEQUENTIAL:
        return _held_as_planned(cell, runs, counts)
    if plan.primary.kind is MetricKind.SHARE and not plan.returning:
        return _held_by_pairs(cell, runs, counts, level)
    found = sequences.contrast(running_sums(runs, counts, 1), running_sums(runs, counts, 0))
    low, high = sequences.relative_bounds(found, level)
    missed: Flags = np.asarray((low > cell.lift) | (high < cell.lift))
    return np.asarray(~missed.any(axis=1))


def decided(cell: Cell, *, runs: int, units_per_arm: int, looks: int, seed: int) -> float:
    """Share of runs in which `decide` itself names a winner at one of so many looks."""
    random = np.random.default_rng(seed)
    total = units_per_arm * len(cell.plan.arms)
    found = 0
    for _ in range(runs):
        drawn = draw_runs(cell, random, 1, total)
        at = (total * (k + 1) // looks for k in range(looks))
        found += any(decide(cell.plan, evidence_at(cell.plan, drawn, 0, n)).winner for n in at)
    return found / runs


def ceiling(rate: float, runs: int) -> float:
    """Upper end of Wilson's 95 % interval of a share of runs."""
    return wilson(round(rate * runs), runs).high


def _held_by_pairs(cell: Cell, runs: Runs, counts: NDArray[np.int64], level: float) -> Flags:
    plus, minus = pair_counts(runs, counts, 1)
    both = np.zeros_like(plus)
    for run in range(runs.arms.shape[0]):
        own, base = (runs.totals[run][runs.arms[run] == k] for k in (1, 0))
        size = min(own.size, base.size)
        whole = np.minimum(counts[1, run], counts[0, run])
        both[run] = np.concatenate([[0], (own[:size] * base[:size] > 0).cumsum()])[whole]
    at = np.unique(np.linspace(0, plus.shape[1] - 1, COVERAGE_LOOKS).astype(np.int64))
    tallies = np.stack([plus[:, at], minus[:, at], both[:, at]], axis=-1)
    ratio = 1 + cell.lift
    above = log_capital(tallies, np.array([1 / ratio, -1.0, 1 / ratio - 1]))
    below = log_capital(tallies[..., [1, 0, 2]], np.array([ratio, -1.0, ratio - 1]))
    held: Flags = np.asarray(np.maximum(above, below) - math.log(2) < level)
    return np.asarray(held.all(axis=1))


def _held_as_planned(cell: Cell, runs: Runs, counts: NDArray[np.int64]) -> Flags:
    plan = cell.plan
    goal = plan.planned_units or 1
    due = np.minimum(plan.looks, counts.min(axis=0) * plan.looks // goal)
    is_open = np.diff(due, axis=1, prepend=0) > 0
    first = plan.primary.kind is MetricKind.SHARE and not plan.returning
    found = planned_contrast(running_sums(runs, counts, 1), running_sums(runs, counts, 0), first=first)
    alpha = primary_alpha(plan)
    critical = np.array([np.inf, *(look_bound(k + 1, plan.looks, alpha) for k in range(plan.looks))])[due]
    low, high = sequences.fieller_bounds(found, critical * critical)
    missed: Flags = np.asarray(((low > cell.lift) | (high < cell.lift)) & is_open)
    return np.asarray(~missed.any(axis=1))


def _peers(plan: Plan, runs: Runs, counts: NDArray[np.int64]) -> dict[str, Flags]:
    """By run and look, whether each peer would call a winner; none of them judges quantiles so."""
    if plan.primary.kind is MetricKind.QUANTILE:
        return {}
    ready = counts.min(axis=0) >= PEER_MINIMUM
    arms = [running_sums(runs, counts, k) for k in range(len(plan.arms))]
    found = [sequences.contrast(arm, arms[0]) for arm in arms[1:]]
    with np.errstate(invalid="ignore", divide="ignore"):
        if plan.primary.kind is MetricKind.SHARE:
            from scipy.special import chdtri

            x = sum(arm.x for arm in arms)
            pooled = sum(arm.y for arm in arms) / x
            gaps = sum((arm.y - arm.x * pooled) ** 2 / arm.x for arm in arms)
            classic = np.asarray(gaps / (pooled * (1 - pooled)) > chdtri(len(arms) - 1, 0.05))
        else:
            over = [np.abs(each.value) > Z_05 * np.sqrt(each.own + each.own_control) for each in found]
            classic = np.any(over, axis=0)
        told = {CLASSIC: classic & ready}
        if len(arms) == 2:
            told[DELTA] = _delta(found[0]) & ready
    return told


def _delta(found: sequences.MeanContrast) -> Flags:
    """A confidence sequence of the relative lift by the delta method, tuned at 5,000 units: always valid in name, but the
    estimate and its variance hang together where the control is small or skewed."""
    alpha, units, control = 0.05, found.units, found.control_mean
    double = -2 * math.log(alpha)
    rho2 = (double + math.log(double + 1)) / 5_000
    lift = found.value / control
    variance = found.own / control**2 + found.mean**2 * found.own_control / control**4
    boundary = 2 * (units * rho2 + 1) / (units * rho2) * np.log(np.sqrt(units * rho2 + 1) / alpha)
    return np.asarray(np.abs(lift) > np.sqrt(boundary * variance))


def run_null(
    *,
    runs: int,
    units_per_arm: int,
    seed: int,
    named: str = "",
    cells: Sequence[Cell] | None = None,
    tell: Callable[[str], None] | None = None,
) -> list[FalsePositives]:
    """All cells where no arm differs (or these), or those whose name holds `named`; each has a seed of its own."""
    found = []
    for number, cell in enumerate(null_cells() if cells is None else cells):
        if named in cell.name:
            found.append(false_positives(cell, runs=runs, units_per_arm=units_per_arm, seed=seed + number))
            if tell is not None:
                tell(f"{cell.name}: {max(found[-1].winners.values()):.2%} at most")
    return found


def run_power(
    *, runs: int, units_per_arm: int, seed: int, named: str = "", tell: Callable[[str], None] | None = None
) -> list[Power]:
    """All cells where one arm is better, or those whose name holds `named`."""
    found = []
    for number, cell in enumerate(power_cells(units_per_arm)):
        if named in cell.name:
            found.append(power(cell, runs=runs, units_per_arm=units_per_arm, seed=seed + 1_000 + number))
            if tell is not None:
                tell(f"{cell.name}: {found[-1].shipped:.2%} shipped")
    return found
