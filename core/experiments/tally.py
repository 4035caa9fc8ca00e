"""The sums of an experiment, kept up to date unit by unit, and the evidence that they are.

Everything here adds up and can be taken back: a unit that turns out to have been in two arms leaves the sums as if it
had never come. Counts are whole numbers of any size and sums are doubles, exact for counts up to 2⁵³: a thousand
million impressions take as much room here as ten.
"""

import base64
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from core.experiments.plan import ArmEvidence, Evidence, MetricKind, PairCounts, Plan
from core.experiments.records import ENDED, Experiment, Impression
from core.experiments.values import age_of, values_of
from core.stats.moments import UnitSums
from core.stats.sketches import LogSketch

Total = tuple[float, float]
NOTHING: Total = (0.0, 0.0)
MOST_VALUES = 50  # of one field, before the rest count as «other»
OTHER = "other"
MOST_DAYS_KEPT = 400


@dataclass(slots=True)
class UnitState:
    """One unit as it is folded. `place`: its number among its arm's units with a first outcome of the primary metric."""

    unit: str
    variant: str
    exposed_at: datetime
    place: int | None = None
    first: int | None = None
    crossed: bool = False
    independent: bool = False
    propensity: float = 1.0
    totals: dict[str, Total] = field(default_factory=dict)
    ages: dict[str, Total] = field(default_factory=dict)
    segment: dict[str, str] = field(default_factory=dict)
    is_new: bool = True


@dataclass(slots=True)
class ArmTally:
    """Sums of one arm."""

    exposed: int = 0
    units: int = 0
    requests: int = 0
    places: int = 0
    sums: dict[str, UnitSums] = field(default_factory=dict)
    sketches: dict[str, LogSketch] = field(default_factory=dict)
    first: UnitSums = field(default_factory=UnitSums)


