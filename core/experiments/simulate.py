"""What `decide` would say at every look of many runs at once, from the same functions of core/stats.

Forty million looks cannot be decided one by one. Here the evidence of all runs is added up as arrays, and the functions
that `decide` calls are called with arrays; a test compares verdict and winner with those of `decide`, look by look.
Only what the benchmark needs: no guardrails, no margin, no equivalence, no days.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInputError
from core.experiments.cells import METRIC, Cell, Runs, draw_runs
from core.experiments.compare import look_bound, planned_contrast, primary_alpha
from core.experiments.plan import ArmEvidence, Evidence, MetricKind, Mode, PairCounts, Plan, Verdict
from core.experiments.simulate_quantiles import judge_quantiles
from core.stats import confidence_sequences as sequences
from core.stats import evalues, pairs, srm
from core.stats.moments import UnitSums
from core.stats.sketches import LogSketch

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]
VERDICTS = (Verdict.NO_DECISION, Verdict.KEEP_RUNNING, Verdict.SHIP, Verdict.ROLLBACK)
CHUNK = 1_000_000  # units that are held at once


@dataclass(frozen=True, slots=True)
class Looks:
    """By treatment, run and look: whether it is better or harmed and by how much it differs; by arm, run and look how
    many units there are; by run and look whether the plan lets anybody judge."""

    better: Flags
    harmed: Flags
    value: Floats
    counts: Counts
    open: Flags


@dataclass(frozen=True, slots=True)
class Schedule:
    """When somebody looks: after every `step` units of all arms together, from `first` on; `minimum` is the plan's."""

    name: str
    first: int
    step: int
    minimum: int


