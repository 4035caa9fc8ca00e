"""Recorded impressions become sums: a portion at a time, each exactly once, by whichever process comes to it.

Whoever folds holds the row of the experiment's sums until the transaction ends. What is to be folded is told by a flag on
each impression and not by a place in a row, so that one whose transaction ended late is not passed over. Portions are
taken in the order in which impressions were made; it depends on nothing that they say.
"""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy.orm import Session

from core.experiments.plan import MetricKind, Plan
from core.experiments.records import Experiment, Impression
from core.experiments.store import impressions as impressions_store
from core.experiments.store import units as units_store
from core.experiments.tally import Tally, UnitState
from core.experiments.values import sketched

PORTION = 2000
SHADOW_SEPARATOR = ":"
Values = list[tuple[str, str, str, float]]  # unit, arm, metric, value
Pair = tuple[str, str]  # treatment, and what the pair is known by


def shadow_key(unit: str, arm: int) -> str:
    """The unit of one arm's answer to a request that all arms answer."""
    return f"{unit}{SHADOW_SEPARATOR}{arm}"


def fold(s: Session, experiment: Experiment, *, now: datetime, portions: int = 1) -> tuple[Tally, int]:
    """Count up to `portions` × PORTION impressions. Answers the sums and how many impressions were counted now."""
    tenant_id, experiment_id = experiment.tenant_id, experiment.id
    tally = units_store.lock_tally(s, tenant_id, experiment_id, experiment.plan, now)
    impressions_store.release(s, tenant_id, experiment_id, now)
    counted = 0
    for _ in range(portions):
        found = impressions_store.unfolded(s, tenant_id, experiment_id, PORTION)
        if not found:
            break
        _Portion(s, experiment, tally).count([(kept.impression, kept.counted) for kept in found])
        impressions_store.mark_folded(s, tenant_id, experiment_id, [kept.row_id for kept in found])
        counted += len(found)
        if len(found) < PORTION:
            break
    if counted:
        units_store.put_tally(s, tenant_id, experiment_id, tally, now)
    return tally, counted