@dataclass(slots=True)
class Tally:
    """Sums of all arms. `pairs` are plus, minus and ties by treatment."""

    arms: dict[str, ArmTally]
    pairs: dict[str, list[int]]
    segments: dict[str, dict[str, dict[str, UnitSums]]] = field(default_factory=dict)
    ages: dict[str, dict[str, UnitSums]] = field(default_factory=dict)
    crossed: int = 0
    repeats: int = 0
    left_out: int = 0
    independent: int = 0
    looks: int = 0
    first_at: datetime | None = None
    days: set[date] = field(default_factory=set)

    @classmethod
    def of(cls, plan: Plan) -> "Tally":
        """Nothing yet."""
        return cls({arm: ArmTally() for arm in plan.arms}, {arm: [0, 0, 0] for arm in plan.arms[1:]})

    def note_moment(self, at: datetime) -> None:
        """A unit came at this moment."""
        self.first_at = at if self.first_at is None else min(at, self.first_at)
        if len(self.days) < MOST_DAYS_KEPT:
            self.days.add(at.astimezone(UTC).date())

    def days_since(self, now: datetime) -> float:
        """Days since the first unit, and at most as many as there were days (UTC) on which units came: a clock that
        jumps a year ahead makes an experiment one day older."""
        if self.first_at is None:
            return 0.0
        return min(max(0.0, (now - self.first_at) / timedelta(days=1)), float(len(self.days)))

    def expose(self, unit: UnitState) -> None:
        """Count a unit that was given its arm."""
        self.arms[unit.variant].exposed += 1
        self.independent += unit.independent
        self.note_moment(unit.exposed_at)

    def add(
        self, plan: Plan, unit: UnitState, impression: Impression, counted: Collection[str] = ()
    ) -> dict[str, float]:
        """Count what came of one request of a unit, but for the values that were `counted` before. Answers its values by
        metric, as they were counted now. A request of which nothing is said yet only says that the unit was there."""
        arm, told = self.arms[unit.variant], values_of(plan, impression)
        values = {name: value for name, value in told.items() if name not in counted}
        self.note_moment(impression.at)
        if not values:
            return values
        arm.units += not unit.totals
        arm.requests += len(values) == len(told)  # else the request is one that was counted
        for name, value in values.items():
            before = unit.totals.get(name)
            after = _plus(before or NOTHING, value)
            arm.sums[name] = _moved(arm.sums.get(name, UnitSums()), before, after)
            unit.totals[name] = after
        primary = plan.primary.name
        if primary in values:
            self._add_primary(plan, unit, values[primary], age_of(unit.exposed_at, impression.at))
        return values

    def _add_primary(self, plan: Plan, unit: UnitState, value: float, age: str) -> None:
        arm = self.arms[unit.variant]
        after = unit.totals[plan.primary.name]
        before: Total | None = (after[0] - value, after[1] - 1)
        if after[1] == 1:
            before = None
            if plan.primary.kind is MetricKind.SHARE:
                unit.first, unit.place = int(value), arm.places
                arm.places += 1
                arm.first = _moved(arm.first, None, (value, 1.0))
        else:
            self.repeats += 1
        for name, kept in unit.segment.items():
            cell = self._cell(name, kept)
            cell[unit.variant] = _moved(cell.get(unit.variant, UnitSums()), before, after)
        old = unit.ages.get(age)
        unit.ages[age] = _plus(old or NOTHING, value)
        row = self.ages.setdefault(age, {})
        row[unit.variant] = _moved(row.get(unit.variant, UnitSums()), old, unit.ages[age])

    def remove(self, plan: Plan, unit: UnitState) -> None:
        """Take everything of a unit back: it was seen in two arms. Its pairs are for who knows its mates."""
        arm = self.arms[unit.variant]
        self.crossed += 1
        self.independent -= unit.independent
        arm.exposed -= 1
        if unit.totals:
            arm.units -= 1
        counts = [int(x) for _, x in unit.totals.values()]
        arm.requests -= max(counts, default=0)
        for name, total in unit.totals.items():
            arm.sums[name] = _moved(arm.sums[name], total, None)
        if unit.first is not None:
            arm.first = _moved(arm.first, (float(unit.first), 1.0), None)
        primary = unit.totals.get(plan.primary.name)
        if primary is not None:
            self.repeats -= int(primary[1]) - 1
            for name, kept in unit.segment.items():
                cell = self._cell(name, kept)
                cell[unit.variant] = _moved(cell.get(unit.variant, UnitSums()), primary, None)
        for age, total in unit.ages.items():
            row = self.ages[age]
            row[unit.variant] = _moved(row[unit.variant], total, None)
        unit.crossed = True

    def sketch(self, values: Mapping[tuple[str, str], list[float]]) -> None:
        """Count values of requests, by arm and metric."""
        for (arm, name), given in values.items():
            found = self.arms[arm].sketches
            fresh = LogSketch.of(given)
            found[name] = found[name] + fresh if name in found else fresh

    def unsketch(self, arm: str, name: str, given: list[float]) -> None:
        """Take values back that were counted. The least and the greatest stay: they only bound what is told."""
        kept, gone = self.arms[arm].sketches[name], LogSketch.of(given)
        counts = kept.counts.copy()
        counts[np.searchsorted(kept.keys, gone.keys)] -= gone.counts
        left = counts > 0
        self.arms[arm].sketches[name] = replace(
            kept,
            keys=kept.keys[left],
            counts=counts[left],
            zeros=kept.zeros - gone.zeros,
            count=kept.count - gone.count,
            units=kept.units - gone.units,
        )

    def pair(self, treatment: str, theirs: int, controls: int, amount: int = 1) -> None:
        """Count a pair by both outcomes; −1 takes one back."""
        self.pairs[treatment][2 if theirs == controls else 0 if theirs > controls else 1] += amount

    def evidence(self, experiment: Experiment, now: datetime) -> Evidence:
        """What the decision is made from."""
        returning = experiment.plan.returning
        return Evidence(
            arms={
                name: ArmEvidence(arm.units, arm.requests, dict(arm.sums), dict(arm.sketches), arm.first)
                for name, arm in self.arms.items()
            },
            pairs={arm: PairCounts(*counts) for arm, counts in self.pairs.items()},
            days=self.days_since(now),
            ended=experiment.state in ENDED or experiment.is_over(now),
            looks_taken=self.looks,
            crossed_units=self.crossed,
            repeats_unused=0 if returning else self.repeats,
            shadow=experiment.shadow,
        )

    def _cell(self, name: str, value: str) -> dict[str, UnitSums]:
        known = self.segments.setdefault(name, {})
        if value not in known and len(known) >= MOST_VALUES:
            value = OTHER
        return known.setdefault(value, {})

    def document(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "arms": {name: _arm_document(arm) for name, arm in self.arms.items()},
            "pairs": self.pairs,
            "segments": {
                name: {value: _sums(cell) for value, cell in cells.items()}
                for name, cells in self.segments.items()
            },
            "ages": {age: _sums(row) for age, row in self.ages.items()},
            "crossed": self.crossed,
            "repeats": self.repeats,
            "left_out": self.left_out,
            "independent": self.independent,
            "looks": self.looks,
            "first_at": None if self.first_at is None else self.first_at.isoformat(),
            "days": [day.isoformat() for day in sorted(self.days)],
        }

    @classmethod
    def from_document(cls, plan: Plan, document: Mapping[str, Any]) -> "Tally":
        """Out of plain JSON."""
        tally = cls.of(plan)
        for name, arm in document["arms"].items():
            tally.arms[name] = _arm_from(arm)
        tally.pairs |= {arm: [int(count) for count in counts] for arm, counts in document["pairs"].items()}
        tally.segments = {
            name: {value: _unsums(cell) for value, cell in cells.items()}
            for name, cells in document["segments"].items()
        }
        tally.ages = {age: _unsums(row) for age, row in document["ages"].items()}
        for count in ("crossed", "repeats", "left_out", "independent", "looks"):
            setattr(tally, count, int(document[count]))
        first = document["first_at"]
        tally.first_at = None if first is None else datetime.fromisoformat(first)
        tally.days = set(map(date.fromisoformat, document["days"]))
        return tally


