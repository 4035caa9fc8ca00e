"""The worlds in which the decision is tried: what units do, in which arms, and what the truth is.

Seeds and constants of the product were chosen on other distributions than these (see docs/experiment-statistics.md).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.experiments.plan import MetricKind, MetricPlan, Mode, Plan

Floats = NDArray[np.float64]
Drawn = tuple[Floats, Floats | None]
Draw = Callable[[np.random.Generator, NDArray[np.int8]], Drawn]
METRIC = "outcome"


@dataclass(frozen=True, slots=True)
class Cell:
    """`draw` gives, for the arms of units (…,), each unit's total and its size (None: 1 each). `lift` is the true relative
    lift of the first treatment. `balanced`: arms take turns, so that planned looks find them as large as each other."""

    name: str
    plan: Plan
    draw: Draw
    lift: float = 0.0
    balanced: bool = False

    @property
    def is_null(self) -> bool:
        return self.lift == 0.0


def share_metric() -> MetricPlan:
    return MetricPlan(METRIC, MetricKind.SHARE)


def mean_metric() -> MetricPlan:
    return MetricPlan(METRIC, MetricKind.MEAN)


def quantile_metric(level: float) -> MetricPlan:
    return MetricPlan(METRIC, MetricKind.QUANTILE, higher_is_better=False, quantile=level)


def plan_for(metric: MetricPlan, weights: tuple[float, ...] = (0.5, 0.5), *, returning: bool = False) -> Plan:
    return Plan(tuple("abcdefghij"[: len(weights)]), weights, metric, minimum_units=1, returning=returning)


def shares(*chances: float) -> Draw:
    """Each unit succeeds or not, by its arm's chance."""
    table = np.array(chances)

    def draw(random: np.random.Generator, arms: NDArray[np.int8]) -> Drawn:
        return (random.random(arms.shape) < table[np.minimum(arms, len(table) - 1)]).astype(np.float64), None

    return draw


def lognormal(mean: float, sd: float, *, present: float = 1.0, lift: float = 0.0) -> Draw:
    """Each unit has exp(N(mean, sd)) with the chance `present` and else 0; treatments (1 + lift) times as much."""

    def draw(random: np.random.Generator, arms: NDArray[np.int8]) -> Drawn:
        values = np.exp(mean + sd * random.standard_normal(arms.shape)) * np.where(arms > 0, 1 + lift, 1.0)
        if present < 1:
            values = np.where(random.random(arms.shape) < present, values, 0.0)
        return values, None

    return draw


def ratio(random: np.random.Generator, arms: NDArray[np.int8]) -> Drawn:
    """Revenue per click: 1 + Poisson(2) clicks a unit, each worth about the unit's own lognormal."""
    sizes = (1 + random.poisson(2.0, arms.shape)).astype(np.float64)
    return sizes * np.exp(1 + random.standard_normal(arms.shape)), sizes


def clusters(chance: float, correlation: float) -> Draw:
    """Units of 1 + Poisson(9) requests whose successes hang together: beta-binomial with this intra-class correlation."""
    strength = (1 - correlation) / correlation

    def draw(random: np.random.Generator, arms: NDArray[np.int8]) -> Drawn:
        own = random.beta(chance * strength, (1 - chance) * strength, arms.shape)
        sizes = 1 + random.poisson(9.0, arms.shape)
        return random.binomial(sizes, own).astype(np.float64), sizes.astype(np.float64)

    return draw


def null_cells() -> tuple[Cell, ...]:
    """No arm differs. The first twelve are the benchmark's; the rest make it harder."""
    share, mean = share_metric(), mean_metric()
    third = (1 / 3, 1 / 3, 1 / 3)
    rare = lognormal(3, 1.5, present=0.03)
    return (
        *(Cell(f"share {p:g}", plan_for(share), shares(p)) for p in (0.005, 0.02, 0.1, 0.5, 0.9)),
        Cell("mean of lognormal(5, .6)", plan_for(mean), lognormal(5, 0.6)),
        Cell("p95 of lognormal(5, .6)", plan_for(quantile_metric(0.95)), lognormal(5, 0.6)),
        Cell("mean of 3 % lognormal(3, 1.5), else 0", plan_for(mean), rare),
        Cell("ratio, revenue per click", plan_for(mean), ratio),
        Cell("clusters, ICC .1", plan_for(share, returning=True), clusters(0.3, 0.1)),
        Cell("3 arms, share .1", plan_for(share, third), shares(0.1)),
        Cell("90/10, share .1", plan_for(share, (0.9, 0.1)), shares(0.1)),
        Cell("90/10, mean of 3 % lognormal(3, 1.5)", plan_for(mean, (0.9, 0.1)), rare),
        Cell(
            "90/10, clusters of share .02", plan_for(share, (0.9, 0.1), returning=True), clusters(0.02, 0.1)
        ),
        Cell("3 arms, mean of lognormal(5, .6)", plan_for(mean, third), lognormal(5, 0.6)),
    )