class _Portion:
    """One portion on its way into the sums."""

    def __init__(self, s: Session, experiment: Experiment, tally: Tally) -> None:
        self._s, self._experiment, self._tally = s, experiment, tally
        self._plan: Plan = experiment.plan
        self._of = (experiment.tenant_id, experiment.id)
        self._units: dict[str, UnitState] = {}
        self._before: dict[str, int | None] = {}  # units that had a first outcome before, and it
        self._placed: list[UnitState] = []
        self._crossing: list[UnitState] = []
        self._values: Values = []

    def count(self, impressions: list[tuple[Impression, tuple[str, ...]]]) -> None:
        """Into sums, units, pairs and sketches; each with the names of its values that were counted before."""
        keys = list(dict.fromkeys(impression.unit for impression, _ in impressions))
        self._units = units_store.get_units(self._s, *self._of, keys)
        self._before = {key: unit.first for key, unit in self._units.items()}
        for impression, counted in impressions:
            self._count_one(impression, counted)
        self._unsketch_crossed()
        self._pair()
        kept: dict[tuple[str, str], list[float]] = {}
        for key, arm, name, value in self._values:
            if not self._units[key].crossed:
                kept.setdefault((arm, name), []).append(value)
        self._tally.sketch(kept)
        units_store.put_units(self._s, *self._of, self._units.values())

    def _count_one(self, impression: Impression, counted: tuple[str, ...]) -> None:
        unit = self._units.get(impression.unit)
        if unit is None:
            unit = self._units[impression.unit] = UnitState(
                unit=impression.unit,
                variant=impression.variant,
                exposed_at=impression.at,
                independent=impression.independent,
                propensity=impression.propensity,
                segment=dict(impression.segment),
            )
            self._tally.expose(unit)
        if not unit.segment and not unit.totals:  # it was exposed without a context
            unit.segment = dict(impression.segment)
        if unit.crossed:
            self._tally.left_out += not counted
        elif unit.variant != impression.variant:
            self._crossing.append(unit)
            self._tally.left_out += 1
            self._tally.remove(self._plan, unit)
        elif not impression.exposure:
            placed = unit.first is not None
            self._tally.add(self._plan, unit, impression, counted)
            if unit.first is not None and not placed:
                self._placed.append(unit)
            values = sketched(self._plan, impression).items()
            self._values += [
                (unit.unit, unit.variant, name, value) for name, value in values if name not in counted
            ]

    def _unsketch_crossed(self) -> None:
        for unit in self._crossing:
            earlier: dict[str, list[float]] = {}
            for kept in impressions_store.counted_of_unit(self._s, *self._of, unit.unit, unit.variant):
                if not kept.impression.exposure:
                    for name, value in sketched(self._plan, kept.impression).items():
                        if name in kept.counted:
                            earlier.setdefault(name, []).append(value)
            for name, values in earlier.items():
                self._tally.unsketch(unit.variant, name, values)

    def _pair(self) -> None:
        if self._plan.primary.kind is not MetricKind.SHARE:
            return
        gone: dict[Pair, tuple[int, int]] = {}
        for unit in self._crossing:
            if self._before.get(unit.unit) is not None:
                for treatment, known_by, theirs, controls in self._mates([unit], earlier=True):
                    gone[treatment, known_by] = theirs, controls
        for (treatment, _), (theirs, controls) in gone.items():
            self._tally.pair(treatment, theirs, controls, -1)
        come: dict[Pair, tuple[int, int]] = {}
        placed = [unit for unit in self._placed if not unit.crossed]
        for treatment, known_by, theirs, controls in self._mates(placed, earlier=False):
            come[treatment, known_by] = theirs, controls
        for (treatment, _), (theirs, controls) in come.items():
            self._tally.pair(treatment, theirs, controls)

    def _mates(self, units: list[UnitState], *, earlier: bool) -> Iterable[tuple[str, str, int, int]]:
        """Pairs that these units are in: the treatment, what the pair is known by, both outcomes.

        `earlier`: pairs as they were before this portion; else those that are there after it."""
        control = self._plan.arms[0]
        for arm in self._plan.arms:
            mine = [unit for unit in units if unit.variant == arm]
            if not mine:
                continue
            for other in self._plan.arms[1:] if arm == control else (control,):
                found = self._outcomes(other, mine, earlier=earlier)
                for unit in mine:
                    if (known_by := self._known_by(unit)) in found and unit.first is not None:
                        pair = (unit.first, found[known_by])
                        theirs, controls = pair if other == control else pair[::-1]
                        yield (arm if other == control else other), known_by, theirs, controls

    def _known_by(self, unit: UnitState) -> str:
        return unit.unit.split(SHADOW_SEPARATOR)[0] if self._experiment.shadow else str(unit.place)

    def _outcomes(self, arm: str, units: list[UnitState], *, earlier: bool) -> dict[str, int]:
        """First outcomes of the units of `arm` that stand beside these, by what the pairs are known by."""
        if self._experiment.shadow:
            number = self._plan.arms.index(arm)
            keys = [shadow_key(self._known_by(unit), number) for unit in units]
            stored = {
                key: unit.first for key, unit in units_store.get_units(self._s, *self._of, keys).items()
            }
            stored |= {key: self._units[key].first for key in keys if key in self._units}
            return {
                key.split(SHADOW_SEPARATOR)[0]: first for key, first in stored.items() if first is not None
            }
        places = sorted({unit.place for unit in units if unit.place is not None})
        if not places:
            return {}
        known = units_store.firsts(self._s, *self._of, arm, places)
        found = {
            str(place): first for place, (key, first) in known.items() if earlier or not self._is_crossed(key)
        }
        if not earlier:
            found |= {
                str(unit.place): unit.first
                for unit in self._placed
                if unit.variant == arm and not unit.crossed and unit.first is not None
            }
        return found

    def _is_crossed(self, key: str) -> bool:
        unit = self._units.get(key)
        return unit is not None and unit.crossed