def _plus(total: Total, value: float) -> Total:
    return total[0] + value, total[1] + 1


def _moved(sums: UnitSums, before: Total | None, after: Total | None) -> UnitSums:
    """With a unit that came (`before` None), changed, or left (`after` None): `replaced`, and the unit itself."""
    (y0, x0), (y1, x1) = before or NOTHING, after or NOTHING
    return UnitSums(
        sums.n + (before is None) - (after is None),
        sums.y + y1 - y0,
        sums.yy + y1 * y1 - y0 * y0,
        sums.x + x1 - x0,
        sums.xx + x1 * x1 - x0 * x0,
        sums.xy + x1 * y1 - x0 * y0,
    )


def _sums(cell: Mapping[str, UnitSums]) -> dict[str, list[float]]:
    return {arm: _numbers(sums) for arm, sums in cell.items()}


def _unsums(cell: Mapping[str, Iterable[float]]) -> dict[str, UnitSums]:
    return {arm: UnitSums(*map(float, numbers)) for arm, numbers in cell.items()}


def _numbers(sums: UnitSums) -> list[float]:
    return [sums.n, sums.y, sums.yy, sums.x, sums.xx, sums.xy]


def _arm_document(arm: ArmTally) -> dict[str, Any]:
    return {
        "exposed": arm.exposed,
        "units": arm.units,
        "requests": arm.requests,
        "places": arm.places,
        "sums": _sums(arm.sums),
        "first": _numbers(arm.first),
        "sketches": {
            name: base64.b64encode(sketch.to_bytes()).decode() for name, sketch in arm.sketches.items()
        },
    }


def _arm_from(document: Mapping[str, Any]) -> ArmTally:
    return ArmTally(
        int(document["exposed"]),
        int(document["units"]),
        int(document["requests"]),
        int(document["places"]),
        _unsums(document["sums"]),
        {name: LogSketch.from_bytes(base64.b64decode(text)) for name, text in document["sketches"].items()},
        UnitSums(*map(float, document["first"])),
    )