def schedules(arms: int, total: int) -> tuple[Schedule, ...]:
    """20 looks, 100 looks, and every unit from 100, 10 and 1 per arm on."""
    return (
        Schedule("20 looks", total // 20, total // 20, 100),
        Schedule("100 looks", total // 100, total // 100, 100),
        *(Schedule(f"every unit from {first}", first * arms, 1, first) for first in (100, 10, 1)),
    )


def judge(plan: Plan, runs: Runs) -> Looks:
    """All looks, after each unit. Raises InvalidInputError for a plan with what simulations leave out."""
    _check(plan)
    counts = np.stack([(runs.arms == k).cumsum(axis=1) for k in range(len(plan.arms))])
    is_open = np.ones(runs.arms.shape, dtype=np.bool_)
    if plan.mode is Mode.GROUP_SEQUENTIAL:
        over, value, is_open = _planned(plan, runs, counts)
    elif plan.primary.kind is MetricKind.QUANTILE:
        over, value = judge_quantiles(runs, counts, float(plan.primary.quantile or 0.5), _level(plan))
    elif plan.primary.kind is MetricKind.SHARE and not plan.returning:
        over, value = _paired(plan, runs, counts)
    else:
        over, value = _means(plan, runs, counts)
    up = value > 0 if plan.primary.higher_is_better else value < 0
    return Looks(over & up, over & ~up, value, counts, is_open)


def verdicts(plan: Plan, looks: Looks) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """By run and look: the place of the verdict in VERDICTS, and that of the winner in the plan's arms (−1: none)."""
    ready = looks.counts.min(axis=0) >= plan.minimum_units
    shipped = looks.better.any(axis=0) & ready
    harmed = looks.harmed.any(axis=0) & ~shipped
    verdict = np.where(ready, 1, 0).astype(np.int8)
    verdict[shipped], verdict[harmed] = 2, 3
    winner = np.where(shipped, 1 + _best(plan, looks), np.where(harmed, 0, -1)).astype(np.int8)
    off = _off(plan, looks.counts, np.ones(ready.shape, dtype=np.bool_))
    return np.where(off, np.int8(0), verdict), np.where(off, np.int8(-1), winner)


def first_winner(plan: Plan, looks: Looks, schedule: Schedule) -> tuple[Counts, NDArray[np.int8]]:
    """By run: after how many units somebody who looks so sees a winner first (0: never), and which arm that is."""
    at = slice(schedule.first - 1, None, schedule.step)
    seen = replace(
        looks,
        better=looks.better[..., at],
        harmed=looks.harmed[..., at],
        value=looks.value[..., at],
        counts=looks.counts[..., at],
        open=looks.open[..., at],
    )
    ready = seen.counts.min(axis=0) >= schedule.minimum
    shipped = seen.better.any(axis=0) & ready
    won = shipped | seen.harmed.any(axis=0)
    won &= ~_off(plan, seen.counts, won)
    place = won.argmax(axis=1)
    rows = np.arange(won.shape[0])
    found = won[rows, place]
    arm = np.where(shipped, 1 + _best(plan, seen), 0)[rows, place]
    return (
        np.where(found, schedule.first + place * schedule.step, 0),
        np.where(found, arm, -1).astype(np.int8),
    )


def chunks(cell: Cell, runs: int, units: int, seed: int) -> Iterator[Runs]:
    """`runs` runs of `units` units, as many at once as fit."""
    random = np.random.default_rng(seed)
    at_once = max(1, CHUNK // units)
    for start in range(0, runs, at_once):
        yield draw_runs(cell, random, min(at_once, runs - start), units)


def evidence_at(plan: Plan, runs: Runs, run: int, units: int, *, looks_taken: int = 0) -> Evidence:
    """The evidence for `decide` after the first `units` units of one run."""
    order = runs.arms[run, :units]
    arms, firsts = {}, []
    for k, name in enumerate(plan.arms):
        y = runs.totals[run, :units][order == k]
        x = None if runs.sizes is None else runs.sizes[run, :units][order == k]
        sums = UnitSums.of(y.tolist(), None if x is None else x.tolist())
        sketches = {METRIC: LogSketch.of(y)} if plan.primary.kind is MetricKind.QUANTILE else {}
        requests = int(y.size if x is None else x.sum())
        arms[name] = ArmEvidence(int(y.size), requests, {METRIC: sums}, sketches, sums)
        firsts.append(y)
    paired = {}
    if plan.primary.kind is MetricKind.SHARE and not plan.returning:
        for name, y in zip(plan.arms[1:], firsts[1:], strict=True):
            size = min(y.size, firsts[0].size)
            gap = y[:size] - firsts[0][:size]
            plus, minus = int((gap > 0).sum()), int((gap < 0).sum())
            paired[name] = PairCounts(plus, minus, size - plus - minus)
    return Evidence(arms, paired, looks_taken=looks_taken)


def _check(plan: Plan) -> None:
    primary = plan.primary
    several = len(plan.arms) > 2
    if (
        plan.guardrails
        or primary.margin
        or plan.equivalence
        or plan.minimum_days
        or plan.mode not in (Mode.ALWAYS_VALID, Mode.GROUP_SEQUENTIAL)
        or min(plan.weights) <= 0
        or (several and (primary.kind is MetricKind.QUANTILE or plan.mode is Mode.GROUP_SEQUENTIAL))
    ):
        raise InvalidInputError(
            "This plan cannot be simulated.",
            "Simulations have a primary metric alone: no guardrails, margins, equivalence, days or arms without traffic; "
            "quantiles and planned looks with two arms.",
            "Leave these out.",
        )


def _best(plan: Plan, looks: Looks) -> Counts:
    """Which of the better treatments looks best."""
    sign = 1 if plan.primary.higher_is_better else -1
    best: Counts = np.where(looks.better, sign * looks.value, -np.inf).argmax(axis=0)
    return best


def _off(plan: Plan, counts: Counts, where: Flags) -> Flags:
    """Where the sample ratio is off, of the looks that are asked about."""
    found = np.zeros(where.shape, dtype=np.bool_)
    asked = counts[:, where].T
    if asked.size:
        found[where] = evalues.p_value(srm.log_e_ratio(asked, plan.weights)) <= srm.LEVEL
    return found


def _level(plan: Plan) -> float:
    return float(-np.log(primary_alpha(plan)))


def _means(plan: Plan, runs: Runs, counts: Counts) -> tuple[Flags, Floats]:
    arms = [running_sums(runs, counts, k) for k in range(len(plan.arms))]
    found = [sequences.contrast(arm, arms[0]) for arm in arms[1:]]
    logs = np.stack([sequences.log_e(each) for each in found])
    return _closed(logs, _level(plan)), np.stack([each.value for each in found])


def running_sums(runs: Runs, counts: Counts, k: int) -> UnitSums:
    """Running sums of one arm; fields are arrays (run, look)."""

    def total(values: Floats) -> Floats:
        return np.where(runs.arms == k, values, 0.0).cumsum(axis=1)

    y, n = runs.totals, counts[k].astype(np.float64)
    if runs.sizes is None:
        sum_y = total(y)
        sums = (n, sum_y, total(y * y), n, n, sum_y)
    else:
        x = runs.sizes
        sums = (n, total(y), total(y * y), total(x), total(x * x), total(x * y))
    return UnitSums(*sums)  # type: ignore[arg-type]  # arrays broadcast where numbers do


def _closed(logs: Floats, level: float) -> Flags:
    """Whether each adjusted e-value is above the level. None is where its own is not."""
    over = logs > level
    if logs.shape[0] > 1:
        flagged = over.any(axis=0)
        over[:, flagged] = level < evalues.adjusted_log_e(logs[:, flagged].T).T
    return over


def _paired(plan: Plan, runs: Runs, counts: Counts) -> tuple[Flags, Floats]:
    level = _level(plan)
    tallies = [pair_counts(runs, counts, k) for k in range(1, len(plan.arms))]
    needed = _gap_needed(int(counts.min(axis=0).max()), level)
    over = np.stack([np.abs(up - down) >= needed[up + down] for up, down in tallies])
    if len(tallies) > 1:
        flagged = over.any(axis=0)
        logs = np.stack([pairs.log_e_pairs(up[flagged], down[flagged]) for up, down in tallies])
        over[:, flagged] = level < evalues.adjusted_log_e(logs.T).T
    size = np.maximum(1, np.minimum(counts[1:], counts[0]))
    return over, np.stack([up - down for up, down in tallies]) / size


def pair_counts(runs: Runs, counts: Counts, k: int) -> tuple[Counts, Counts]:
    """Pairs that speak for treatment k and for the control, by run and look."""
    plus, minus = np.zeros_like(counts[0]), np.zeros_like(counts[0])
    for run in range(runs.arms.shape[0]):
        order, y = runs.arms[run], runs.totals[run]
        own, base = y[order == k], y[order == 0]
        size = min(own.size, base.size)
        gap = own[:size] - base[:size]
        whole = np.minimum(counts[k, run], counts[0, run])
        plus[run] = np.concatenate([[0], (gap > 0).cumsum()])[whole]
        minus[run] = np.concatenate([[0], (gap < 0).cumsum()])[whole]
    return plus, minus


def _gap_needed(most: int, level: float) -> Counts:
    """By number of discordant pairs: the least difference of both kinds at which log e is above the level."""
    total = np.arange(most + 1)
    low, high = np.full(most + 1, -1), total // 2  # the most pairs of the rarer kind
    while (low < high).any():
        middle = (low + high + 1) // 2
        enough = pairs.log_e_pairs(total - middle, middle) > level
        low, high = np.where(enough, middle, low), np.where(enough, high, middle - 1)
    return np.where(low >= 0, total - 2 * low, most + 1)


def _planned(plan: Plan, runs: Runs, counts: Counts) -> tuple[Flags, Floats, Flags]:
    """Planned looks, each at the first unit that makes it due."""
    first = plan.primary.kind is MetricKind.SHARE and not plan.returning
    goal = plan.planned_units or 1
    due = np.minimum(plan.looks, counts.min(axis=0) * plan.looks // goal)
    is_open = np.diff(due, axis=1, prepend=0) > 0
    found = planned_contrast(running_sums(runs, counts, 1), running_sums(runs, counts, 0), first=first)
    alpha = primary_alpha(plan)
    critical = np.array([np.inf, *(look_bound(k + 1, plan.looks, alpha) for k in range(plan.looks))])
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where(found.variance > 0, found.value / np.sqrt(found.variance), 0.0)
        over = np.nan_to_num(np.abs(z)) > critical[due]
    return (over & is_open)[None], found.value[None], is_open
