"""One treatment beside the control in one metric: what the evidence says, in the three ways that metrics have.

Each answers the same questions: how strong is the evidence against «no difference», which differences and lifts are not
refused at a given strength, and how many units a verdict is likely to take. All of them hold at any time.
"""

import math
from dataclasses import dataclass
from typing import Protocol

from core.experiments.plan import ArmEvidence, Evidence, MetricKind, MetricPlan, PairCounts, Plan
from core.stats import confidence_sequences as sequences
from core.stats import pairs
from core.stats.moments import UnitSums
from core.stats.quantile_sequences import QuantileContrast, quantile_contrast
from core.stats.sketches import LogSketch

Ends = tuple[float, float]


class Contrast(Protocol):
    """`value` and `control_value` of the arms, `difference` as estimated; not a number where nothing is known."""

    @property
    def value(self) -> float: ...
    @property
    def control_value(self) -> float: ...
    @property
    def difference(self) -> float: ...
    @property
    def units(self) -> int: ...
    @property
    def method(self) -> str: ...
    @property
    def log_e(self) -> float:
        """Against «no difference», in both directions."""

    def interval(self, log_threshold: float) -> Ends:
        """Differences that are not refused."""

    def relative(self, log_threshold: float) -> Ends | None:
        """Lifts that are not refused; None where the control may be 0."""

    def units_for(self, log_threshold: float, margin: float) -> float:
        """Units per arm at which a verdict is to be expected; infinite where none is."""


@dataclass(frozen=True, slots=True)
class PairedShares:
    """Shares of first outcomes, pair by pair. `both`: the least and the most pairs where both can have succeeded; None where
    pairs and sums do not fit each other."""

    counts: PairCounts
    both: tuple[int, int] | None
    arm: UnitSums
    control: UnitSums
    method: str = "discordant pairs, valid at any time"

    @property
    def value(self) -> float:
        return self.arm.ratio

    @property
    def control_value(self) -> float:
        return self.control.ratio

    @property
    def units(self) -> int:
        return self.counts.plus + self.counts.minus + self.counts.ties

    @property
    def difference(self) -> float:
        return (self.counts.plus - self.counts.minus) / self.units if self.units else math.nan

    @property
    def log_e(self) -> float:
        return float(pairs.log_e_pairs(self.counts.plus, self.counts.minus))

    def interval(self, log_threshold: float) -> Ends:
        counts = self.counts
        return pairs.difference_interval(counts.plus, counts.minus, counts.ties, log_threshold)

    def relative(self, log_threshold: float) -> Ends | None:
        if self.both is None:
            return None
        # The capital rises or falls with the number of such pairs, so that its extremes are at the ends.
        found = [
            pairs.relative_interval(self.counts.plus, self.counts.minus, both, log_threshold)
            for both in sorted(set(self.both))
        ]
        known = [each for each in found if each is not None]
        if len(known) < len(found):
            return None
        return min(low for low, _ in known), max(high for _, high in known)

    def units_for(self, log_threshold: float, margin: float) -> float:
        discordant = self.counts.plus + self.counts.minus
        if not discordant:
            return math.inf
        rate = discordant / self.units
        spread = rate - self.difference**2
        effect = (abs(self.difference) - margin) / math.sqrt(spread) if spread > 0 else math.inf
        # The prior counts in discordant pairs: 2a + 1 of them are worth as much as it.
        return sequences.pairs_needed(min(effect, 1.0), log_threshold, scale=(2 * pairs.PRIOR + 1) / rate)


