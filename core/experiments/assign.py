"""Which arm a unit gets: pure, from its hash, so that every process says the same and nothing has to be asked.

The number of a unit is blake2b (8 bytes) of salt, namespace and unit, read as a whole number of 64 bits. Each arm owns
a stretch of these numbers, as long as its weight, and of each stretch the first `share` takes part: a share that is
raised lets new units in and moves none. A second number, of the namespace alone, says which experiment of a namespace
a unit may be in: its lowest part is held out of all of them.

A bandit's arms are drawn with the high half of the number by the shares that it gives now, and the low half says who
takes part; units that came before keep what they have (`sticky`).
"""

import hashlib
from bisect import bisect_right
from collections.abc import Mapping
from datetime import datetime
from itertools import accumulate

from core.experiments.records import Assignment, Experiment, Outside, Strategy, UnitKind

WHOLE = 1 << 64
HALF = 1 << 32
SEPARATOR = b"\x1f"


def unit_of(user_id: str | None, session_id: str | None, request_id: str, kind: UnitKind) -> tuple[str, bool]:
    """The unit that a request belongs to, and whether it is one of its own: by `kind` its user, else its session, else
    the request itself. A user and a session of the same name are two units."""
    if kind is UnitKind.USER and user_id:
        return f"user:{user_id}", False
    if kind is not UnitKind.REQUEST and session_id:
        return f"session:{session_id}", False
    return f"request:{request_id}", True


def unit_key(salt: str, unit: str) -> str:
    """How a unit is written down: 32 hexadecimal digits, different in each experiment, so that no name is stored."""
    return hashlib.blake2b(
        salt.encode() + SEPARATOR + unit.encode("utf-8", "replace"), digest_size=16
    ).hexdigest()


def number_of(prefix: bytes, unit: str) -> int:
    """The number of a unit, from 0 up to 2⁶⁴ − 1."""
    digest = hashlib.blake2b(prefix + unit.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def prefix_of(*parts: str) -> bytes:
    """What is hashed before the unit."""
    return b"".join(part.encode("utf-8", "replace") + SEPARATOR for part in parts)


def thresholds(weights: list[float]) -> list[int]:
    """Where each arm's stretch of numbers ends. An arm of weight 0 owns none; the last with any ends at 2⁶⁴."""
    sums = list(accumulate(weights))
    total = sums[-1]
    return [WHOLE if each >= total * (1 - 1e-15) else round(each / total * WHOLE) for each in sums]


class Assigner:
    """One experiment, made ready to assign as it stands at `at`. Holds no locks; `sticky` maps units to arms that they
    keep, and may be filled while it is read."""

    __slots__ = (
        "_apart",
        "_bandit",
        "_ends",
        "_given",
        "_held",
        "_namespace",
        "_not_open",
        "_not_targeted",
        "_outside_hold",
        "_outside_other",
        "_outside_ramp",
        "_prefix",
        "_slots",
        "_taking_part",
        "_targets",
        "_within",
        "experiment",
        "sticky",
    )

    def __init__(
        self, experiment: Experiment, at: datetime, sticky: Mapping[str, Assignment] | None = None
    ) -> None:
        self.experiment = experiment
        self.sticky: Mapping[str, Assignment] = {} if sticky is None else sticky
        weights = [arm.weight for arm in experiment.arms]
        self._bandit = experiment.strategy is Strategy.BANDIT
        if self._bandit and experiment.allocation is not None:
            weights = [experiment.allocation.get(arm.id, 0.0) for arm in experiment.arms]
        share = experiment.share_at(at)
        self._ends = thresholds(weights)
        starts = [0, *self._ends[:-1]]
        self._within = [
            end if share >= 1 else start + round((end - start) * share)
            for start, end in zip(starts, self._ends, strict=True)
        ]
        self._taking_part = round(share * HALF)
        self._given = [
            Assignment(experiment.id, arm.id, propensity=weight)
            for arm, weight in zip(experiment.arms, weights, strict=True)
        ]
        self._prefix = prefix_of(experiment.salt, experiment.namespace)
        self._namespace = prefix_of("namespace", experiment.tenant_id, experiment.namespace)
        low, high = experiment.slots
        self._apart = low > 0 or high < 1
        self._held = round(experiment.holdout * WHOLE)
        self._slots = (round(low * WHOLE), WHOLE if high >= 1 else round(high * WHOLE))
        self._targets = tuple((field, frozenset(allowed)) for field, allowed in experiment.targeting.items())
        self._not_open, self._not_targeted, self._outside_other, self._outside_hold, self._outside_ramp = (
            Assignment(experiment.id, None, reason)
            for reason in (
                Outside.NOT_OPEN,
                Outside.NOT_TARGETED,
                Outside.OTHER_EXPERIMENT,
                Outside.HELD_OUT,
                Outside.NOT_IN_RAMP,
            )
        )

    def assign(self, unit: str, context: Mapping[str, str], at: datetime) -> Assignment:
        """What this unit (of `unit_of`) gets now, in a request with this context."""
        if not self.experiment.is_open(at):
            return self._not_open
        for field, allowed in self._targets:
            if context.get(field) not in allowed:
                return self._not_targeted
        kept = self.sticky.get(unit)
        if kept is not None:
            return kept
        if self._apart:
            place = number_of(self._namespace, unit)
            if place < self._held:
                return self._outside_hold
            if not self._slots[0] <= place < self._slots[1]:
                return self._outside_other
        number = number_of(self._prefix, unit)
        if self._bandit:
            if number & (HALF - 1) >= self._taking_part:
                return self._outside_ramp
            return self._given[bisect_right(self._ends, number)]
        arm = bisect_right(self._ends, number)
        return self._given[arm] if number < self._within[arm] else self._outside_ramp