def limit_cells() -> tuple[Cell, ...]:
    """Arms of one mean and of different shapes: no difference in what is judged, and where the asymptotic sequence ends."""
    mean = mean_metric()
    return (
        Cell("exponential against a constant", plan_for(mean), apart(exponential, constant)),
        Cell("lognormal σ = 1 against a constant", plan_for(mean), apart(steep(1.0), constant)),
        Cell("lognormal σ = 1.5 against σ = .5", plan_for(mean), apart(steep(1.5), steep(0.5))),
        Cell("lognormal σ = 1.5 against σ = 1.2", plan_for(mean), apart(steep(1.5), steep(1.2))),
    )


Shape = Callable[[np.random.Generator, tuple[int, ...]], Floats]


def constant(_: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """1 each."""
    return np.ones(shape)


def exponential(random: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Of mean 1."""
    return random.standard_exponential(shape)


def steep(sd: float) -> Shape:
    """Lognormal of mean 1."""
    return lambda random, shape: np.exp(sd * random.standard_normal(shape) - sd * sd / 2)


def apart(treatment: Shape, control: Shape) -> Draw:
    """Each arm has its own shape."""

    def draw(random: np.random.Generator, arms: NDArray[np.int8]) -> Drawn:
        return np.where(arms > 0, treatment(random, arms.shape), control(random, arms.shape)), None

    return draw


def power_cells(units: int) -> tuple[Cell, ...]:
    """One arm is better, by what the lift says; `units` per arm are planned for the group-sequential ones."""
    share = share_metric()
    planned = Plan(
        ("a", "b"),
        (0.5, 0.5),
        share,
        mode=Mode.GROUP_SEQUENTIAL,
        minimum_units=1,
        planned_units=units,
        looks=20,
    )
    return (
        Cell("always valid, .90 → .92", plan_for(share), shares(0.9, 0.92), 0.92 / 0.9 - 1),
        Cell("always valid, .10 → .12", plan_for(share), shares(0.1, 0.12), 0.2),
        Cell("group sequential, .90 → .92", planned, shares(0.9, 0.92), 0.92 / 0.9 - 1, balanced=True),
        Cell("group sequential, .10 → .12", planned, shares(0.1, 0.12), 0.2, balanced=True),
        Cell(
            "always valid, mean of lognormal(5, .6) + 5 %",
            plan_for(mean_metric()),
            lognormal(5, 0.6, lift=0.05),
            0.05,
        ),
        Cell(
            "always valid, clusters of .30 → .32",
            plan_for(share, returning=True),
            _clusters_apart(0.30, 0.32),
            0.32 / 0.30 - 1,
        ),
    )


def _clusters_apart(control: float, treatment: float) -> Draw:
    low, high = clusters(control, 0.1), clusters(treatment, 0.1)

    def draw(random: np.random.Generator, arms: NDArray[np.int8]) -> Drawn:
        (y, x), (other_y, other_x) = low(random, arms), high(random, arms)
        if x is None or other_x is None:
            raise ValueError("clusters have sizes")
        return np.where(arms > 0, other_y, y), np.where(arms > 0, other_x, x)

    return draw


def draw_runs(cell: Cell, random: np.random.Generator, runs: int, units: int) -> "Runs":
    """So many runs of so many units each, all arms together."""
    count = len(cell.plan.arms)
    if cell.balanced:
        arms = np.broadcast_to((np.arange(units) % count).astype(np.int8), (runs, units))
    else:
        edges = np.cumsum(cell.plan.weights)[:-1]
        arms = np.searchsorted(edges, random.random((runs, units)), side="right").astype(np.int8)
    totals, sizes = cell.draw(random, arms)
    return Runs(arms, totals, sizes)


@dataclass(frozen=True, slots=True)
class Runs:
    """Units in the order in which they came, one run per row: the arm of each, its total and its size (None: 1)."""

    arms: NDArray[np.int8]
    totals: Floats
    sizes: Floats | None