@dataclass(frozen=True, slots=True)
class Means:
    """Means, ratios and shares of all requests, from sums over units. `bounded`: a share, whose difference is within ±1."""

    found: sequences.MeanContrast
    bounded: bool
    units: int
    method: str = "asymptotic confidence sequence over units, valid at any time"

    @property
    def value(self) -> float:
        return float(self.found.mean)

    @property
    def control_value(self) -> float:
        return float(self.found.control_mean)

    @property
    def difference(self) -> float:
        return float(self.found.value)

    @property
    def log_e(self) -> float:
        return float(sequences.log_e(self.found))

    def interval(self, log_threshold: float) -> Ends:
        half = float(sequences.half_width(self.found, log_threshold))
        edge = 1.0 if self.bounded else math.inf
        if not math.isfinite(half):
            return -edge, edge
        return max(-edge, self.difference - half), min(edge, self.difference + half)

    def relative(self, log_threshold: float) -> Ends | None:
        low, high = (float(end) for end in sequences.relative_bounds(self.found, log_threshold))
        return None if math.isnan(low) or math.isnan(high) else (low, high)

    def units_for(self, log_threshold: float, margin: float) -> float:
        spread = float(self.found.variance * self.found.pairs)
        if not spread > 0:
            return math.inf
        return sequences.pairs_needed((abs(self.difference) - margin) / math.sqrt(spread), log_threshold)


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A quantile of values per request."""

    found: QuantileContrast
    pairs: float
    method: str = "beta-binomial quantile sequences, valid at any time"

    @property
    def value(self) -> float:
        return self.found.value

    @property
    def control_value(self) -> float:
        return self.found.control_value

    @property
    def units(self) -> int:
        return self.found.units

    @property
    def difference(self) -> float:
        return self.value - self.control_value

    @property
    def log_e(self) -> float:
        return self.found.log_e

    def interval(self, log_threshold: float) -> Ends:
        return self.found.difference(log_threshold)

    def relative(self, log_threshold: float) -> Ends | None:
        return self.found.relative(log_threshold)

    def units_for(self, log_threshold: float, margin: float) -> float:
        """Evidence grows about as the units do, against the start of both arms' mixtures."""
        start = math.log1p(self.pairs / sequences.SCALE)
        if margin > 0 or not self.log_e + start > 0.5:
            return math.inf
        return self.pairs * max(1.0, (log_threshold + start) / (self.log_e + start))


def contrast_of(plan: Plan, evidence: Evidence, metric: MetricPlan, arm: str, *, primary: bool) -> Contrast:
    """The treatment `arm` against the control. Pairs of first outcomes are of the primary metric alone."""
    control = plan.arms[0]
    treated = evidence.arms.get(arm, ArmEvidence())
    base = evidence.arms.get(control, ArmEvidence())
    sums, base_sums = (each.sums.get(metric.name, UnitSums()) for each in (treated, base))
    if metric.kind is MetricKind.QUANTILE:
        return _quantiles(metric, treated, base, sums, base_sums, independent=not evidence.shadow)
    if metric.kind is MetricKind.SHARE and primary and not plan.returning:
        counts = evidence.pairs.get(arm, PairCounts())
        return PairedShares(counts, _both(counts, treated.first, base.first), treated.first, base.first)
    bounded = metric.kind is MetricKind.SHARE
    return Means(sequences.contrast(sums, base_sums), bounded, int(sums.n + base_sums.n))


def _quantiles(
    metric: MetricPlan,
    treated: ArmEvidence,
    base: ArmEvidence,
    sums: UnitSums,
    base_sums: UnitSums,
    *,
    independent: bool,
) -> Quantiles:
    sketch, base_sketch = (each.sketches.get(metric.name, LogSketch()) for each in (treated, base))
    effective = (
        sums.effective_units if sums.n else float(sketch.count),
        base_sums.effective_units if base_sums.n else float(base_sketch.count),
    )
    level = 0.5 if metric.quantile is None else metric.quantile
    total = sum(effective)
    harmonic = 2 * effective[0] * effective[1] / total if total else 0.0
    found = quantile_contrast(sketch, base_sketch, level, effective, independent=independent)
    return Quantiles(found, harmonic)


def _both(counts: PairCounts, treated: UnitSums, base: UnitSums) -> tuple[int, int] | None:
    """Pairs where both can have succeeded, from what did in each arm: all units of the smaller arm are in pairs, so that
    it is one number, unless units were taken back whose mates stayed."""
    total = counts.plus + counts.minus + counts.ties
    low, high = 0, counts.ties
    for sums, alone in ((base, counts.minus), (treated, counts.plus)):
        spare = round(sums.n) - total
        if spare < 0:
            return None
        low, high = max(low, round(sums.y) - spare - alone), min(high, round(sums.y) - alone)
    return (low, high) if low <= high else None
